/**
 * Looks through the tasks of a service for what an update has to replace, in slices: the beginning of a rollout, or what a
 * new leader finds of one.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Store } from "../../state/store.ts";
import { nap, slices } from "../leadership.ts";
import { isFinished } from "../restart/policy.ts";
import { byAge, isRunning, isWanted, type Place, placeKey, placeOf } from "../slot.ts";
import type { Outdated } from "./outdated.ts";
import { configOf, pauseAfterPlaceMs, type Rollout, type UnderWay } from "./plan.ts";

interface Found {
  readonly place: Place;
  readonly tasks: Task[];
}

/** The rollout a service needs now; nothing waits in it when all tasks are as they should be. */
export async function openRollout(
  store: Store,
  options: { readonly service: Service; readonly outdated: Outdated; readonly clock: Clock },
): Promise<Rollout> {
  const { service, clock } = options;
  const pause = slices(clock);
  const found = new Map<string | number, Found>();
  for (const id of store.view().ids("task", "service", service.id)) {
    if (pause()) await nap();
    const task = store.view().get("task", id);
    if (task === undefined) continue;
    const key = task.slot === 0 ? task.nodeId : task.slot;
    const one = found.get(key);
    if (one === undefined) found.set(key, { place: placeOf(task), tasks: [task] });
    else one.tasks.push(task);
  }
  const now = clock.monotonic();
  const rollout = {
    config: configOf(service),
    isRollback: service.updateStatus?.state === "rollback-started",
    total: 0,
    waiting: new Map<string, Place>(),
    underWay: new Map<string, UnderWay>(),
    made: new Map<string, number | undefined>(),
    failed: new Set<string>(),
    lastDoneMs: Number.NEGATIVE_INFINITY,
    openedMs: now,
  };
  for (const key of [...found.keys()].sort(inOrder)) {
    const one = found.get(key);
    if (one !== undefined && judge(one, rollout, { ...options, now })) rollout.total++;
    if (pause()) await nap();
  }
  return rollout;
}

/** Puts a place where it belongs; says whether it is one of the rollout's. */
function judge(
  { place, tasks }: Found,
  rollout: Rollout,
  options: {
    readonly service: Service;
    readonly outdated: Outdated;
    readonly clock: Clock;
    readonly now: number;
  },
): boolean {
  const { service, outdated, clock, now } = options;
  tasks.sort(byAge);
  const wanted = tasks.filter(isWanted);
  const last = tasks[tasks.length - 1];
  const held =
    wanted.length > 0 || last === undefined || !isFinished(service, tasks, clock.now())
      ? wanted
      : [last];
  const made = madeBy(service, tasks);
  for (const task of made) {
    const sinceMs = isRunning(task) ? now - ageOf(task, clock.now()) : undefined;
    rollout.made.set(task.id, sinceMs);
    rollout.lastDoneMs = Math.max(rollout.lastDoneMs, sinceMs ?? rollout.lastDoneMs);
    if (hasFailed(task)) rollout.failed.add(task.id);
    // The pause after it may not be over.
    const pauseMs = pauseAfterPlaceMs(rollout, now);
    if (sinceMs !== undefined && isWanted(task) && now < sinceMs + pauseMs)
      rollout.underWay.set(placeKey(place), throughAt(place, task, sinceMs));
  }
  const isStarting = made.some((task) => isWanted(task) && !isRunning(task));
  // A paused node would get no other task for the one it has.
  if (place.slot === 0 && outdated.isPaused(place.nodeId)) return false;
  const isOutdated = held.some((task) => outdated.has(task));
  const isDue = isOutdated || withoutHeirs(held).length > 1 || isStarting;
  if (isDue) rollout.waiting.set(placeKey(place), place);
  return isDue || made.length > 0;
}

/** Tasks that an update under way made, rather than the restart policy after it. */
function madeBy({ specVersion, updateStatus }: Service, tasks: readonly Task[]): Task[] {
  if (updateStatus === undefined) return [];
  return tasks.filter(
    (task) =>
      task.specVersion === specVersion &&
      task.restart === undefined &&
      (task.meta?.createdAtMs ?? 0) >= updateStatus.startedAtMs,
  );
}

/** Without the tasks that are to take over from another one that is wanted until then: `handover` sees to these. */
function withoutHeirs(tasks: readonly Task[]): Task[] {
  return tasks.filter(({ besideId }) => !tasks.some(({ id }) => id === besideId));
}

/** How long ago the task's state was reported, milliseconds. */
function ageOf(task: Task, now: number): number {
  return Math.max(0, now - (task.status?.timestampMs ?? now));
}

function throughAt(place: Place, { id }: Task, doneMs: number): UnderWay {
  return { place, taskId: id, begunMs: doneMs, doneMs, fellBack: false };
}

function hasFailed({ status, desiredState }: Task): boolean {
  const state = status?.state;
  return desiredState === "shutdown" && (state === "failed" || state === "rejected");
}

/** Lowest slots first; nodes by their ids. */
function inOrder(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a) < String(b) ? -1 : 1;
}
