/**
 * How a rolling update goes on (docker-facts 1.8): which places come next, what is done in one, and how it ends. Pure.
 *
 * A rollout takes places one by one, as many at a time as the user allows. A place is through once its new task runs or has
 * ended; tasks of the rollout that end early count as failures. Differs from Docker's swarm on purpose: a task that is
 * to start first and finds no room while the old one is there lets go of the old one.
 */
import type {
  Node,
  Service,
  Task,
  UpdateConfig,
  UpdateFailureAction,
  UpdateOrder,
} from "../../../src/common/api/generated/api.ts";
import { startFirstPatienceMs, updateHoldMs } from "../../../src/common/limits/orchestrator.ts";
import { updateDeadlineMsOf } from "../../../src/common/spec/rollout-labels.ts";
import { updateMonitorNs } from "../../../src/common/spec/service-defaults.ts";
import { hasEnded, isOpen, isRunning, isWanted, type Place } from "../slot.ts";

/** How a rollout is to go. */
export interface RolloutConfig {
  /** Places under way at a time. */
  readonly parallelism: number;
  /** Pause after a place, milliseconds. */
  readonly delayMs: number;
  /** ... and the shortest until one of its tasks ran that long: a command that fails at its start does so within it. */
  readonly holdMs: number;
  /** How long a new task is watched once it runs, milliseconds. */
  readonly monitorMs: number;
  readonly order: UpdateOrder;
  readonly action: UpdateFailureAction;
  readonly maxFailureRatio: number;
  /** Longest time without a place that gets through, milliseconds; infinity where nobody set one. */
  readonly deadlineMs: number;
}

/** A place that is being updated. */
export interface UnderWay {
  readonly place: Place;
  readonly taskId: string;
  /** Monotonic milliseconds. */
  readonly begunMs: number;
  /** When its new task ran or had ended; undefined before. */
  doneMs: number | undefined;
  /** Whether the old task was let go of, since the new one found no room beside it. */
  fellBack: boolean;
}

/** A rollout as its leader remembers it; times are monotonic milliseconds. */
export interface Rollout {
  readonly config: RolloutConfig;
  /** Whether a failure leads back to the previous spec, or cannot because this is the way back. */
  readonly isRollback: boolean;
  /** Places that were to be updated, those that are through included. */
  readonly total: number;
  /** Places to come, by key. */
  readonly waiting: Map<string, Place>;
  readonly underWay: Map<string, UnderWay>;
  /** Tasks the rollout made, and since when they run. */
  readonly made: Map<string, number | undefined>;
  readonly failed: Set<string>;
  /** When the last place was through. */
  lastDoneMs: number;
  /** When this leader began with it. */
  readonly openedMs: number;
}

/** How a rollout ends. */
export type Verdict =
  | { readonly kind: "complete" }
  | {
      readonly kind: "pause" | "rollback";
      readonly taskId: string;
      /** A task of it ended early, or none got through in time. */
      readonly why: "failure" | "deadline";
    };

/** What a rollout does next. */
export interface RolloutSteps {
  readonly begin: readonly Place[];
  readonly verdict: Verdict | undefined;
  /** Milliseconds until there is something to do by time alone. */
  readonly wakeInMs: number;
}

/** The configuration of an update of this service, or of its way back. */
export function configOf(service: Service): RolloutConfig {
  const isRollback = service.updateStatus?.state === "rollback-started";
  const given: Partial<UpdateConfig> = (isRollback
    ? service.spec?.rollback
    : service.spec?.update) ?? { parallelism: 1 };
  const parallelism = given.parallelism ?? 0;
  const action = given.failureAction ?? "pause";
  const monitorMs = (given.monitorNs ?? updateMonitorNs) / 1e6;
  return {
    parallelism: parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism,
    delayMs: (given.delayNs ?? 0) / 1e6,
    monitorMs,
    holdMs: action === "continue" ? 0 : Math.min(updateHoldMs, monitorMs),
    order: given.order ?? "stop-first",
    action,
    maxFailureRatio: given.maxFailureRatio ?? 0,
    deadlineMs: updateDeadlineMsOf(service.spec?.annotations?.labels),
  };
}

