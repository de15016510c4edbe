/**
 * What one run of a job wants (docker-facts 1.7). Pure.
 *
 * A run is one iteration of a job. A replicated job fills slots from 1 until as many are complete as it wants, so many at a
 * time; a global job completes once on every node that was there when the run began. A place whose task failed and that
 * the restart policy gives no other one is given up: the rest of the run goes on without it. Differs from Docker's swarm on
 * purpose: slots begin at 1, since slot 0 means none and names the task after its node.
 */
import type { Node, Service, Task } from "../../../src/common/api/generated/api.ts";
import type { Run } from "../../../src/common/job/runs.ts";
import type { View } from "../../state/view.ts";
import { isFinished } from "../restart/policy.ts";
import {
  byAge,
  fateOf,
  hasEnded,
  isComplete,
  isWanted,
  type NodeFate,
  nodeFate,
  type Place,
  type PlaceTasks,
} from "../slot.ts";

/** How far a run has come. */
export type Outcome =
  | "running"
  | "complete"
  /** Nothing of it goes on, and some of its places were given up. */
  | "failed";

/** One place of a run in short. */
export interface PlaceSummary {
  readonly place: Place;
  readonly isComplete: boolean;
  /** Whether a task is wanted in it that is not complete yet. */
  readonly isActive: boolean;
  /** Whether nothing more comes: the last task ended, or was lost, and the policy wants no other. */
  readonly isGivenUp: boolean;
  readonly needsRepair: boolean;
  /** Wanted tasks that have not completed. */
  readonly open: readonly Task[];
}

/** What is to be done about a run. */
export interface RunSteps {
  /** Places that are to get their first task. */
  readonly fill: readonly Place[];
  /** Places with a task that ended or was lost: the restart policy has to look. */
  readonly repair: readonly Place[];
  /** Tasks that are to be shut down, without another one in their place. */
  readonly stop: readonly Task[];
  readonly outcome: Outcome;
}

/** Compares a run with what it wants. @param o.places Those that have had tasks of the run */
export function reconcileRun(
  service: Service,
  run: Run,
  o: {
    readonly places: Iterable<PlaceTasks>;
    readonly view: View;
    /** Whether a node meets the constraints. */
    readonly isMatch: (node: Node) => boolean;
    /** Milliseconds since the epoch. */
    readonly now: number;
  },
): RunSteps {
  const { view, isMatch, now } = o;
  const options = { now, fateOf: (task: Task) => fateOf(view, task.nodeId) };
  const places: PlaceSummary[] = [];
  for (const { place, tasks } of o.places)
    places.push(summaryOf(service, place, tasks.toSorted(byAge), options));
  if (service.spec?.mode?.replicatedJob !== undefined)
    return reconcileReplicatedJob(service, places);
  return reconcileGlobalJob({ service, run, places, nodes: view.list("node"), isMatch });
}

/** What a place looks like. @param tasks All of the run in the place, oldest first. */
export function summaryOf(
  service: Service,
  place: Place,
  tasks: readonly Task[],
  options: { readonly now: number; readonly fateOf: (task: Task) => NodeFate },
): PlaceSummary {
  const open = tasks.filter((task) => isWanted(task) && !isComplete(task));
  const complete = tasks.some(isComplete);
  return {
    place,
    isComplete: complete,
    isActive: !complete && open.length > 0,
    isGivenUp: !complete && open.length === 0 && isOver(service, place, tasks, options.now),
    needsRepair: open.some((task) => hasEnded(task) || options.fateOf(task) !== "up"),
    open,
  };
}

/** A slot is lost with its last task. A node's place is free again when the task only went because the node did. */
function isOver(service: Service, { slot }: Place, tasks: readonly Task[], now: number): boolean {
  if (slot > 0) return tasks.length > 0;
  return isFinished(service, tasks, now);
}

/** Compares a run of a replicated job with what it wants. */
export function reconcileReplicatedJob(
  service: Service,
  places: readonly PlaceSummary[],
): RunSteps {
  const { maxConcurrent = 0, totalCompletions = 0 } = service.spec?.mode?.replicatedJob ?? {};
  const held = new Set<number>();
  let active = 0;
  let complete = 0;
  let givenUp = 0;
  for (const { place, isActive, isComplete: isDone, isGivenUp } of places) {
    if (isActive || isDone || isGivenUp) held.add(place.slot);
    if (isActive) active++;
    if (isDone) complete++;
    if (isGivenUp) givenUp++;
  }
  const wanted = Math.min(maxConcurrent - active, totalCompletions - complete - active - givenUp);
  const fill: Place[] = [];
  for (let slot = 1; fill.length < wanted; slot++) {
    if (!held.has(slot)) fill.push({ serviceId: service.id, slot, nodeId: "" });
  }
  const isRunning = complete + givenUp < totalCompletions;
  return {
    fill,
    repair: places.filter(({ needsRepair }) => needsRepair).map(({ place }) => place),
    stop: [],
    outcome: isRunning ? "running" : complete < totalCompletions ? "failed" : "complete",
  };
}

/** What a run of a global job is compared with. */
export interface GlobalInput {
  readonly service: Service;
  readonly run: Run;
  /** Places of the run that have had tasks. */
  readonly places: readonly PlaceSummary[];
  readonly nodes: readonly Node[];
  /** Whether a node meets the constraints. */
  readonly isMatch: (node: Node) => boolean;
}

/** Compares a run of a global job with what it wants. */
export function reconcileGlobalJob(input: GlobalInput): RunSteps {
  const { service, run, nodes, isMatch } = input;
  const summaries = new Map(input.places.map((summary) => [summary.place.nodeId, summary]));
  const fill: Place[] = [];
  const repair: Place[] = [];
  const stop: Task[] = [];
  let givenUp = 0;
  for (const node of nodes) {
    const summary = summaries.get(node.id);
    if (nodeFate(node) !== "up" || !isMatch(node)) continue;
    summaries.delete(node.id);
    if (summary?.isGivenUp) givenUp++;
    if (summary?.needsRepair) repair.push(summary.place);
    if (summary?.isActive || summary?.isComplete || summary?.isGivenUp) continue;
    if (takesPart(node, run)) fill.push({ serviceId: service.id, slot: 0, nodeId: node.id });
  }
  // What is left is of nodes that are no place for it any more.
  for (const { open } of summaries.values()) stop.push(...open);
  const isRunning = fill.length > 0 || input.places.some(({ isActive }) => isActive);
  return {
    fill,
    repair,
    stop,
    outcome: isRunning ? "running" : givenUp > 0 ? "failed" : "complete",
  };
}

/** Whether a node may get its task: one that joined after the run began waits for the next. */
function takesPart({ spec, status, meta }: Node, { startedAtMs }: Run): boolean {
  return (
    status?.state === "ready" &&
    (spec?.availability ?? "active") === "active" &&
    (meta?.createdAtMs ?? 0) <= startedAtMs
  );
}
