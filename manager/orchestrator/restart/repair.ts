/**
 * Carries out what the restart policy decides about one place, within a transaction; for slots and nodes alike.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import type { Tx } from "../../state/transaction.ts";
import type { View } from "../../state/view.ts";
import type { Tools } from "../leadership.ts";
import { fateOf, hasEnded, isRunning, type NodeFate, type Place, tasksAt } from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";
import { ranFor, repairPlace } from "./policy.ts";

/** Where a place is looked at. */
export interface RepairContext {
  readonly tx: Tx;
  /** The tables without what the transaction has staged for other places. */
  readonly view: View;
  readonly service: Service;
  readonly place: Place;
  readonly runTimes: RunTimes;
  /** Of a job: only tasks of this run count. */
  readonly jobIteration?: number;
  /** What is to be thought of the node of a task; as its state and availability say unless given. */
  readonly fateOf?: (task: Task) => NodeFate;
}

/** Shuts down what is over in a place and makes its successor. */
export function repairAt(context: RepairContext, { clock, random }: Tools): void {
  const { tx, view, service, place, runTimes, jobIteration } = context;
  const now = clock.now();
  const { stop, successor } = repairPlace({
    service,
    tasks: tasksAt(view, place).filter((task) => task.jobIteration === jobIteration),
    fateOf: context.fateOf ?? ((task) => fateOf(view, task.nodeId)),
    ranMs: (task) => ranFor(task, runTimes.since(task.id)),
    now,
  });
  for (const task of stop) tx.update("task", { ...task, desiredState: "shutdown" });
  if (successor === undefined) return;
  tx.require("service", service.id);
  const logDriver = defaultLogDriver(view);
  const parts = { id: newId(random), place, now, logDriver, jobIteration, ...successor };
  tx.create("task", newTask(service, parts));
}

/** Since when tasks ran that have ended: the status of an ended task does not say it any more. */
export class RunTimes {
  readonly #since = new Map<string, number>();

  /** Takes note of a task that ended while it ran. */
  note(task: Task, old: Task | undefined): void {
    if (old === undefined || !isRunning(old) || !hasEnded(task)) return;
    this.#since.set(task.id, old.status?.timestampMs ?? 0);
  }

  since(taskId: string): number | undefined {
    return this.#since.get(taskId);
  }

  forget(taskId: string): void {
    this.#since.delete(taskId);
  }

  clear(): void {
    this.#since.clear();
  }
}
