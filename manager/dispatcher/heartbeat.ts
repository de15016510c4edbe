/**
 * Which nodes count as down. Pure: the leader's liveness loop calls it about once a second.
 */
import type { NodeState } from "../../src/common/api/generated/api.ts";

/** Missed heartbeats until a node is down, as in Docker's swarm. */
export const missedHeartbeatsMax = 3;
/** Heartbeat periods a leader waits for the first sign of a node it came to know: by its election, or a join. */
export const graceHeartbeats = 6;

/** What the decision looks at, one entry per node. */
export interface NodeLiveness {
  readonly nodeId: string;
  readonly state: NodeState;
  /** Monotonic milliseconds of the last sign of life under this leader; undefined when there was none yet. */
  readonly lastSeenMs: number | undefined;
  /** Monotonic milliseconds when this leader first found the node in its tables. */
  readonly knownSinceMs: number;
}

/** Times the decision is made with, all monotonic milliseconds. */
export interface LivenessTimes {
  readonly now: number;
  readonly heartbeatPeriodMs: number;
}

/** Ids of the nodes that are to be marked down now; those already down are not among them. */
export function decideDown(nodes: Iterable<NodeLiveness>, times: LivenessTimes): string[] {
  const period = times.heartbeatPeriodMs;
  const down: string[] = [];
  for (const { nodeId, state, lastSeenMs, knownSinceMs } of nodes) {
    if (state === "down") continue;
    const deadline =
      lastSeenMs === undefined
        ? knownSinceMs + period * graceHeartbeats
        : lastSeenMs + period * missedHeartbeatsMax;
    if (times.now >= deadline) down.push(nodeId);
  }
  return down;
}
