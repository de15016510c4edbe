/**
 * The tasks of this node: makes what is assigned and what runs the same.
 *
 * Sits between the session, which hands in assignment messages, and one task manager per task. Assignments are stored
 * before they are acted upon, so that the node goes on with them when no manager can be reached, and after a restart of
 * the daemon. After every full set, whatever the executor still has of other tasks is removed.
 */
import {
  type Assignments,
  type Node,
  type Task,
  TaskStatus,
} from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { errorText } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";
import { Dependencies } from "./dependencies.ts";
import { attachmentController } from "./exec/attachment.ts";
import type { Controller } from "./exec/controller.ts";
import type { Executor } from "./exec/executor.ts";
import { Gate } from "./gate.ts";
import type { Reporter } from "./reporter.ts";
import type { Storage } from "./storage.ts";
import { TaskManager } from "./task-manager.ts";

/** What a worker is made with. */
export interface WorkerOptions {
  readonly nodeId: string;
  readonly executor: Executor;
  readonly storage: Storage;
  readonly reporter: Reporter;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a node that was started waits for a manager's word before it goes on alone, milliseconds. */
const aloneAfterMs = 20_000;
/** Pause before what could not be removed is tried again, milliseconds. */
const removeRetryMs = 2_000;

interface RunningTask {
  readonly manager: TaskManager;
  readonly controller: Controller;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

/** All tasks of one node; lives as long as the agent. */
export class Worker {
  readonly #o: WorkerOptions;
  readonly #dependencies = new Dependencies();
  readonly #gate = new Gate();
  readonly #tasks = new Map<string, RunningTask>();
  readonly #removals = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  /** Number of the next assignment message; 0 while a full set has to come first. */
  #next = 0;
  /** Ids of the full set that is coming in. */
  #full: {
    readonly tasks: Set<string>;
    readonly secrets: Set<string>;
    readonly configs: Set<string>;
  } = emptyFull();
  #seenIndex = 0;

  constructor(options: WorkerOptions) {
    this.#o = options;
  }

  /** Goes on with what is stored. Never rejects: a node whose storage cannot be read learns from the managers. */
  async start(signal: AbortSignal): Promise<void> {
    const { storage, executor, clock, log } = this.#o;
    try {
      const stored = await storage.load();
      this.#seenIndex = stored.seenIndex;
      if (stored.node !== undefined) executor.nodeChanged(stored.node);
      await executor.ready(signal);
      for (const { task, status } of stored.tasks) {
        this.#begin(task, status ?? task.status);
        if (status !== undefined) this.#o.reporter.report(task.id, status);
      }
      // Nothing stored may as well mean that all was lost: then a manager's word is waited for.
      if (stored.seenIndex > 0) this.#removeLeftovers();
    } catch (error) {
      if (signal.aborted) return;
      log.warn("stored tasks not taken up", { err: errorText(error) });
    }
    clock.sleep(aloneAfterMs, this.#stop.signal).then(
      () => this.#gate.alone(),
      () => {
        // Stopped before.
      },
    );
  }

  /** Highest state index heard of. */
  get seenIndex(): number {
    return this.#seenIndex;
  }

  /** The node as the managers have it is another. */
  async nodeChanged(node: Node): Promise<void> {
    this.#o.executor.nodeChanged(node);
    await this.#write({ node });
  }

  /** A new session: its assignments begin with a full set. */
  sessionBegan(): void {
    this.#next = 0;
  }

  /**
   * Takes one assignment message, in the order of the session.
   *
   * @param seenIndex Highest state index the agent has heard of, to be remembered.
   * @returns False when a message before it was missed: the full set has to be asked for.
   */
  async take(assignments: Assignments, seenIndex: number): Promise<boolean> {
    const begins = assignments.full && assignments.first;
    if (!begins && assignments.number !== this.#next) {
      const isAskedFor = this.#next === 0;
      this.#next = 0;
      return isAskedFor;
    }
    this.#next = assignments.number + 1;
    this.#seenIndex = seenIndex;
    if (begins) this.#full = emptyFull();
    this.#dependencies.take(assignments);
    await this.#store(assignments);
    for (const task of assignments.tasks) this.#assign(task);
    for (const id of assignments.removedTaskIds) this.#unassign(id);
    if (assignments.full) await this.#takePiece(assignments);
    return true;
  }

