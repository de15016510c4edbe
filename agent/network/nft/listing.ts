/**
 * Whether the kernel still has a table as it was made: compares `nft -j list table` with the table. Pure.
 *
 * The kernel shows rules in words of its own, so that only names and counts can be compared with what was asked for; a
 * digest of an earlier listing that was in order finds every further difference.
 */
import { createHash } from "node:crypto";
import type { Table } from "./table.ts";

/** What a listing tells. */
export interface Listing {
  /** Number of rules by chain. */
  readonly rules: ReadonlyMap<string, number>;
  /** Number of elements by set or map. */
  readonly elements: ReadonlyMap<string, number>;
  /** Equal for equal content, whatever the counters are. */
  readonly digest: string;
}

/** Takes in the JSON of `list table`. @throws Error when it is none. */
export function readListing(json: string): Listing {
  const rules = new Map<string, number>();
  const elements = new Map<string, number>();
  const { nftables } = JSON.parse(json) as { nftables: readonly Record<string, ListedObject>[] };
  const parts: string[] = [];
  const texts = new Map<string, string>();
  for (const entry of nftables) {
    const [kind = "", object = {}] = Object.entries(entry)[0] ?? [];
    if (kind === "metainfo" || kind === "table") continue;
    const text = JSON.stringify(plain({ [kind]: object }));
    // Chains and sets are listed in the order in which they were made; what counts is that of a chain's rules.
    if (kind !== "rule") parts.push(text);
    else texts.set(object.chain ?? "", `${texts.get(object.chain ?? "") ?? ""}${text}`);
    if (kind === "chain") rules.set(object.name ?? "", rules.get(object.name ?? "") ?? 0);
    if (kind === "rule") rules.set(object.chain ?? "", (rules.get(object.chain ?? "") ?? 0) + 1);
    if (kind === "set" || kind === "map") {
      elements.set(object.name ?? "", object.elem?.length ?? 0);
    }
  }
  const all = [...parts, ...texts.values()].sort().join("\n");
  return { rules, elements, digest: createHash("sha1").update(all).digest("base64") };
}

/** What differs, for a log line; undefined when nothing does. @param digest Of the last listing that was in order. */
export function driftOf(
  table: Table,
  listing: Listing,
  digest: string | undefined,
): string | undefined {
  const wanted = {
    rules: new Map([...table.chains].map(([name, chain]) => [name, chain.rules.length])),
    elements: new Map([...table.sets].map(([name, set]) => [name, set.elements.size])),
  };
  const counted =
    firstDifference("chain", "rules", { has: listing.rules, wants: wanted.rules }) ??
    firstDifference("set", "elements", { has: listing.elements, wants: wanted.elements });
  if (counted !== undefined) return counted;
  return digest === undefined || digest === listing.digest ? undefined : "a rule is another";
}

interface ListedObject {
  readonly name?: string;
  readonly chain?: string;
  readonly elem?: readonly unknown[];
}

type Counts = ReadonlyMap<string, number>;

function firstDifference(
  what: string,
  unit: string,
  { has, wants }: { readonly has: Counts; readonly wants: Counts },
): string | undefined {
  for (const [name, count] of wants) {
    const there = has.get(name);
    if (there === undefined) return `${what} ${name} is gone`;
    if (there !== count) return `${what} ${name} has ${there} ${unit} instead of ${count}`;
  }
  for (const name of has.keys()) if (!wants.has(name)) return `${what} ${name} is not ours`;
  return undefined;
}

/** Without what changes by itself: handles, counters, and the order of elements, which the kernel may alter. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(value)) {
    if (key === "handle" || key === "packets" || key === "bytes") continue;
    const inner = plain(part);
    const unordered = (key === "elem" || key === "set") && Array.isArray(inner);
    result[key] = unordered ? inner.map((one) => JSON.stringify(one)).sort() : inner;
  }
  return result;
}