/** The next steps of a rollout. */
export function planRollout(rollout: Rollout, now: number): RolloutSteps {
  const { config, waiting, underWay } = rollout;
  const verdict = failureVerdict(rollout) ?? deadlineVerdict(rollout, now);
  if (verdict !== undefined) return { begin: [], verdict, wakeInMs: Number.POSITIVE_INFINITY };
  // Places that are under way and not through: the deadline is theirs.
  let wakeInMs = slowest(rollout) === undefined ? Number.POSITIVE_INFINITY : leftMsOf(rollout, now);
  let busy = 0;
  const pauseMs = pauseAfterPlaceMs(rollout, now);
  for (const { doneMs, begunMs, fellBack } of underWay.values()) {
    let leftMs = Number.POSITIVE_INFINITY;
    if (doneMs !== undefined) leftMs = doneMs + pauseMs - now;
    else if (config.order === "start-first" && !fellBack)
      leftMs = begunMs + startFirstPatienceMs - now;
    if (doneMs !== undefined && (leftMs <= 0 || waiting.size === 0)) continue;
    busy++;
    if (leftMs > 0) wakeInMs = Math.min(wakeInMs, leftMs);
  }
  const begin: Place[] = [];
  for (const place of waiting.values()) {
    if (busy + begin.length >= config.parallelism) break;
    begin.push(place);
  }
  if (busy > 0 || waiting.size > 0) return { begin, verdict: undefined, wakeInMs };
  const leftMs = rollout.made.size > 0 ? rollout.lastDoneMs + watchMs(config) - now : 0;
  if (leftMs > 0) return { begin, verdict: undefined, wakeInMs: leftMs };
  return { begin, verdict: { kind: "complete" }, wakeInMs: Number.POSITIVE_INFINITY };
}

/** How long after a place was through the next one may follow it, milliseconds. */
export function pauseAfterPlaceMs(rollout: Rollout, now: number): number {
  const { delayMs, holdMs } = rollout.config;
  return holdMs <= delayMs || hasRunWell(rollout, now) ? delayMs : holdMs;
}

/** Whether one of its tasks has run long enough to show that the command does not fail at its start. */
function hasRunWell({ config, made, failed }: Rollout, now: number): boolean {
  for (const [id, sinceMs] of made)
    if (sinceMs !== undefined && now - sinceMs >= config.holdMs && !failed.has(id)) return true;
  return false;
}

/** How long tasks are watched after the last place, milliseconds. */
export function watchMs({ monitorMs, delayMs }: RolloutConfig): number {
  return delayMs > monitorMs ? delayMs + 1000 : monitorMs;
}

/** Whether a task of the rollout that ended, unasked, counts as its failure. */
export function isFailure(rollout: Rollout, task: Task, now: number): boolean {
  if (rollout.config.action === "continue" || rollout.failed.has(task.id)) return false;
  if (!rollout.made.has(task.id) || !hasEnded(task) || task.status?.state === "orphaned")
    return false;
  const since = rollout.made.get(task.id);
  return since === undefined || now - since <= watchMs(rollout.config);
}

function failureVerdict({ config, failed, total, isRollback }: Rollout): Verdict | undefined {
  const last = [...failed].pop();
  if (last === undefined || config.action === "continue") return undefined;
  if (failed.size / Math.max(total, 1) <= config.maxFailureRatio) return undefined;
  // A way back that fails is not taken back.
  const kind = config.action === "rollback" && !isRollback ? "rollback" : "pause";
  return { kind, taskId: last, why: "failure" };
}

