/**
 * Starts tasks that were held back: the leader's loop around `startsIn` of `policy.ts`.
 *
 * A task is held back (desired state READY) by its restart delay, and until its predecessor has stopped. Both are read from
 * the tasks, so that a new leader goes on where the old one was; the delay is measured from when this leader first saw the
 * task, and never longer than the task says, so that clocks that differ do no harm.
 */
import type { Task } from "../../../src/common/api/generated/api.ts";
import type { Change } from "../../state/change.ts";
import type { Follower } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { Deadlines } from "../deadlines.ts";
import type { Leadership, Tools } from "../leadership.ts";
import { fateOf, hasStopped, placeKey, placeOf, tasksAt } from "../slot.ts";
import { goalOf } from "../task-factory.ts";
import { heldFor, isHeir, startsIn } from "./policy.ts";

/** How often a task that is to take over from another is looked at, milliseconds. */
const heirLookMs = 1_000;

interface Held {
  /** When this leader first saw it, and when its delay is over, by the monotonic clock. */
  readonly seenMs: number;
  readonly startMs: number;
}

/** The loop of one leadership; run it with `follow`. */
export class RestartSupervisor implements Follower {
  readonly component = "restart";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #held = new Map<string, Held>();
  /** When to look at them again, by the monotonic clock. */
  readonly #deadlines = new Deadlines();
  /** Tasks that are held back, by place. */
  readonly #byPlace = new Map<string, Set<string>>();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#held.clear();
    this.#deadlines.clear();
    this.#byPlace.clear();
    for (const task of this.#leadership.store.view().find("task", "desired-state", "ready")) {
      this.#hold(task);
    }
  }

  changed(change: Change): void {
    if (change.table === "node" && change.kind !== "create") {
      this.#nodeChanged(change.object.id);
      return;
    }
    if (change.table !== "task") return;
    const task = change.object;
    if (change.kind === "remove") this.#release(task);
    else if (task.desiredState === "ready") {
      if (!this.#held.has(task.id)) this.#hold(task);
    } else if (change.old?.desiredState === "ready") this.#release(task);
    // Somebody's predecessor may have stopped.
    if (change.kind === "remove" || hasStopped(task)) this.#wakePlace(task);
  }

  async work(signal: AbortSignal): Promise<number> {
    const { store, term } = this.#leadership;
    const now = this.#tools.clock.monotonic();
    await this.#deadlines.drain(now, (due) =>
      store.batch(due, (tx, id) => this.#start(tx, id, now), { term, signal }),
    );
    return Math.max(0, this.#deadlines.nextMs() - this.#tools.clock.monotonic());
  }

  /** Starts a task, or finds out when to look at it again. */
  #start(tx: Tx, id: string, now: number): void {
    const held = this.#held.get(id);
    const task = tx.get("task", id);
    if (held === undefined || task?.desiredState !== "ready") return;
    if (isHeir(task, tasksAt(this.#leadership.store.view(), placeOf(task)))) {
      // Its wait for the other to stop begins when that one is told to.
      this.#held.set(id, { ...held, seenMs: now });
      this.#deadlines.set(id, now + heirLookMs);
      return;
    }
    const waitMs = this.#startsIn(task, held, now);
    const desiredState = goalOf(task.jobIteration);
    if (waitMs === 0) tx.update("task", { ...task, desiredState });
    else this.#deadlines.set(id, now + waitMs);
  }

  #startsIn(task: Task, { startMs, seenMs }: Held, now: number): number {
    const view = this.#leadership.store.view();
    return startsIn({
      task,
      tasks: tasksAt(view, placeOf(task)),
      fateOf: ({ nodeId }) => fateOf(view, nodeId),
      heldMs: startMs - now,
      waitedMs: now - seenMs,
    });
  }

  #hold(task: Task): void {
    const now = this.#tools.clock.monotonic();
    const startMs = now + heldFor(task, this.#tools.clock.now());
    this.#held.set(task.id, { seenMs: now, startMs });
    // Looked at at once: `work` finds out how long it has to wait.
    this.#wake(task.id);
    const key = placeKey(placeOf(task));
    const ids = this.#byPlace.get(key);
    if (ids === undefined) this.#byPlace.set(key, new Set([task.id]));
    else ids.add(task.id);
  }

  #release(task: Task): void {
    this.#held.delete(task.id);
    this.#deadlines.delete(task.id);
    const key = placeKey(placeOf(task));
    const ids = this.#byPlace.get(key);
    ids?.delete(task.id);
    if (ids?.size === 0) this.#byPlace.delete(key);
  }

  #wakePlace(task: Task): void {
    if (this.#byPlace.size === 0) return;
    for (const id of this.#byPlace.get(placeKey(placeOf(task))) ?? []) this.#wake(id);
  }

  /** A lost node's tasks are not waited for. */
  #nodeChanged(nodeId: string): void {
    if (this.#byPlace.size === 0) return;
    const view = this.#leadership.store.view();
    if (fateOf(view, nodeId) !== "lost") return;
    for (const task of view.find("task", "node", nodeId)) this.#wakePlace(task);
  }

  #wake(taskId: string): void {
    if (this.#held.has(taskId)) this.#deadlines.set(taskId, 0);
  }
}
