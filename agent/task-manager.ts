/**
 * Takes one task through its states on this node: calls `advance` step by step, tells of each status, stops when told.
 *
 * A task is never started a second time while a manager is there to replace it. Without one, a task whose container went
 * down with its node is run again, if its restart policy allows that and all it reads is here.
 */
import { type Task, TaskStatus } from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";
import { isBefore } from "../src/common/task/state.ts";
import { advance } from "./exec/advance.ts";
import type { Controller, TaskExit } from "./exec/controller.ts";
import { exitText } from "./exec/errors.ts";
import type { Gate } from "./gate.ts";

/** What a task manager is made with. */
export interface TaskManagerOptions {
  readonly task: Task;
  readonly status: TaskStatus;
  readonly controller: Controller;
  readonly gate: Gate;
  /** What the task reads that is not here, in words; empty when all is. */
  readonly missing: () => string;
  /** Told of every new status, in order. */
  readonly onStatus: (status: TaskStatus) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Pause before a step that could not be done is tried again, milliseconds; a containerd that fell is back by then. */
const stepRetryMs = 1000;

/** One task of the node; `run` is its life. */
export class TaskManager {
  readonly #o: TaskManagerOptions;
  readonly #controller: Controller;
  #task: Task;
  #status: TaskStatus;
  /** Ends the step under way, because the task is to stop. */
  #step = new AbortController();
  #wake: (() => void) | undefined;
  #changed = false;

  constructor(options: TaskManagerOptions) {
    this.#o = options;
    this.#controller = options.controller;
    this.#task = options.task;
    this.#status = options.status;
  }

  get task(): Task {
    return this.#task;
  }

  get status(): TaskStatus {
    return this.#status;
  }

  /** Takes a newer version of the task. */
  update(task: Task): void {
    const before = this.#task.desiredState;
    this.#task = task;
    this.#changed = true;
    const isToStop = !isBefore(task.desiredState, "shutdown");
    if (isToStop && isBefore(before, "shutdown")) {
      this.#step.abort(new ClusterError("cancelled", "the task is to stop"));
    }
    this.#wake?.();
  }

  /** Drives the task until the signal aborts; its container is left as it is. */
  async run(signal: AbortSignal): Promise<void> {
    const end = () => {
      this.#step.abort(signal.reason);
      this.#wake?.();
    };
    signal.addEventListener("abort", end, { once: true });
    try {
      while (!signal.aborted) await this.#turn(signal);
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    // A step is cut off once, by the wish to stop; the steps after it are those of stopping.
    if (this.#step.signal.aborted) this.#step = new AbortController();
    this.#changed = false;
    const step = this.#step.signal;
    try {
      await this.#mayStart(step);
      const tools = { now: () => this.#o.clock.now(), signal: step };
      const result = await advance(
        { task: this.#task, status: this.#status },
        this.#controller,
        tools,
      );
      if (result.kind === "idle") await this.#idle(signal);
      else if (result.kind === "moved") this.#enter(result.status);
      else await this.#lost(result.exit, step);
    } catch (error) {
      if (signal.aborted || step.aborted) return;
      this.#o.log.warn("step of a task not done", {
        "task.id": this.#task.id,
        err: errorText(error),
      });
      await this.#o.clock.sleep(stepRetryMs, signal).catch(() => {
        // Stopped: `run` ends.
      });
    }
  }

  /** Waits until what the task needs for its start is known and here; at once when there is nothing to start. */
  async #mayStart(step: AbortSignal): Promise<void> {
    const { gate, missing } = this.#o;
    const { state } = this.#status;
    const isToStart = isBefore(state, "running") && isBefore(this.#task.desiredState, "shutdown");
    if (!isToStart || this.#controller.isSettled()) return;
    if (gate.state === "closed") await gate.leaves("closed", step);
    if (gate.state === "managed" || missing() === "") return;
    this.#waits(`waits for a manager: ${missing()} is kept in memory only`);
    await gate.leaves("alone", step);
  }

  /** Its container ended with the node: run again without a manager, else failed, whether it is to stop by now or not. */
  async #lost(exit: TaskExit, step: AbortSignal): Promise<void> {
    const { gate, log, clock } = this.#o;
    const isToStop = () => !isBefore(this.#task.desiredState, "shutdown");
    if (gate.state === "closed" && !isToStop()) {
      await gate.leaves("closed", step).catch((error: unknown) => {
        if (!isToStop()) throw error;
      });
    }
    const { restart } = this.#task.spec ?? {};
    const again = gate.state === "alone" && restart?.condition !== "none" && !isToStop();
    if (!again) {
      const timestampMs = exit.finishedAtMs || clock.now();
      const error = exitText(exit);
      const portStatus = undefined;
      this.#enter({ ...this.#status, timestampMs, state: "failed", error, portStatus });
      return;
    }
    log.info("task runs again, without a manager", { "task.id": this.#task.id });
    await this.#controller.remove();
    const timestampMs = clock.now();
    const message = "runs again, its node was down";
    this.#enter(TaskStatus.create({ timestampMs, state: "accepted", message }));
  }

  #waits(message: string): void {
    if (this.#status.message === message) return;
    this.#enter(TaskStatus.create({ ...this.#status, timestampMs: this.#o.clock.now(), message }));
  }

  #enter(status: TaskStatus): void {
    this.#status = status;
    this.#o.onStatus(status);
  }

  /** Waits until the task changes or the signal aborts. */
  async #idle(signal: AbortSignal): Promise<void> {
    if (this.#changed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}
