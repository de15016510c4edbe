/**
 * Forgets removed nodes once their certificates have run out.
 *
 * A tombstone `node/<id>` keeps a certificate that is still valid from being of use; after that it only takes room. The loop
 * runs on the leader. Its clock may be wrong, and a tombstone that goes too early lets a removed manager back in, so nothing
 * is deleted around a jump of the clock, and nothing that has not run out by a wide margin at two looks in a row.
 */
import type { Tombstone } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";

/** How often the leader looks, milliseconds. */
const lookIntervalMs = 60 * 60 * 1000;
/** A wall clock that moved by this much more or less than time went by was set, milliseconds. */
const clockJumpMs = 60 * 1000;
/** A tombstone stays this long after the certificate's end, for clocks that differ, milliseconds. */
const marginMs = 24 * 60 * 60 * 1000;
/** Tombstones deleted in one transaction. */
const deletedMax = 100;

/** The part of the store the loop uses. */
export interface TombstoneStore {
  view(): { list(table: "tombstone"): Iterable<Tombstone> };
  update<R>(
    decide: (tx: {
      get(table: "tombstone", id: string): Tombstone | undefined;
      remove(table: "tombstone", id: string): void;
    }) => R,
    options?: { readonly term?: number; readonly signal?: AbortSignal },
  ): Promise<R>;
}

/** What the clocks said at a look, milliseconds. */
export interface Look {
  readonly wall: number;
  readonly monotonic: number;
}

/** Whether the wall clock was set between two looks. Pure. */
export function clockJumped(before: Look, now: Look): boolean {
  const passed = now.monotonic - before.monotonic;
  return Math.abs(now.wall - before.wall - passed) > clockJumpMs;
}

/** Ids of the tombstones of nodes that may be forgotten; those without an end stay. Pure. */
export function decideForget(tombstones: Iterable<Tombstone>, nowMs: number): string[] {
  const ids: string[] = [];
  for (const { id, node } of tombstones) {
    if (node === undefined || node.expiresAtMs === 0) continue;
    if (nowMs >= node.expiresAtMs + marginMs) ids.push(id);
  }
  return ids;
}

/** The loop of one leadership; returns when the signal aborts. */
export async function forgetRemovedNodes(
  store: TombstoneStore,
  term: number,
  tools: { readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { clock, log, signal } = tools;
  const look = () => ({ wall: clock.now(), monotonic: clock.monotonic() });
  let before = look();
  let due: readonly string[] = [];
  while (!signal.aborted) {
    await clock.sleep(lookIntervalMs, signal).catch(() => {
      // Aborted: the loop's condition ends it.
    });
    if (signal.aborted) return;
    const now = look();
    const expired = clockJumped(before, now)
      ? []
      : decideForget(store.view().list("tombstone"), now.wall);
    const again = new Set(due);
    before = now;
    due = expired;
    const ids = expired.filter((id) => again.has(id)).slice(0, deletedMax);
    if (ids.length === 0) continue;
    try {
      await store.update(
        (tx) => {
          for (const id of ids)
            if (tx.get("tombstone", id) !== undefined) tx.remove("tombstone", id);
        },
        { term, signal },
      );
      log.info("removed nodes forgotten", { count: ids.length });
    } catch (error) {
      if (!signal.aborted) log.warn("removed nodes not forgotten yet", { err: errorText(error) });
    }
  }
}
