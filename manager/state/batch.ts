/**
 * Many independent decisions in as few transactions as the limits allow.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { transactionChangesMax } from "../../src/common/limits/limits.ts";
import {
  batchTransactionBytesMax,
  batchTransactionsInFlightMax,
} from "../../src/common/limits/store.ts";
import { changeBytes } from "./action.ts";
import type { Staging, Tx } from "./transaction.ts";

/** Items decided in one go: most of them may change nothing, and others have to get their turns all the same. */
const groupItemsMax = 1_000;

/** How to run a batch; as for one update. */
export interface BatchOptions {
  readonly term?: number;
  readonly signal?: AbortSignal;
}

/** What a batch needs of the store. */
export interface BatchStore {
  /** Runs and commits one decision; the first attempt runs before it returns. */
  update(decide: (tx: Staging) => void): Promise<void>;
  /** Lets others have a turn. */
  pause(): Promise<void>;
}

interface Group<I> {
  readonly items: readonly I[];
  readonly from: number;
  /** End of the group, exclusive; known after the first attempt. */
  to: number;
  started: boolean;
}

/**
 * Runs `decide` for every item.
 *
 * @throws the first failure, once everything that was under way is over.
 */
export async function runBatch<I>(
  store: BatchStore,
  items: Iterable<I>,
  decide: (tx: Tx, item: I) => void,
): Promise<void> {
  let pending: readonly I[] = [...items];
  while (pending.length > 0) {
    const left: I[] = [];
    await runAll(store, pending, decide, left);
    pending = left;
  }
}

async function runAll<I>(
  store: BatchStore,
  items: readonly I[],
  decide: (tx: Tx, item: I) => void,
  left: I[],
): Promise<void> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  for (let next = 0; next < items.length && failures.length === 0; ) {
    const group: Group<I> = { items, from: next, to: next, started: false };
    const done = store
      .update((tx) => fill(tx, group, decide, left))
      .catch((error: unknown) => {
        failures.push(error);
      })
      .finally(() => running.delete(done));
    running.add(done);
    // A group that took nothing has failed, or will be known to have once it is over.
    if (group.to === next || running.size >= batchTransactionsInFlightMax) {
      await (group.to === next ? done : Promise.race(running));
    }
    next = group.to;
    await store.pause();
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
}

/** Stages as many items as fit; run again after a lost race, what no longer fits is left for later. */
function fill<I>(tx: Staging, group: Group<I>, decide: (tx: Tx, item: I) => void, left: I[]): void {
  const first = !group.started;
  group.started = true;
  const end = first ? Math.min(group.items.length, group.from + groupItemsMax) : group.to;
  let bytes = 0;
  for (let at = group.from; at < end; at++) {
    const mark = tx.mark();
    decide(tx, group.items[at] as I);
    const added = tx.changesSince(mark);
    for (const change of added) bytes += changeBytes(change);
    if (tx.size <= transactionChangesMax && bytes <= batchTransactionBytesMax) {
      if (first) group.to = at + 1;
      continue;
    }
    if (at === group.from) {
      if (added.length > transactionChangesMax) throw tooMany(added.length);
      // One large object alone is for the limit of a transaction to judge.
      if (first) group.to = at + 1;
      else left.push(...group.items.slice(at + 1, end));
      return;
    }
    tx.rollback(mark);
    if (!first) left.push(...group.items.slice(at, end));
    return;
  }
}

function tooMany(count: number): ClusterError {
  return new ClusterError(
    "invalid-argument",
    `one item of a batch makes ${count} changes, at most ${transactionChangesMax} are possible`,
  );
}
