/**
 * How a task that runs leaves its node for a better one, or for another one when its service wants new tasks to start
 * first: its successor comes up there before it is told to go. Pure.
 *
 * Differs from Docker's swarm on purpose, which stops the tasks of a drained node first whatever the service says. A node
 * that is to be emptied is emptied all the same: where the new task finds no room, keeps failing, or takes too long, the old
 * one is not waited for.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import {
  handoverAttemptsMax,
  handoverMsMax,
  startFirstPatienceMs,
} from "../../../src/common/limits/orchestrator.ts";
import { updateDeadlineMsOf } from "../../../src/common/spec/rollout-labels.ts";
import { restartDelayNs } from "../../../src/common/spec/service-defaults.ts";
import { hasEnded, isRunning, isWanted, type NodeFate, replicasOf } from "../slot.ts";

/** One task that is leaving, as its leader remembers it; times are monotonic milliseconds. */
export interface Handover {
  readonly taskId: string;
  readonly sinceMs: number;
  /** How many new tasks were made beside it, and when the last one was. */
  readonly attempts: number;
  readonly triedMs: number;
}

/** What is done next about it. */
export type HandoverStep =
  /** A new task is made beside the old one. */
  | { readonly kind: "start" }
  | { readonly kind: "wait"; readonly lookInMs: number }
  /** The new one runs. */
  | { readonly kind: "done" }
  | { readonly kind: "give-up"; readonly why: string };

/** Whether a task on a node that is being emptied is to run until its successor does. */
export function startsElsewhereFirst(
  service: Service | undefined,
  task: Task,
  fate: NodeFate,
): boolean {
  if (fate !== "drained" || task.slot === 0 || !isRunning(task) || !isWanted(task)) return false;
  return canStartFirst(service);
}

/** Whether the tasks of the service may be beside their successors, and get some. */
export function canStartFirst(service: Service | undefined): boolean {
  return (
    replicasOf(service) !== undefined &&
    service?.spec?.update?.order === "start-first" &&
    service.spec.task?.restart?.condition !== "none"
  );
}

/** The next step. */
export function planHandover(input: {
  readonly service: Service;
  readonly handover: Handover;
  /** Tasks of the place that may take over: of the present spec, and on no node that is being emptied. */
  readonly heirs: readonly Task[];
  readonly now: number;
}): HandoverStep {
  const { handover, now } = input;
  const heirs = input.heirs.filter((task) => isWanted(task) && !hasEnded(task));
  if (heirs.some(isRunning)) return { kind: "done" };
  const longestMs = Math.min(
    handoverMsMax,
    updateDeadlineMsOf(input.service.spec?.annotations?.labels),
  );
  const leftMs = handover.sinceMs + longestMs - now;
  if (leftMs <= 0) return { kind: "give-up", why: "no new task ran in time" };
  const heir = heirs[heirs.length - 1];
  if (heir !== undefined) {
    const hasNoRoom = heir.status?.state === "pending" && heir.status.error !== "";
    const roomMs = handover.triedMs + startFirstPatienceMs - now;
    if (hasNoRoom && roomMs <= 0) return { kind: "give-up", why: heir.status?.error ?? "" };
    // The reason may come later than the time for it.
    return { kind: "wait", lookInMs: roomMs > 0 ? Math.min(roomMs, leftMs) : leftMs };
  }
  if (handover.attempts >= handoverAttemptsMax)
    return { kind: "give-up", why: "new tasks end before they run" };
  const delayMs = (input.service.spec?.task?.restart?.delayNs ?? restartDelayNs) / 1e6;
  const waitMs = handover.attempts === 0 ? 0 : handover.triedMs + delayMs - now;
  if (waitMs <= 0) return { kind: "start" };
  return { kind: "wait", lookInMs: Math.min(waitMs, leftMs) };
}

/**
 * The next step of a move to a better node, for whose sake nothing may get worse: the task that is there goes on unless its
 * successor has come as far as it may beside it, on such a node.
 */
export function planMove(input: {
  readonly leaving: Task;
  readonly heir: Task | undefined;
  /** How many of the service's tasks a node has, that one left out. */
  readonly othersOn: (nodeId: string, leftOut: Task) => number;
  /** How long it has lasted, milliseconds. */
  readonly lastedMs: number;
}): HandoverStep {
  const { leaving, heir, othersOn, lastedMs } = input;
  if (heir === undefined || hasEnded(heir) || !isWanted(heir))
    return { kind: "give-up", why: "the new task ended before it ran" };
  const { nodeId, status, desiredState } = heir;
  const isBetter =
    nodeId !== leaving.nodeId && othersOn(nodeId, heir) <= othersOn(leaving.nodeId, leaving);
  if (nodeId !== "" && !isBetter) return { kind: "give-up", why: "there is no better node" };
  const isFarEnough = desiredState === "ready" ? status?.state === "ready" : isRunning(heir);
  if (isFarEnough) return { kind: "done" };
  if (lastedMs >= handoverMsMax) return { kind: "give-up", why: "no new task ran in time" };
  const isStuck = status?.state === "pending" && status.error !== "";
  if (isStuck && lastedMs >= startFirstPatienceMs) return { kind: "give-up", why: status.error };
  const roomMs = startFirstPatienceMs - lastedMs;
  return { kind: "wait", lookInMs: roomMs > 0 ? roomMs : handoverMsMax - lastedMs };
}