/** A rollout whose places do not get on is not waited for for ever, if its user said so; not even one that bears failures. */
function deadlineVerdict(rollout: Rollout, now: number): Verdict | undefined {
  const { config, isRollback } = rollout;
  const stuck = slowest(rollout);
  if (stuck === undefined || leftMsOf(rollout, now) > 0) return undefined;
  const kind = config.action === "rollback" && !isRollback ? "rollback" : "pause";
  return { kind, taskId: stuck.taskId, why: "deadline" };
}

/** What is left of the deadline, milliseconds: each place that gets through begins it anew. */
function leftMsOf({ config, lastDoneMs, openedMs, underWay }: Rollout, now: number): number {
  let begunMs = Number.POSITIVE_INFINITY;
  for (const one of underWay.values())
    if (one.doneMs === undefined) begunMs = Math.min(begunMs, one.begunMs);
  return Math.max(lastDoneMs, openedMs, begunMs) + config.deadlineMs - now;
}

/** The place under way that was begun first and is not through. */
function slowest({ underWay }: Rollout): UnderWay | undefined {
  let first: UnderWay | undefined;
  for (const one of underWay.values())
    if (one.doneMs === undefined && (first === undefined || one.begunMs < first.begunMs))
      first = one;
  return first;
}

/** What is done in one place. */
export interface PlaceSteps {
  readonly stop: readonly Task[];
  /** A task of the present spec that is there already. */
  readonly present: Task | undefined;
  /** Desired state of the task that is to be made. */
  readonly create: "ready" | "running" | undefined;
}

/** Begins a place, or goes on with one that another leader began. */
export function updatePlace(
  tasks: readonly Task[],
  options: {
    readonly order: UpdateOrder;
    readonly isOutdated: (task: Task) => boolean;
    /** Whether the old task is to go although the new one does not run. */
    readonly fallBack?: boolean;
  },
): PlaceSteps {
  const wanted = tasks.filter(isWanted);
  const present = wanted.filter((task) => !options.isOutdated(task));
  const old = wanted.filter(options.isOutdated);
  const running = present.filter(isRunning);
  // One that was made to take over from another does so once it runs.
  const heir = running.find(({ besideId }) => present.some(({ id }) => id === besideId));
  const keep = heir ?? running[0] ?? present[present.length - 1];
  if (keep !== undefined) {
    const waits = options.order === "start-first" && !isRunning(keep) && !options.fallBack;
    const twins = present.filter((task) => task !== keep);
    return { stop: waits ? twins : [...twins, ...old], present: keep, create: undefined };
  }
  if (old.length > 0 && options.order === "start-first")
    return { stop: [], present: undefined, create: "running" };
  if (old.length === 0) {
    const last = tasks[tasks.length - 1];
    // A place that had its last task gets one of the new spec; one that was emptied meanwhile does not.
    const isDue =
      last !== undefined &&
      last.desiredState !== "remove" &&
      hasEnded(last) &&
      options.isOutdated(last);
    return { stop: [], present: undefined, create: isDue ? "running" : undefined };
  }
  return { stop: old, present: undefined, create: "ready" };
}

/**
 * Whether a task that waits for a node might get one if the old task of its place went away.
 *
 * Only then is the old one given up: not for a constraint that nobody meets, and not when the old one's node is none for
 * the new one.
 *
 * @param canHave Whether the new spec may run on a node.
 */
export function wouldFitAfter(
  task: Task,
  oldNodes: readonly (Node | undefined)[],
  canHave: (node: Node) => boolean,
): boolean {
  if (task.status?.state !== "pending" || task.status.error === "") return false;
  const { placement, resources } = task.spec ?? {};
  const reserved = resources?.reservations;
  const competes =
    (task.endpoint?.spec?.ports ?? []).some(({ publishMode }) => publishMode === "host") ||
    (placement?.maxReplicas ?? 0) > 0 ||
    (reserved?.nanoCpus ?? 0) > 0 ||
    (reserved?.memoryBytes ?? 0) > 0 ||
    (reserved?.generic ?? []).length > 0;
  return competes && oldNodes.some((node) => node !== undefined && isOpen(node) && canHave(node));
}
