/**
 * Checks what a watcher was told against what was applied: in order, nothing left out, nothing twice.
 */
import type { Change } from "../../../manager/state/change.ts";
import type { Watch, Watchers, WatchItem } from "../../../manager/state/watch.ts";
import { changeText } from "../main-side.ts";

/** What is compared: a watch that is running, and others that are begun now. */
export interface Watched {
  readonly watch: Watch;
  readonly watchers: Watchers;
  readonly state: { readonly index: number };
}

/**
 * Reads a watcher's buffer to its end and says what is wrong with it.
 *
 * @param changes By index: what applying the entry changed.
 * @param settle Lets promise reactions run.
 */
export async function watchViolation(
  { watch, watchers, state }: Watched,
  changes: ReadonlyMap<number, readonly Change[]>,
  settle: () => Promise<void>,
): Promise<string | undefined> {
  const items = await drain(watch, settle);
  const problem = itemsViolation(items, changes, state.index);
  if (problem !== undefined) return problem;
  const from = Math.max(0, state.index - 20);
  const resumed = watchers.add({}, { fromIndex: from });
  const later = itemsViolation(await drain(resumed, settle), changes, state.index, from);
  resumed.close();
  return later;
}

async function drain(watch: Watch, settle: () => Promise<void>): Promise<WatchItem[]> {
  const items: WatchItem[] = [];
  for (;;) {
    let got: WatchItem | undefined;
    void watch.next().then((item) => {
      got = item;
    });
    await settle();
    if (got === undefined) return items;
    items.push(got);
  }
}

/**
 * Says what is wrong with a row of items that ends with the state at `lastIndex`; `undefined` when nothing is.
 *
 * @param after Index the row begins behind; without it, it begins wherever its first item does.
 */
export function itemsViolation(
  items: readonly WatchItem[],
  changes: ReadonlyMap<number, readonly Change[]>,
  lastIndex: number,
  after?: number,
): string | undefined {
  let index = after;
  for (const item of items) {
    if (item.resync) {
      index = item.index;
      continue;
    }
    if (index !== undefined) {
      if (item.index <= index) return `index ${item.index} came after ${index}`;
      const missed = missedBetween(changes, index, item.index);
      if (missed !== undefined) return `the changes at ${missed} were left out`;
    }
    const expected = (changes.get(item.index) ?? []).map(changeText).join();
    const got = item.changes.map(changeText).join();
    if (got !== expected) return `index ${item.index} brought "${got}", not "${expected}"`;
    index = item.index;
  }
  if (index === undefined) return undefined;
  const missed = missedBetween(changes, index, lastIndex + 1);
  return missed === undefined ? undefined : `the changes at ${missed} were left out at the end`;
}

/** First index in between that changed something. */
function missedBetween(
  changes: ReadonlyMap<number, readonly Change[]>,
  from: number,
  to: number,
): number | undefined {
  for (let index = from + 1; index < to; index++) {
    if ((changes.get(index)?.length ?? 0) > 0) return index;
  }
  return undefined;
}
