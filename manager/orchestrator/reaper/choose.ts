/**
 * Which old tasks are deleted (docker-facts 1.3, 1.5). Pure.
 */
import type { Task } from "../../../src/common/api/generated/api.ts";
import { hasStopped, isWanted } from "../slot.ts";

/**
 * Whether a task can go: it is to be removed and has ended, or no agent was ever told of it; the attachment of a container
 * that was run by hand goes as soon as it has ended, as nobody looks for it any more.
 */
export function isRemovable(task: Task): boolean {
  const isAttachment = task.spec?.attachment !== undefined;
  return (task.desiredState === "remove" || isAttachment) && hasStopped(task);
}

/** How many tasks a place keeps, the present one included; undefined when all are kept. */
export function historyLimit(
  retention: number,
  maxAttempts: number | undefined,
): number | undefined {
  if (retention < 0) return undefined;
  // Somebody who counts attempts wants to see them all.
  return maxAttempts === undefined || maxAttempts === 0 ? retention : maxAttempts + 1;
}

/**
 * The tasks of one place beyond its history, oldest first; those that are wanted or may still run stay.
 *
 * @param tasks All of the place, oldest first.
 */
export function chooseOld(tasks: readonly Task[], limit: number): Task[] {
  const surplus = tasks.length - limit;
  if (surplus <= 0) return [];
  return tasks.filter((task) => !isWanted(task) && hasStopped(task)).slice(0, surplus);
}