  /** Ids and statuses of the tasks of this node. */
  tasks(): ReadonlyMap<string, TaskStatus> {
    return new Map([...this.#tasks].map(([id, { manager }]) => [id, manager.status]));
  }

  /** Lets go of everything; containers run on. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const { stop } of this.#tasks.values()) stop.abort();
    await Promise.all([...this.#tasks.values()].map(({ done }) => done));
    await Promise.all(this.#removals.values());
  }

  async #takePiece(piece: Assignments): Promise<void> {
    for (const { id } of piece.tasks) this.#full.tasks.add(id);
    for (const { id } of piece.secrets) this.#full.secrets.add(id);
    for (const { id } of piece.configs) this.#full.configs.add(id);
    if (!piece.last) return;
    const { tasks, secrets, configs } = this.#full;
    this.#full = emptyFull();
    this.#dependencies.keepOnly(secrets, configs);
    const gone = [...this.#tasks.keys()].filter((id) => !tasks.has(id));
    if (gone.length > 0) await this.#write({ removedTaskIds: gone });
    for (const id of gone) this.#unassign(id);
    this.#gate.managed();
    this.#removeLeftovers();
  }

  #assign(task: Task): void {
    const known = this.#tasks.get(task.id);
    if (known === undefined) this.#begin(task, task.status);
    else known.manager.update(task);
  }

  #begin(task: Task, status: TaskStatus | undefined): void {
    const { executor, nodeId, clock, log } = this.#o;
    const controller =
      task.spec?.attachment === undefined
        ? executor.controller({ task, nodeId, dependencies: this.#dependencies })
        : attachmentController();
    const manager: TaskManager = new TaskManager({
      task,
      status: status ?? TaskStatus.create({ state: "assigned" }),
      controller,
      gate: this.#gate,
      missing: () => this.#dependencies.missing(task),
      onStatus: (next) => this.#observed(manager, next),
      clock,
      log,
    });
    const stop = new AbortController();
    // What is left of the same task from before goes first.
    const before = this.#removals.get(task.id) ?? Promise.resolve();
    const done = before.then(() => manager.run(stop.signal));
    this.#tasks.set(task.id, { manager, controller, stop, done });
  }

  #observed(manager: TaskManager, status: TaskStatus): void {
    const taskId = manager.task.id;
    // Taken away while its last step was under way.
    if (this.#tasks.get(taskId)?.manager !== manager) return;
    const { state, error } = status;
    const fields = { "task.id": taskId, state, ...(error === "" ? {} : { err: error }) };
    this.#o.log.info("task moved", fields);
    this.#o.reporter.report(taskId, status);
    this.#o.storage.writeStatus(taskId, status).catch((failure: unknown) => {
      this.#o.log.warn("task status not stored", {
        "task.id": taskId,
        err: errorText(failure),
      });
    });
  }

  #unassign(taskId: string): void {
    const running = this.#tasks.get(taskId);
    if (running === undefined) return;
    this.#tasks.delete(taskId);
    this.#o.reporter.forget(taskId);
    running.stop.abort();
    // It may still run, when it was taken away while this node was cut off: it is stopped in its own way.
    const stopped = running.done.then(() => this.#stopped(running));
    this.#removeLater(taskId, stopped);
  }

  async #stopped({ manager, controller }: RunningTask): Promise<void> {
    try {
      await controller.shutdown(this.#stop.signal);
    } catch (error) {
      // Its removal ends it all the same.
      const fields = { "task.id": manager.task.id, err: errorText(error) };
      if (!this.#stop.signal.aborted) this.#o.log.warn("task not stopped in its own way", fields);
    }
  }

  /** Removes what the executor has of tasks that are none. */
  #removeLeftovers(): void {
    for (const taskId of this.#o.executor.taskIds()) {
      if (!this.#tasks.has(taskId)) this.#removeLater(taskId, Promise.resolve());
    }
  }

  #removeLater(taskId: string, after: Promise<void>): void {
    if (this.#removals.has(taskId)) return;
    const removal = after
      .then(() => this.#remove(taskId))
      .finally(() => this.#removals.delete(taskId));
    this.#removals.set(taskId, removal);
  }

  /** Tries until it is gone or the agent stops: the next full set finds what is left then. */
  async #remove(taskId: string): Promise<void> {
    const { executor, clock, log } = this.#o;
    while (!this.#stop.signal.aborted && !this.#tasks.has(taskId)) {
      try {
        await executor.discard(taskId);
        return;
      } catch (error) {
        log.warn("task not removed", { "task.id": taskId, err: errorText(error) });
        await clock.sleep(removeRetryMs, this.#stop.signal).catch(() => {
          // Stopped.
        });
      }
    }
  }

  #store(assignments: Assignments): Promise<void> {
    return this.#write({
      tasks: assignments.tasks,
      removedTaskIds: assignments.removedTaskIds,
      seenIndex: this.#seenIndex,
    });
  }

  async #write(change: Parameters<Storage["write"]>[0]): Promise<void> {
    try {
      await this.#o.storage.write(change);
    } catch (error) {
      // The node works on from memory; after a restart the managers say what is assigned.
      this.#o.log.warn("assignments not stored", { err: errorText(error) });
    }
  }
}

function emptyFull() {
  return { tasks: new Set<string>(), secrets: new Set<string>(), configs: new Set<string>() };
}
