/**
 * The leader's side of task statuses: writes what agents observed, refuses what cannot be.
 *
 * Leader-only; every write carries the term it was decided in.
 */
import { type Task, TaskStatus, type TaskStatusBatch } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { Log } from "../../src/common/log/log.ts";
import { isBefore, isTerminal } from "../../src/common/task/state.ts";
import type { Store } from "../state/store.ts";

/** Takes batches under one leadership. */
export class TaskStatuses {
  readonly #store: Store;
  readonly #term: number;
  readonly #tools: { readonly clock: Clock; readonly log: Log };

  constructor(store: Store, term: number, tools: { readonly clock: Clock; readonly log: Log }) {
    this.#store = store;
    this.#term = term;
    this.#tools = tools;
  }

  /** Resolves once everything that may be written is committed. */
  async take(batch: TaskStatusBatch, signal?: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    const applied = { appliedBy: batch.managerId, appliedAtMs: clock.now() };
    await this.#store.batch(
      batch.statuses,
      (tx, { taskId, nodeId, status }) => {
        const task = tx.get("task", taskId);
        if (task === undefined || status === undefined) return;
        if (task.nodeId !== nodeId) {
          log.warn("status of another node's task refused", {
            "task.id": taskId,
            "node.id": nodeId,
          });
          return;
        }
        const after = taskAfterStatus(task, TaskStatus.create({ ...status, ...applied }));
        if (after !== task) tx.update("task", after);
      },
      { term: this.#term, ...(signal && { signal }) },
    );
  }
}

/**
 * The task with a status its node observed; the very same object when the status says nothing new, is older than what is
 * known, or not for an agent to say. Pure.
 */
export function taskAfterStatus(task: Task, status: TaskStatus): Task {
  const known = task.status ?? TaskStatus.create();
  const isAgents = !isBefore(status.state, "accepted") && !isBefore("rejected", status.state);
  if (!isAgents || isTerminal(known.state) || isBefore(status.state, known.state)) return task;
  const isSame = status.state === known.state;
  // The way over several managers may change the order.
  if (isSame && status.timestampMs < known.timestampMs) return task;
  if (isSame && sameObservation(status, known)) return task;
  return { ...task, status };
}

function sameObservation(a: TaskStatus, b: TaskStatus): boolean {
  const bytes = (status: TaskStatus) =>
    TaskStatus.encode({ ...status, appliedBy: "", appliedAtMs: 0 });
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}
