/**
 * What the kernel has otherwise than it was told, and what restores it. Pure.
 */
import { entriesIn } from "./entries.ts";
import { type HookState, noHooks, planHooks } from "./plan.ts";
import { maps } from "./programs.ts";
import type { HeldHooks } from "./request.ts";

/** What differs. */
export interface HookDrift {
  /** Entries of backends that are missing, or other ones. */
  readonly come: Uint8Array;
  /** Keys of backends that nobody told. */
  readonly gone: Uint8Array;
  /** Keys of namespaces that nobody told. */
  readonly left: Uint8Array;
  /** Files of namespaces that have to be told again. */
  readonly files: readonly string[];
  /** For people; empty where nothing differs. */
  readonly found: string;
}

/** What restores the maps. */
export function driftOf(state: HookState, held: HeldHooks): HookDrift {
  const backends = restore(wantedBackends(state), entriesIn(held.backends, maps.backends));
  const seen = entriesIn(held.spaces, maps.spaces);
  // Those of namespaces that went are taken away with the next change.
  for (const cookie of state.left) seen.delete(text(cookie));
  const files: string[] = [];
  for (const [file, { cookie, table }] of state.spaces) {
    const number = seen.get(text(cookie));
    seen.delete(text(cookie));
    if (number === undefined || Buffer.from(number, "latin1").readUInt32LE() !== table) {
      files.push(file);
    }
  }
  const counts = [
    [backends.come.length, "entries of backends are missing or others"],
    [backends.gone.length, "entries of backends are not of Skep"],
    [files.length, "namespaces are missing or have another table"],
    [seen.size, "namespaces are not of Skep"],
  ] as const;
  const told = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return {
    come: bytesOf(backends.come),
    gone: bytesOf(backends.gone),
    left: bytesOf([...seen.keys()]),
    files,
    found: told.join(", "),
  };
}

function wantedBackends({ tables }: HookState): Map<string, string> {
  const rows: Uint8Array[] = [];
  for (const { number, slots } of tables.values()) {
    const place = { file: "", table: "", slots };
    rows.push(planHooks({ ...noHooks, last: number - 1 }, [place]).come);
  }
  return entriesIn(Buffer.concat(rows), maps.backends);
}

function restore(wanted: ReadonlyMap<string, string>, seen: ReadonlyMap<string, string>) {
  return {
    come: [...wanted].filter(([key, value]) => seen.get(key) !== value).map(([k, v]) => k + v),
    gone: [...seen.keys()].filter((key) => !wanted.has(key)),
  };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function bytesOf(texts: readonly string[]): Uint8Array {
  return Buffer.from(texts.join(""), "latin1");
}
