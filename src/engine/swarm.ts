/**
 * The swarm over HTTP: init, join, leave, inspect, update, unlock.
 */
import { type Cluster, ControlService } from "../common/api/generated/api.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { type EngineContext, readView, write } from "./context.ts";
import {
  requireLocked,
  requireManager,
  requireMayInit,
  requireMayJoin,
  requireMayLeave,
} from "./guard.ts";
import type { ObjectView } from "./ports.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, strictFlag, versionOf } from "./request.ts";
import type { Route } from "./router.ts";
import {
  clusterSpecFromJson,
  initRequestFromJson,
  joinRequestFromJson,
  swarmToJson,
} from "./translate/swarm.ts";

/** Routes of the swarm. */
export function swarmRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/swarm", handler: on(inspectSwarm) },
    { method: "POST", pattern: "/swarm/init", handler: on(initSwarm), unlimited: true },
    { method: "POST", pattern: "/swarm/join", handler: on(joinSwarm), unlimited: true },
    { method: "POST", pattern: "/swarm/leave", handler: on(leaveSwarm), unlimited: true },
    { method: "POST", pattern: "/swarm/update", handler: on(updateSwarm) },
    { method: "GET", pattern: "/swarm/unlockkey", handler: on(getUnlockKey) },
    { method: "POST", pattern: "/swarm/unlock", handler: on(unlockSwarm), unlimited: true },
  ];
}

/** The one cluster object. @throws ClusterError `unavailable` while it is not there yet. */
export function clusterOf(view: ObjectView): Cluster {
  const [cluster] = view.list("cluster");
  if (cluster === undefined)
    throw new ClusterError("unavailable", "This node is not part of a swarm");
  return cluster;
}

async function inspectSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  return json(swarmToJson(clusterOf(await readView(context, request))));
}

async function initSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const init = initRequestFromJson(await request.body());
  requireMayInit(context.ports.swarm.status(), init.forceNewCluster);
  return json(await context.ports.swarm.init(init));
}

async function joinSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const join = joinRequestFromJson(await request.body());
  requireMayJoin(context.ports.swarm.status());
  try {
    await context.ports.swarm.join(join);
  } catch (error) {
    throw joinError(error);
  }
  return empty();
}

function joinError(error: unknown): unknown {
  if (!(error instanceof ClusterError) || error.code !== "deadline-exceeded") return error;
  return new ClusterError(
    "unavailable",
    "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. " +
      'Use the "docker info" command to see the current swarm status of your node.',
    { cause: error },
  );
}

async function leaveSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const force = flag(request, "force");
  const { swarm } = context.ports;
  requireMayLeave(swarm.status(), swarm.members(), force);
  await swarm.leave(force);
  return empty();
}

async function updateSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const spec = clusterSpecFromJson(await request.body());
  await write(context, request, ControlService.updateCluster, {
    version: versionOf(request, "swarm"),
    spec,
    rotateWorkerToken: strictFlag(request, "rotateWorkerToken"),
    rotateManagerToken: strictFlag(request, "rotateManagerToken"),
    rotateUnlockKey: strictFlag(request, "rotateManagerUnlockKey"),
  });
  return empty();
}

async function getUnlockKey(context: EngineContext, _request: EngineRequest): Promise<Reply> {
  requireManager(context.ports.swarm.status());
  return json({ UnlockKey: await context.ports.swarm.unlockKey() });
}

async function unlockSwarm(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const key = (await request.body()).string("UnlockKey");
  requireLocked(context.ports.swarm.status());
  await context.ports.swarm.unlock(key);
  return empty();
}
