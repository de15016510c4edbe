/**
 * What a global service wants on one node (docker-facts 1.7). Pure.
 *
 * One task on every node that meets the constraints and is neither down nor drained. A paused node keeps what it has and
 * gets no new one. A place that had its last task, since the restart policy wants no other, stays empty.
 */
import type { Node, Service, Task } from "../../../src/common/api/generated/api.ts";
import { isFinished } from "../restart/policy.ts";
import { hasEnded, hasStopped, isWanted, nodeFate } from "../slot.ts";

/** One node as a service sees it. */
export interface NodeInput {
  readonly service: Service;
  /** Undefined when it was removed. */
  readonly node: Node | undefined;
  /** Whether it meets the service's constraints. */
  readonly isMatch: boolean;
  /** All tasks of the service on the node, oldest first. */
  readonly tasks: readonly Task[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** What is to be done on the node. */
export interface NodeSteps {
  /** Tasks that are to be shut down without another one in their place. */
  readonly stop: readonly Task[];
  /** Desired state of a new task; it is held back while an earlier one is still being stopped. */
  readonly create: "ready" | "running" | undefined;
  /** Whether a task has ended that the restart policy has to look at. */
  readonly repair: boolean;
}

/** Compares one node with what the service wants there. */
export function reconcileNode({ service, node, isMatch, tasks, now }: NodeInput): NodeSteps {
  const wanted = tasks.filter(isWanted);
  if (nodeFate(node) !== "up" || !isMatch)
    return { stop: wanted, create: undefined, repair: false };
  if (wanted.length > 0) return { stop: [], create: undefined, repair: wanted.some(hasEnded) };
  if (node?.spec?.availability === "pause" || isFinished(service, tasks, now))
    return { stop: [], create: undefined, repair: false };
  const isClear = tasks.every(hasStopped);
  return { stop: [], create: isClear ? "running" : "ready", repair: false };
}
