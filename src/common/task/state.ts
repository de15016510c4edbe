/**
 * The order of task states (docker-facts 1.5). Pure; shared by orchestrators, scheduler, dispatcher and agent.
 */
import { type TaskState, TaskStateValues } from "../api/generated/api.ts";

const rankOf: Readonly<Record<string, number>> = Object.fromEntries(
  TaskStateValues.map((state, rank) => [state, rank]),
);

/** Place of a state in the life of a task: states only move to higher ranks. */
export function stateRank(state: TaskState): number {
  return rankOf[state] ?? 0;
}

/** Whether `a` comes before `b`. */
export function isBefore(a: TaskState, b: TaskState): boolean {
  return stateRank(a) < stateRank(b);
}

/** Whether a task in this state has ended: it is beyond RUNNING, and stays what it is. */
export function isTerminal(state: TaskState): boolean {
  return isBefore("running", state);
}
