/**
 * The daemon over HTTP: ping, version, info.
 */
import { hasCode } from "../common/errors/cluster-error.ts";
import { type EngineContext, readView } from "./context.ts";
import { json, type Reply } from "./reply.ts";
import type { EngineRequest } from "./request.ts";
import type { Route } from "./router.ts";
import { clusterOf } from "./swarm.ts";
import {
  infoToJson,
  type RuntimeNumbers,
  type SwarmNumbers,
  versionToJson,
} from "./translate/info.ts";
import { addressWarnings } from "./translate/network-warnings.ts";

/** Routes of the daemon. */
export function systemRoutes(context: EngineContext): readonly Route[] {
  return [
    {
      method: "GET",
      pattern: "/_ping",
      handler: () => ({ kind: "text", status: 200, body: "OK" }),
    },
    { method: "HEAD", pattern: "/_ping", handler: () => ({ kind: "text", status: 200, body: "" }) },
    {
      method: "GET",
      pattern: "/version",
      handler: () => {
        const { facts, runtime } = context.ports;
        return json(versionToJson(facts, runtime.facts(), `node ${process.versions.node}`));
      },
    },
    { method: "GET", pattern: "/info", handler: (request) => info(context, request) },
  ];
}

/** Never fails for the swarm's sake: what is wrong with it stands in `Swarm.Error`. */
async function info(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { swarm, facts } = context.ports;
  const status = swarm.status();
  const numbers = status.controlAvailable ? await swarmNumbers(context, request) : undefined;
  const runtime = await runtimeNumbers(context);
  return json(infoToJson({ facts, status, numbers, runtime, now: context.clock.now() }));
}

/** A runtime that does not work is told by its warnings, not by a failure. */
async function runtimeNumbers(context: EngineContext): Promise<RuntimeNumbers> {
  const { runtime } = context.ports;
  const facts = runtime.facts();
  try {
    const images = (await runtime.images.list()).length;
    return { facts, containers: runtime.containers.list(), images };
  } catch (error) {
    if (!hasCode(error, "unavailable")) throw error;
    return { facts, containers: [], images: 0 };
  }
}

async function swarmNumbers(
  context: EngineContext,
  request: EngineRequest,
): Promise<SwarmNumbers | { readonly error: string }> {
  try {
    const view = await readView(context, request, 0);
    let nodes = 0;
    for (const _ of view.list("node")) nodes++;
    const managers = context.ports.swarm.members().length;
    const cluster = clusterOf(view);
    const warnings = addressWarnings(cluster, view.list("network"));
    return { cluster, nodes, managers, warnings };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
