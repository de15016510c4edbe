/**
 * What a container's processes are and what they use: top and stats.
 */
import type { ContainerStats } from "../common/container/containers.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { statsPeriodMs } from "../common/limits/limits.ts";
import type { EngineContext } from "./context.ts";
import { json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import type { Json } from "./translate/common.ts";
import { statsToJson } from "./translate/stats.ts";

/** Routes of processes and their use of the node. */
export function containerStatsRoutes(context: EngineContext): readonly Route[] {
  return [
    runtimeRoute("GET", "/containers/{id}/top", (request) => top(context, request)),
    runtimeRoute("GET", "/containers/{id}/stats", (request) => stats(context, request)),
  ];
}

async function top(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { id, state } = containers.find(param(request, "id"));
  if (state.phase !== "running" && state.phase !== "paused")
    throw new ClusterError("failed-precondition", `Container ${id} is not running`);
  const { titles, processes } = await containers.top(id, request.query.get("ps_args") || "-ef");
  return json({ Titles: titles, Processes: processes });
}

async function stats(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { id } = containers.find(param(request, "id"));
  const streams = request.query.get("stream") === null || flag(request, "stream");
  if (streams) return { kind: "stream", items: samples(context, id, request.signal) };
  const now = await sample(context, id);
  if (now === undefined || flag(request, "one-shot"))
    return json(statsToJson({ container: containers.find(id), now, before: undefined }));
  await context.clock.sleep(statsPeriodMs, request.signal);
  const later = await sample(context, id);
  return json(statsToJson({ container: containers.find(id), now: later, before: now }));
}

/** One sample a second until the container is removed. */
async function* samples(
  context: EngineContext,
  id: string,
  signal: AbortSignal,
): AsyncIterable<Json> {
  const { containers } = context.ports.runtime;
  let before: ContainerStats | undefined;
  while (!signal.aborted) {
    const now = await sample(context, id);
    const container = containers.list().find((listed) => listed.id === id);
    if (container === undefined) return;
    yield statsToJson({ container, now, before });
    before = now;
    try {
      await context.clock.sleep(statsPeriodMs, signal);
    } catch {
      // The client has left.
      return;
    }
  }
}

/** Undefined while the container does not run. */
async function sample(context: EngineContext, id: string): Promise<ContainerStats | undefined> {
  const { containers } = context.ports.runtime;
  const phase = containers.list().find((listed) => listed.id === id)?.state.phase;
  if (phase !== "running" && phase !== "paused") return undefined;
  try {
    return await containers.stats(id);
  } catch (error) {
    // It ended between the two looks.
    if (hasCode(error, "failed-precondition") || hasCode(error, "not-found")) return undefined;
    throw error;
  }
}
