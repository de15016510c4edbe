/**
 * Which tasks of a service a change starts, replaces and stops: the orchestrators' own decisions, asked what they would do. Pure.
 */
import type { Service, Task } from "../../src/common/api/generated/api.ts";
import { liveRuns, type Run } from "../../src/common/job/runs.ts";
import { reconcileNode } from "../orchestrator/global/reconcile.ts";
import { reconcileRun } from "../orchestrator/jobs/reconcile.ts";
import { NodeMatchers } from "../orchestrator/node-match.ts";
import { reconcile, summaryOf } from "../orchestrator/replicated/reconcile.ts";
import {
  byAge,
  fateOf,
  hasEnded,
  isGlobal,
  isJob,
  isWanted,
  type Place,
  type PlaceTasks,
  placeKey,
  putAtPlace,
} from "../orchestrator/slot.ts";
import { Outdated } from "../orchestrator/update/outdated.ts";
import type { View } from "../state/view.ts";

/** A place whose tasks are replaced. */
export interface Replacement {
  readonly place: Place;
  /** At least one. */
  readonly old: readonly Task[];
}

/** What becomes of the tasks of a service. */
export interface Steps {
  /** Without others in their places. */
  readonly stop: readonly Task[];
  readonly start: readonly Place[];
  readonly replace: readonly Replacement[];
  /** Wanted tasks that nothing happens to. */
  readonly kept: number;
  /** Of the tasks that are started, for those of jobs. */
  readonly jobIteration: number | undefined;
}

/**
 * What happens to the tasks of a service.
 *
 * @param view With the service as it is to be.
 * @param now Milliseconds since the epoch.
 */
export function stepsOf(serviceId: string, view: View, now: number): Steps {
  const service = view.get("service", serviceId);
  const tasks = view.find("task", "service", serviceId);
  if (service === undefined)
    return { ...nothing, stop: tasks.filter((task) => isWanted(task) && !hasEnded(task)) };
  if (isJob(service)) return jobSteps(service, tasks, { view, now });
  const places = byPlace(tasks);
  const outdated = new Outdated(service, (id) => view.get("node", id));
  return isGlobal(service)
    ? globalSteps(service, { places, outdated, view, now })
    : replicatedSteps(service, { places, outdated, view, now });
}

const nothing: Steps = { stop: [], start: [], replace: [], kept: 0, jobIteration: undefined };

interface Known {
  readonly places: ReadonlyMap<string, PlaceTasks>;
  readonly outdated: Outdated;
  readonly view: View;
  readonly now: number;
}

function replicatedSteps(service: Service, { places, outdated, view, now }: Known): Steps {
  const isGone = (task: Task) => fateOf(view, task.nodeId) !== "up";
  const summaries = [...places.values()].map(({ place, tasks }) =>
    summaryOf(service, place.slot, tasks, { now, isGone }),
  );
  const { fill, empty } = reconcile(service, summaries);
  const leaving = new Set(empty);
  const stop: Task[] = [];
  const staying: PlaceTasks[] = [];
  for (const one of places.values()) {
    if (leaving.has(one.place.slot)) stop.push(...one.tasks.filter(isWanted));
    else staying.push(one);
  }
  staying.sort((a, b) => a.place.slot - b.place.slot);
  const start = fill.map((slot) => ({ serviceId: service.id, slot, nodeId: "" }));
  return { ...replaced(staying, outdated), stop, start, jobIteration: undefined };
}

function globalSteps(service: Service, { places, outdated, view, now }: Known): Steps {
  const isMatch = new NodeMatchers().of(service);
  const stop: Task[] = [];
  const start: Place[] = [];
  const staying: PlaceTasks[] = [];
  const nodeIds = new Set(view.list("node").map(({ id }) => id));
  for (const { place } of places.values()) nodeIds.add(place.nodeId);
  for (const nodeId of [...nodeIds].sort()) {
    const place = { serviceId: service.id, slot: 0, nodeId };
    const tasks = places.get(placeKey(place))?.tasks ?? [];
    const node = view.get("node", nodeId);
    const input = { service, node, isMatch: node !== undefined && isMatch(node), tasks, now };
    const steps = reconcileNode(input);
    stop.push(...steps.stop);
    if (steps.create !== undefined) start.push(place);
    // A paused node keeps what it has: it would get no other task for it.
    else if (steps.stop.length === 0) staying.push({ place, tasks });
  }
  const found = replaced(staying, outdated);
  const [paused, replace] = split(found.replace, ({ place }) => outdated.isPaused(place.nodeId));
  return { stop, start, replace, kept: found.kept + paused.length, jobIteration: undefined };
}

function replaced(
  places: readonly PlaceTasks[],
  outdated: Outdated,
): Pick<Steps, "replace" | "kept"> {
  const replace: Replacement[] = [];
  let kept = 0;
  for (const { place, tasks } of places) {
    const wanted = tasks.filter(isWanted);
    const old = wanted.filter((task) => outdated.has(task));
    if (old.length > 0) replace.push({ place, old });
    kept += wanted.length - old.length;
  }
  return { replace, kept };
}

function jobSteps(
  service: Service,
  tasks: readonly Task[],
  { view, now }: { readonly view: View; readonly now: number },
): Steps {
  const live = liveRuns(service);
  const isLive = (task: Task) => live.some(({ iteration }) => iteration === task.jobIteration);
  const open = tasks.filter((task) => isWanted(task) && !hasEnded(task));
  const [kept, stop] = split(open, isLive);
  const run = live.at(-1);
  if (run === undefined) return { ...nothing, stop, kept: kept.length };
  const start = runSteps(service, run, { tasks, view, now });
  return { ...nothing, stop, start, kept: kept.length, jobIteration: run.iteration };
}

function runSteps(
  service: Service,
  run: Run,
  o: { readonly tasks: readonly Task[]; readonly view: View; readonly now: number },
): readonly Place[] {
  const { view, now } = o;
  const own = o.tasks.filter(({ jobIteration }) => jobIteration === run.iteration);
  const isMatch = new NodeMatchers().of(service);
  return reconcileRun(service, run, { places: byPlace(own).values(), view, isMatch, now }).fill;
}

function byPlace(tasks: readonly Task[]): Map<string, PlaceTasks> {
  const places = new Map<string, PlaceTasks>();
  for (const task of tasks) putAtPlace(places, task);
  for (const one of places.values()) one.tasks.sort(byAge);
  return places;
}

function split<T>(items: readonly T[], isFirst: (item: T) => boolean): readonly [T[], T[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}
