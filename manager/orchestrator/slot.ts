/**
 * Places of a service: the numbered slots of a replicated one, the nodes of a global one, each held by successive tasks.
 *
 * Shared by all orchestrators. A place has at most one wanted task of a version; an update that starts the new task
 * first has two for a while, and the dead ones stay as history.
 */
import {
  type Node,
  type Service,
  type Task,
  TaskStateNumber,
} from "../../src/common/api/generated/api.ts";
import type { View } from "../state/view.ts";

/** One place of a service. */
export interface Place {
  readonly serviceId: string;
  /** From 1; 0 for a global service, whose places are nodes. */
  readonly slot: number;
  /** Empty unless the slot is 0. */
  readonly nodeId: string;
}

/** What became of the node of a task. */
export type NodeFate =
  /** There, or not known yet: what runs on it goes on. */
  | "up"
  /** Its tasks are to go elsewhere in good order. */
  | "drained"
  /** Down or removed: its tasks are taken for lost. */
  | "lost";

const assignedNumber = TaskStateNumber("assigned");
const runningNumber = TaskStateNumber("running");
const completeNumber = TaskStateNumber("complete");

/** The place of a task. */
export function placeOf({ serviceId, slot, nodeId }: Task): Place {
  return { serviceId, slot, nodeId: slot === 0 ? nodeId : "" };
}

/** A text that is different for different places. */
export function placeKey({ serviceId, slot, nodeId }: Place): string {
  return slot === 0 ? `${serviceId}/${nodeId}` : `${serviceId}.${slot}`;
}

/** The tasks of a place. */
export interface PlaceTasks {
  readonly place: Place;
  readonly tasks: Task[];
}

/** Adds a task to those of its place; `places` is by key. */
export function putAtPlace(places: Map<string, PlaceTasks>, task: Task): void {
  const place = placeOf(task);
  const key = placeKey(place);
  const known = places.get(key);
  if (known === undefined) places.set(key, { place, tasks: [task] });
  else known.tasks.push(task);
}

/** All tasks of a place, the dead ones too, oldest first. */
export function tasksAt(view: View, { serviceId, slot, nodeId }: Place): Task[] {
  const tasks =
    slot === 0
      ? view
          .find("task", "node", nodeId)
          .filter((task) => task.serviceId === serviceId && task.slot === 0)
      : view.find("task", "slot", [serviceId, slot]);
  return tasks.length < 2 ? tasks : tasks.sort(byAge);
}

/** Orders tasks by when they were made, oldest first. */
export function byAge(a: Task, b: Task): number {
  const age = (a.meta?.createdAtMs ?? 0) - (b.meta?.createdAtMs ?? 0);
  if (age !== 0) return age;
  // Made in one millisecond: a successor counts on from its predecessor.
  return (a.restart?.count ?? 0) - (b.restart?.count ?? 0) || (a.id < b.id ? -1 : 1);
}

/** Whether the managers want the task to run, now or as soon as it may; those of jobs are wanted for good. */
export function isWanted(task: Task): boolean {
  return TaskStateNumber(task.desiredState) <= completeNumber;
}

/** Whether the task is one of a job that has done its work. */
export function isComplete(task: Task): boolean {
  return task.jobIteration !== undefined && task.status?.state === "complete";
}

/** Whether the task has ended, in whatever way. */
export function hasEnded(task: Task): boolean {
  return TaskStateNumber(task.status?.state ?? "new") > runningNumber;
}

/** Whether nothing of an unwanted task can run any more: it has ended, or no agent was ever told of it. */
export function hasStopped(task: Task): boolean {
  if (hasEnded(task)) return true;
  return !isWanted(task) && TaskStateNumber(task.status?.state ?? "new") < assignedNumber;
}

/** Whether the task runs. */
export function isRunning(task: Task): boolean {
  return task.status?.state === "running";
}

/** What became of the node of a task; tasks without a node wait for one and are well. */
export function fateOf(view: Pick<View, "get">, nodeId: string): NodeFate {
  return nodeId === "" ? "up" : nodeFate(view.get("node", nodeId));
}

/** What became of a node. */
export function nodeFate(node: Node | undefined): NodeFate {
  if (node === undefined || node.status?.state === "down") return "lost";
  return node.spec?.availability === "drain" ? "drained" : "up";
}

/** Whether a node may get new tasks. */
export function isOpen({ status, spec }: Node): boolean {
  return status?.state === "ready" && (spec?.availability ?? "active") === "active";
}

/** How many tasks a replicated service wants; undefined for services of other modes. */
export function replicasOf(service: Service | undefined): number | undefined {
  return service?.spec?.mode?.replicated?.replicas;
}

/** Whether the tasks of the service are to complete, once in each place of a run. */
export function isJob(service: Service | undefined): boolean {
  const mode = service?.spec?.mode;
  return mode?.replicatedJob !== undefined || mode?.globalJob !== undefined;
}

/** Whether the service wants one task per node. */
export function isGlobal(service: Service | undefined): boolean {
  return service?.spec?.mode?.global !== undefined;
}
