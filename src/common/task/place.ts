/**
 * The place of a task as users see it. Pure.
 *
 * Slots count from 1, as 0 stands for none, but those of jobs are shown from 0, as in Docker's swarm: the docker command
 * waits for the slots from 0 on before it says that a job is complete.
 */
import type { Task } from "../api/generated/api.ts";

/** The slot as users see it; undefined for tasks whose place is a node. */
export function shownSlot({
  slot,
  jobIteration,
}: {
  readonly slot: number;
  readonly jobIteration?: number | undefined;
}): number | undefined {
  if (slot === 0) return undefined;
  return jobIteration === undefined ? slot : slot - 1;
}

/** The middle of the name of a task and its container: the slot, or the node's id. */
export function shownPlace(task: Task): string {
  return `${shownSlot(task) ?? task.nodeId}`;
}
