/**
 * Commits what the scheduler decided, in batches of which several are under way, and checks at the commit that it still holds.
 *
 * Belongs to `loop.ts`. A decision is under way from when it was made until the store tells of the change, or until it is
 * dropped: because the task or its node changed meanwhile, or because the batch could not be committed.
 */
import type { Task } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";
import { explainTask, isWaiting, type Placement } from "./decide.ts";

/** Why a task waits. */
interface Explanation {
  readonly task: Task;
  readonly error: string;
  readonly now: number;
}

/** Tasks in a batch: half of what a transaction may hold, as both its encoding and its application take a turn of their own. */
const batchTasksMax = 100;
/** Batches under way at a time: enough to fill the pipe, few enough that little has to be taken back. */
export const batchesMax = 12;

/** Whether a failure has nothing to do with what was to be committed. */
function isPassing(error: unknown): boolean {
  const code = error instanceof ClusterError ? error.code : "internal";
  return passing.has(code);
}

const passing: ReadonlySet<string> = new Set([
  "unavailable",
  "cancelled",
  "resource-exhausted",
  "internal",
]);

/** What is decided and not yet known to be committed. */
export class Writes {
  readonly #store: Store;
  readonly #term: number;
  readonly #signal: AbortSignal;
  /** Placements under way, by task. */
  readonly #flying = new Map<string, Placement>();
  #placements: Placement[] = [];
  #explanations: Explanation[] = [];
  readonly #running = new Set<Promise<void>>();
  /** Called with what did not come about, and with the error when the commit failed. */
  readonly #onDropped: (dropped: readonly Placement[], error: unknown) => void;

  constructor(
    store: Store,
    leadership: { readonly term: number; readonly signal: AbortSignal },
    onDropped: (dropped: readonly Placement[], error: unknown) => void,
  ) {
    this.#store = store;
    this.#term = leadership.term;
    this.#signal = leadership.signal;
    this.#onDropped = onDropped;
  }

  /** A task is to be put on its node. */
  place(placement: Placement): void {
    this.#flying.set(placement.task.id, placement);
    this.#placements.push(placement);
    if (this.#placements.length >= batchTasksMax) this.#commitPlacements();
  }

  /** A task is to say why it waits. */
  explain(task: Task, error: string, now: number): void {
    this.#explanations.push({ task, error, now });
    if (this.#explanations.length >= batchTasksMax) this.#commitExplanations();
  }

  /** The placement of a task that is under way; it is under way no more, because its outcome is known. */
  arrived(taskId: string): Placement | undefined {
    const placement = this.#flying.get(taskId);
    this.#flying.delete(taskId);
    return placement;
  }

  /** The tasks under way, each with its node. */
  *underWay(): Generator<Task, undefined> {
    for (const { next } of this.#flying.values()) yield next;
    return undefined;
  }

  /** Placements under way are no longer followed: what comes of them is read from the store as a whole. */
  forget(): void {
    this.#flying.clear();
    this.#placements = [];
    this.#explanations = [];
  }

  /** Commits what is left of a batch. */
  flush(): void {
    if (this.#placements.length > 0) this.#commitPlacements();
    if (this.#explanations.length > 0) this.#commitExplanations();
  }

  /** Resolves once another batch may be made; it never rejects. */
  async room(): Promise<void> {
    while (this.#running.size >= batchesMax) await Promise.race(this.#running);
  }

  /** Resolves once nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #commitPlacements(): void {
    const batch = this.#placements;
    this.#placements = [];
    this.#commit(batch);
  }

  #commit(batch: readonly Placement[]): void {
    let dropped: Placement[] = [];
    const decide = (tx: Tx) => {
      dropped = batch.filter((placement) => !this.#put(tx, placement));
    };
    const done = this.#update(decide).then(
      () => this.#drop(dropped, undefined),
      (error: unknown) => {
        if (batch.length === 1 || isPassing(error)) this.#drop(batch, error);
        else {
          // One of them cannot be committed as things are: it must not hold up the others.
          const middle = batch.length >> 1;
          this.#commit(batch.slice(0, middle));
          this.#commit(batch.slice(middle));
        }
      },
    );
    this.#own(done);
  }

  #commitExplanations(): void {
    const batch = this.#explanations;
    this.#explanations = [];
    const done = this.#update((tx) => {
      for (const { task, error, now } of batch) {
        const present = tx.get("task", task.id);
        if (present === undefined || !isWaiting(present)) continue;
        const next = explainTask(present, error, now);
        if (next !== undefined) tx.update("task", next);
      }
    }).catch((error: unknown) => this.#onDropped([], error));
    this.#own(done);
  }

  #update(decide: (tx: Tx) => void): Promise<void> {
    return this.#store.update(decide, { term: this.#term, signal: this.#signal });
  }

  #own(done: Promise<void>): void {
    const owned = done.finally(() => this.#running.delete(owned));
    this.#running.add(owned);
  }

  /** Stages a placement, if it still holds. */
  #put(tx: Tx, placement: Placement): boolean {
    const { task, next, node } = placement;
    if (this.#flying.get(task.id) !== placement) return false;
    const present = tx.get("task", task.id);
    if (present === undefined || !isWaiting(present) || present.nodeId !== task.nodeId) {
      return false;
    }
    // A node that changed may not be what was chosen any more.
    if (tx.get("node", node.id) !== node) return false;
    tx.require("node", node.id);
    const { nodeId, status, assignedGeneric } = next;
    tx.update("task", present === task ? next : { ...present, nodeId, status, assignedGeneric });
    return true;
  }

  #drop(placements: readonly Placement[], error: unknown): void {
    const dropped = placements.filter(
      (placement) => this.#flying.get(placement.task.id) === placement,
    );
    for (const { task } of dropped) this.#flying.delete(task.id);
    if (dropped.length > 0 || error !== undefined) this.#onDropped(dropped, error);
  }
}
