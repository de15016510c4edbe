/**
 * What every handler gets, and the two ways to the cluster: a consistent view, and a write through control.
 */
import type { MethodDescriptor } from "../common/api/generated/api.ts";
import type { Clock } from "../common/clock/clock.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { noLeader } from "../common/errors/no-leader.ts";
import { leaderPollMs, leaderWaitMs } from "../common/limits/limits.ts";
import type { Random } from "../common/random/random.ts";
import { fromManager } from "./errors.ts";
import type { EventHub } from "./event-hub.ts";
import { requireManager } from "./guard.ts";
import type { EnginePorts, ObjectView } from "./ports.ts";
import type { EngineRequest } from "./request.ts";

/** Handed to the makers of routes. */
export interface EngineContext {
  readonly ports: EnginePorts;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * A view that shows everything acknowledged before. While there is no leader it waits a little for one.
 *
 * @param waitMs How long to wait; 0 for answers that are better early than complete.
 * @throws ClusterError `unavailable` with Docker's text when this node is no manager or there is no leader.
 */
export async function readView(
  context: EngineContext,
  request: EngineRequest,
  waitMs = leaderWaitMs,
): Promise<ObjectView> {
  const { ports, clock } = context;
  const end = clock.monotonic() + waitMs;
  for (;;) {
    requireManager(ports.swarm.status());
    try {
      return await ports.objects.view(request.lightSignal);
    } catch (error) {
      const code = error instanceof ClusterError ? error.code : undefined;
      const mayPass = code === "unavailable" || code === "deadline-exceeded";
      if (!mayPass || isStandstill(error)) throw fromManager(error);
      if (clock.monotonic() >= end || request.lightSignal.aborted)
        throw fromManager(noLeader(error));
    }
    await clock.sleep(leaderPollMs, request.lightSignal);
  }
}

/** Whether no leader is to be expected before a person has done what the error says. */
function isStandstill(error: unknown): boolean {
  return error instanceof ClusterError && error.fields["standstill"] === true;
}

/**
 * One write.
 * @throws ClusterError with Docker's `rpc error: …` text; `unavailable` when this node is no manager.
 */
export async function write<Q, R>(
  context: EngineContext,
  request: EngineRequest,
  method: MethodDescriptor<Q, R>,
  message: Q,
): Promise<R> {
  requireManager(context.ports.swarm.status());
  try {
    return await context.ports.objects.call(method, message, request.lightSignal);
  } catch (error) {
    throw fromManager(error);
  }
}
