/**
 * Whether, when and how often a task that ended is replaced (docker-facts 1.7), and when its successor may start. Pure.
 *
 * Differs from Docker's swarm on purpose: where the user set no delay the waits grow (5 s, 10 s, … 5 min) as long as tasks
 * keep ending early; tasks lost with their node are replaced at once and count as no attempt; what was counted is kept in
 * the tasks, so that a change of the leader forgets nothing.
 */
import {
  Restart,
  type RestartPolicy,
  type Service,
  type Task,
  type TaskState,
} from "../../../src/common/api/generated/api.ts";
import {
  predecessorWaitMs,
  restartBackoffMaxMs,
  restartBackoffResetMs,
} from "../../../src/common/limits/orchestrator.ts";
import { restartDelayNs } from "../../../src/common/spec/service-defaults.ts";
import { isTaskDirty } from "../../../src/common/task/dirty.ts";
import { hasEnded, hasStopped, isComplete, isRunning, isWanted, type NodeFate } from "../slot.ts";

/** What the tasks of one place are looked at with. */
export interface PlaceInput {
  readonly service: Service;
  /** All of the place, oldest first. */
  readonly tasks: readonly Task[];
  readonly fateOf: (task: Task) => NodeFate;
  /** How long an ended task ran, milliseconds. */
  readonly ranMs: (task: Task) => number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The successor of a task that ended or was lost. */
export interface Successor {
  /** `ready` holds it back until its time has come and its predecessor has stopped. */
  readonly desiredState: TaskState;
  readonly restart: Restart;
}

/** What is to be done about a place. */
export interface Repair {
  /** Tasks that are to be shut down: they have ended, or their node is no place for them any more. */
  readonly stop: readonly Task[];
  readonly successor: Successor | undefined;
}

const nothing: Repair = { stop: [], successor: undefined };

/** Looks after one place: which of its tasks are over, and what comes after them. */
export function repairPlace(input: PlaceInput): Repair {
  const stop = input.tasks.filter((task) => isWanted(task) && isGone(input, task));
  const last = stop[stop.length - 1];
  if (last === undefined) return nothing;
  const isHeld = input.tasks.some(
    (task) => isWanted(task) && !stop.includes(task) && !isOutdated(input.service, task),
  );
  return { stop, successor: isHeld ? undefined : successorOf(input, last) };
}

/** Whether the place has had its last task: nobody is wanted there, and the policy wants no other one. */
export function isFinished(service: Service, tasks: readonly Task[], now: number): boolean {
  if (tasks.some(isWanted)) return false;
  const last = tasks[tasks.length - 1];
  if (last === undefined || last.desiredState === "remove" || !hasEnded(last)) return false;
  return !mayRestart(service, last, now);
}

/** Whether the policy allows a task after this one, which ended by itself or was lost. */
export function mayRestart(service: Service, task: Task, now: number): boolean {
  const policy = policyOf(service);
  // What a job has done is done: `any` means `on-failure` there, as in Docker's swarm.
  if (policy?.condition === "none" || isComplete(task)) return false;
  if (policy?.condition === "on-failure" && task.status?.state === "complete") return false;
  const maxAttempts = policy?.maxAttempts ?? 0;
  if (policy === undefined || maxAttempts === 0) return true;
  const { count, timesMs } = countedFor(service, task);
  if (policy.windowNs <= 0) return count < maxAttempts;
  return withinWindow(policy, timesMs, now).length < maxAttempts;
}

/** What a held-back task waits for. */
export interface StartInput {
  readonly task: Task;
  /** All tasks of its place. */
  readonly tasks: readonly Task[];
  readonly fateOf: (task: Task) => NodeFate;
  /** What is left of its delay, milliseconds. */
  readonly heldMs: number;
  /** How long it has waited, milliseconds. */
  readonly waitedMs: number;
}

/**
 * How long a held-back task still has to wait, milliseconds; 0 when it may start.
 *
 * Waits for its time, and for tasks of its place that are being shut down, those up to a minute; tasks on lost nodes
 * are not waited for.
 */
export function startsIn({ task, tasks, fateOf, heldMs, waitedMs }: StartInput): number {
  const isStopping = (other: Task) =>
    other.id !== task.id && !isWanted(other) && !hasStopped(other) && fateOf(other) !== "lost";
  const patienceMs = tasks.some(isStopping) ? predecessorWaitMs - waitedMs : 0;
  return Math.max(heldMs, patienceMs, 0);
}

/** Whether a task is to take over from one that is still wanted: it waits for that, however long it takes. */
export function isHeir(task: Task, tasks: readonly Task[]): boolean {
  return tasks.some((other) => other.id === task.besideId && isWanted(other));
}

/** How long a task is to be held back from now, milliseconds: by its own account, however the clocks of two leaders differ. */
export function heldFor(task: Task, now: number): number {
  const { startAtMs = 0 } = task.restart ?? {};
  const wholeMs = startAtMs - (task.meta?.createdAtMs ?? startAtMs);
  return Math.max(0, Math.min(startAtMs - now, wholeMs));
}

/**
 * A task that ended while it was held back, since its image cannot be had, say, is not looked at before its time has come:
 * otherwise its successors would fail as fast as they are made.
 */
function isGone(input: PlaceInput, task: Task): boolean {
  if (isComplete(task)) return false;
  return hasEnded(task) ? task.desiredState !== "ready" : input.fateOf(task) !== "up";
}

/** Whether the place needs another task for this one's spec; the tasks of a run go on as they were made. */
function isOutdated(service: Service, task: Task): boolean {
  return task.jobIteration === undefined && isTaskDirty(service, task);
}

function successorOf(input: PlaceInput, task: Task): Successor | undefined {
  const { service, now } = input;
  const policy = policyOf(service);
  const counted = countedFor(service, task);
  const fate = input.fateOf(task);
  const isLost = task.status?.state === "orphaned" || (!hasEnded(task) && fate === "lost");
  if (isLost || !hasEnded(task)) {
    if (policy?.condition === "none") return undefined;
    // Not the task's fault: no wait, no attempt. A drained node's task stops first, as in Docker's swarm.
    const restart = Restart.create({ ...counted, startAtMs: isLost ? 0 : now });
    return { desiredState: isLost ? "running" : "ready", restart };
  }
  if (!mayRestart(service, task, now)) return undefined;
  const failures = isEarly(task, input.ranMs(task)) ? counted.failures : 0;
  // A node that is being emptied does not make its tasks wait.
  const delayMs = fate === "drained" ? 0 : delayOf(policy, failures);
  const restart = Restart.create({
    count: counted.count + 1,
    timesMs: timesWith(policy, counted.timesMs, now),
    failures: failures + 1,
    startAtMs: delayMs === 0 ? 0 : now + delayMs,
  });
  return { desiredState: delayMs === 0 ? "running" : "ready", restart };
}

/** The restarts the window counts, with this one. */
function timesWith(
  policy: RestartPolicy | undefined,
  timesMs: readonly number[],
  now: number,
): number[] {
  if (policy === undefined || policy.windowNs <= 0 || policy.maxAttempts === 0) return [];
  return [...withinWindow(policy, timesMs, now), now];
}

/** The wait before the next task, milliseconds: the user's, else one that doubles with each early failure. */
function delayOf(policy: RestartPolicy | undefined, failures: number): number {
  if (policy?.delayNs !== undefined) return policy.delayNs / 1e6;
  const doubled = (restartDelayNs / 1e6) * 2 ** Math.min(failures, 30);
  return Math.min(doubled, restartBackoffMaxMs);
}

function isEarly(task: Task, ranMs: number): boolean {
  const { startAtMs = 0 } = task.restart ?? {};
  const heldMs = startAtMs === 0 ? 0 : startAtMs - (task.meta?.createdAtMs ?? startAtMs);
  return ranMs < Math.max(restartBackoffResetMs, heldMs);
}

/** What was counted so far; another version of the spec starts anew. */
function countedFor(service: Service, task: Task): Restart {
  if (task.restart === undefined || task.specVersion !== service.specVersion)
    return Restart.create();
  return task.restart;
}

function withinWindow(policy: RestartPolicy, timesMs: readonly number[], now: number): number[] {
  return timesMs.filter((time) => time > now - policy.windowNs / 1e6);
}

function policyOf(service: Service): RestartPolicy | undefined {
  return service.spec?.task?.restart;
}

/** How long an ended task ran as far as the task itself tells, milliseconds; `since` is when it was seen to run. */
export function ranFor(task: Task, since: number | undefined): number {
  const end = task.status?.timestampMs ?? 0;
  if (since !== undefined) return end - since;
  // Rejected tasks never ran; of others only their making and the end of their wait are known.
  if (task.status?.state === "rejected" || isRunning(task)) return 0;
  return end - Math.max(task.meta?.createdAtMs ?? end, task.restart?.startAtMs ?? 0);
}
