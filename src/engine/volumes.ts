/**
 * The node's volumes over HTTP: list, make, look at, remove, prune.
 */
import { ClusterError, errorText, hasCode } from "../common/errors/cluster-error.ts";
import { truthFor } from "./container-filter.ts";
import { hasPruneLabels } from "./containers.ts";
import { type EngineContext, readView } from "./context.ts";
import {
  type Filters,
  matchesExactly,
  matchesLabels,
  matchesPart,
  parseFilters,
  valuesFor,
} from "./filters.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import { volumeRequestFromJson, volumeToJson } from "./translate/volume.ts";
import { olderThan } from "./versions.ts";

/** Routes of volumes. */
export function volumeRoutes(context: EngineContext): readonly Route[] {
  const on = (
    method: Route["method"],
    pattern: string,
    handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>,
  ) => runtimeRoute(method, pattern, (request) => handler(context, request));
  return [
    on("GET", "/volumes", listVolumes),
    on("POST", "/volumes/create", createVolume),
    on("POST", "/volumes/prune", pruneVolumes),
    on("GET", "/volumes/{id}", inspectVolume),
    on("PUT", "/volumes/{id}", async () => refuseUpdate()),
    on("DELETE", "/volumes/{id}", removeVolume),
  ];
}

async function listVolumes(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { volumes } = context.ports.runtime;
  const filters = parseFilters(request.query.get("filters"), [
    "dangling",
    "driver",
    "label",
    "name",
    "node",
  ]);
  const nodes = valuesFor(filters, "node");
  if (nodes.length > 0) return listVolumesOf(context, request, { nodes, filters });
  const dangling = truthFor(filters, "dangling");
  const found = volumes
    .list()
    .filter(
      (volume) =>
        matchesExactly(filters, "driver", volume.driver) &&
        matchesPart(filters, "name", volume.name) &&
        matchesLabels(filters, "label", volume.labels) &&
        (dangling === undefined || dangling === !isUsed(context, volume.name)),
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return json({ Volumes: found.map((volume) => volumeToJson(volume)), Warnings: null });
}

/**
 * An extension: named local volumes of the cluster's nodes, as these told their managers, by id or hostname of the node or `*`.
 * What only their node knows of them is left out.
 */
async function listVolumesOf(
  context: EngineContext,
  request: EngineRequest,
  wanted: { readonly nodes: readonly string[]; readonly filters: Filters },
): Promise<Reply> {
  const view = await readView(context, request);
  const found = [...view.list("node")].flatMap(({ id, description }) => {
    const hostname = description?.hostname ?? "";
    const isMeant = wanted.nodes.some((one) => one === "*" || one === id || one === hostname);
    if (!isMeant || !matchesExactly(wanted.filters, "driver", "local")) return [];
    return (description?.localVolumes ?? [])
      .filter((name) => matchesPart(wanted.filters, "name", name))
      .map((Name) => ({
        Name,
        Driver: "local",
        Scope: "local",
        Mountpoint: "",
        Labels: null,
        Options: null,
        Node: hostname,
      }));
  });
  return json({ Volumes: found, Warnings: null });
}

/** By a container that runs, or by one that is stopped and will want it again. */
function isUsed(context: EngineContext, name: string): boolean {
  return usersOf(context, name).length > 0;
}

/** Ids of the containers that name the volume, running or not. */
export function usersOf(context: EngineContext, name: string): readonly string[] {
  const { containers, volumes } = context.ports.runtime;
  const naming = containers
    .list()
    .filter(({ mounts }) => mounts.some((mount) => mount.type === "volume" && mount.name === name))
    .map(({ id }) => id);
  return [...new Set([...volumes.usersOf(name), ...naming])];
}

async function createVolume(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const wanted = volumeRequestFromJson(await request.body());
  return json(volumeToJson(await context.ports.runtime.volumes.create(wanted)), 201);
}

async function inspectVolume(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const name = param(request, "id");
  try {
    return json(volumeToJson(context.ports.runtime.volumes.find(name)));
  } catch (error) {
    throw withWhereabouts(context, name, error);
  }
}

/** Where else in the cluster there is one of the name, as far as this node knows: Docker's text alone misleads there. */
function withWhereabouts(context: EngineContext, name: string, error: unknown): unknown {
  const { swarm, objects } = context.ports;
  if (!hasCode(error, "not-found") || !swarm.status().controlAvailable) return error;
  const where = [...(objects.present()?.list("node") ?? [])]
    .filter(({ description }) => (description?.localVolumes ?? []).includes(name))
    .map(({ id, description }) => description?.hostname || id)
    .sort();
  if (where.length === 0) return error;
  const nodes = where.length > 5 ? [...where.slice(0, 5), `${where.length - 5} more`] : where;
  const text = `${errorText(error)} on this node: it is on ${nodes.join(", ")}; ask there`;
  return new ClusterError("not-found", text, { cause: error });
}

async function removeVolume(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { volumes } = context.ports.runtime;
  const name = param(request, "id");
  const force = flag(request, "force");
  const users = usersOf(context, name);
  if (users.length > 0)
    throw new ClusterError(
      "failed-precondition",
      `remove ${name}: volume is in use - [${users.join(", ")}]`,
    );
  try {
    await volumes.remove(name, { force });
  } catch (error) {
    throw withWhereabouts(context, name, error);
  }
  return empty(204);
}

/** Before 1.42 all unused volumes went, since then only those without a name unless all are asked for. */
async function pruneVolumes(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters: Filters = parseFilters(request.query.get("filters"), ["all", "label", "label!"]);
  const all = truthFor(filters, "all") ?? olderThan(request.version, "1.42");
  if (valuesFor(filters, "all").length > 0 && olderThan(request.version, "1.42"))
    throw new ClusterError("invalid-argument", "invalid filter 'all'");
  const { removed, freedBytes } = await context.ports.runtime.volumes.prune({
    all,
    accept: (volume) => hasPruneLabels(filters, volume.labels) && !isUsed(context, volume.name),
  });
  return json({
    VolumesDeleted: removed.length === 0 ? null : removed,
    SpaceReclaimed: freedBytes,
  });
}

function refuseUpdate(): never {
  throw new ClusterError(
    "unimplemented",
    "only volumes of the cluster can be updated, and those are not supported",
  );
}
