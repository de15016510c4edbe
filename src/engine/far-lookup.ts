/**
 * Finds the container that a user means among those of all tasks of the cluster. Pure.
 *
 * Accepted are, in this order: the id of a task, the name of its container (`web.1.<task id>`), the name of the task
 * (`web.1`: the one that runs now, else the newest), the container's id, or the beginning of a container's or task's id.
 */
import type { Task } from "../common/api/generated/api.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { isId } from "../common/ids/ids.ts";
import { shownSlot } from "../common/task/place.ts";
import type { ObjectView } from "./ports.ts";
import { taskName } from "./translate/task.ts";

/** Shorter beginnings are no reference to another node's container: they are words too often, such as `db`. */
const prefixLengthMin = 6;

/** A task that was named. */
export interface FoundTask {
  readonly task: Task;
  /** By its own id or name, not by those of its container. */
  readonly byTask: boolean;
}

/**
 * The task whose container is meant; undefined when there is none.
 *
 * @throws ClusterError `invalid-argument` naming how many there are when several begin so.
 */
export function findTask(view: ObjectView, reference: string): FoundTask | undefined {
  return byId(view, reference) ?? byName(view, reference) ?? byPrefix(view, reference);
}

/** Id of the task's container; empty before it has one. */
export function containerOf(task: Task): string {
  return task.status?.container?.containerId ?? "";
}

/** Whether a reference can only mean a task or its container, so that a refusal may say where to ask. */
export function looksLikeTask(reference: string): boolean {
  return isId(reference.slice(reference.lastIndexOf(".") + 1));
}

function byId(view: ObjectView, reference: string): FoundTask | undefined {
  const at = reference.lastIndexOf(".");
  const id = reference.slice(at + 1);
  const task = isId(id) ? view.get("task", id) : undefined;
  if (task === undefined) return undefined;
  if (at < 0) return { task, byTask: true };
  return taskName(task) === reference ? { task, byTask: false } : undefined;
}

/** `web.1`, or `web.<node id>` of a global service. */
function byName(view: ObjectView, reference: string): FoundTask | undefined {
  const at = reference.lastIndexOf(".");
  if (at <= 0) return undefined;
  const tasks = [...view.byName("service", reference.slice(0, at))].flatMap(({ id }) =>
    [...view.tasksOfService(id)].filter(
      (task) =>
        taskName(task) === `${reference}.${task.id}` ||
        // So the docker command calls the first task of a job.
        (shownSlot(task) === 0 && reference.slice(at + 1) === task.nodeId),
    ),
  );
  const [best] = tasks.sort((a, b) => rank(b) - rank(a) || createdAt(b) - createdAt(a));
  return best === undefined ? undefined : { task: best, byTask: true };
}

/** Of several tasks in a slot the one that runs is meant; else one that has a container at all. */
function rank(task: Task): number {
  if (task.status?.state === "running") return 2;
  return containerOf(task) === "" ? 0 : 1;
}

function createdAt(task: Task): number {
  return task.meta?.createdAtMs ?? 0;
}

function byPrefix(view: ObjectView, reference: string): FoundTask | undefined {
  if (reference.length < prefixLengthMin || !/^[0-9a-z]{1,64}$/.test(reference)) return undefined;
  const found: FoundTask[] = [];
  for (const task of view.list("task")) {
    if (containerOf(task).startsWith(reference)) found.push({ task, byTask: false });
    else if (task.id.startsWith(reference)) found.push({ task, byTask: true });
  }
  if (found.length < 2) return found[0];
  throw new ClusterError(
    "invalid-argument",
    `container or task ${reference} is ambiguous in the cluster (${found.length} matches found)`,
  );
}
