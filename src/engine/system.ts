/**
 * The daemon over HTTP: ping, version, info, disk use.
 */
import { type EngineContext, readView } from "./context.ts";
import { json, type Reply } from "./reply.ts";
import type { EngineRequest } from "./request.ts";
import type { Route } from "./router.ts";
import { clusterOf } from "./swarm.ts";
import { infoToJson, type SwarmNumbers, versionToJson } from "./translate/info.ts";

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
      handler: () => json(versionToJson(context.ports.facts, `node ${process.versions.node}`)),
    },
    { method: "GET", pattern: "/info", handler: (request) => info(context, request) },
    { method: "GET", pattern: "/system/df", handler: () => json(diskUse) },
  ];
}

const diskUse = {
  LayersSize: 0,
  Images: [],
  Containers: [],
  Volumes: [],
  BuildCache: [],
  BuilderSize: 0,
};

/** Never fails for the swarm's sake: what is wrong with it stands in `Swarm.Error`. */
async function info(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { swarm, facts } = context.ports;
  const status = swarm.status();
  const numbers = status.controlAvailable ? await swarmNumbers(context, request) : undefined;
  return json(infoToJson(facts, status, numbers, context.clock.now()));
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
    return { cluster: clusterOf(view), nodes, managers };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
