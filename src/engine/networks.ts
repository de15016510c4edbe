/**
 * Networks over HTTP: those of the swarm and the three every node has.
 *
 * A node without a manager shows only its own. Networks of the swarm made to stand for the nodes' own are not shown.
 */
import { ControlService, type Network } from "../common/api/generated/api.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { type EngineContext, readView, write } from "./context.ts";
import { parseFilters } from "./filters.ts";
import { whyNoManager } from "./guard.ts";
import {
  type LocalNetwork,
  localNetworks,
  localNetworkToJson,
  predefinedNames,
} from "./local-networks.ts";
import { matcherFrom, type NetworkFacts } from "./network-filter.ts";
import type { ObjectView } from "./ports.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import type { Json } from "./translate/common.ts";
import { isPredefined, networkSpecFromJson, networkToJson } from "./translate/network.ts";

/** A network of either kind. */
interface Found extends NetworkFacts {
  readonly json: () => Json;
}

/** Routes of networks. */
export function networkRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/networks", handler: on(listNetworks) },
    { method: "POST", pattern: "/networks/create", handler: on(createNetwork) },
    { method: "POST", pattern: "/networks/prune", handler: on(pruneNetworks) },
    { method: "GET", pattern: "/networks/{id}", handler: on(inspectNetwork) },
    { method: "DELETE", pattern: "/networks/{id}", handler: on(removeNetwork) },
  ];
}

async function listNetworks(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const accepted = ["dangling", "driver", "id", "label", "name", "scope", "type"];
  const filters = parseFilters(request.query.get("filters"), accepted);
  const isWanted = matcherFrom(filters, context.clock.now());
  const found = (await allNetworks(context, request)).filter(isWanted);
  return list(found, (network) => network.json());
}

/**
 * Networks of the swarm when this node manages one, then the node's own.
 * @param hidden Also show the swarm's objects for `bridge` and `host`.
 */
async function allNetworks(
  context: EngineContext,
  request: EngineRequest,
  hidden = false,
): Promise<Found[]> {
  const local = localNetworks(context.ports.facts.engineId).map(foundLocal);
  if (whyNoManager(context.ports.swarm.status()) !== undefined) return local;
  const view = await readView(context, request);
  const shown = [...view.list("network")].filter((network) => hidden || !isPredefined(network));
  const used = usedNetworks(view);
  return [...shown.map((network) => foundSwarm(network, used)), ...local];
}

function foundLocal(network: LocalNetwork): Found {
  return {
    id: network.id,
    name: network.name,
    driver: network.driver,
    scope: "local",
    labels: {},
    createdAtMs: 0,
    inUse: () => false,
    json: () => localNetworkToJson(network),
  };
}

function foundSwarm(network: Network, used: () => ReadonlySet<string>): Found {
  return {
    id: network.id,
    name: network.spec?.annotations?.name ?? "",
    driver: network.driverState?.name ?? network.spec?.driver?.name ?? "",
    scope: "swarm",
    labels: network.spec?.annotations?.labels ?? {},
    createdAtMs: network.meta?.createdAtMs ?? 0,
    inUse: () => used().has(network.id),
    json: () => networkToJson(network),
  };
}

/** Ids of the networks services are in; looked for once, when first asked. */
function usedNetworks(view: ObjectView): () => ReadonlySet<string> {
  let ids: Set<string> | undefined;
  return () => {
    ids ??= new Set(
      [...view.list("service")].flatMap((service) =>
        (service.spec?.task?.networks ?? []).map(({ target }) => target),
      ),
    );
    return ids;
  };
}

/** Scope `swarm` also finds the stand-ins of `bridge` and `host`: `service create --network bridge` asks that way. */
async function inspectNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const scope = request.query.get("scope") ?? "";
  const networks = await allNetworks(context, request, scope === "swarm");
  const found = networks.filter((network) => scope === "" || network.scope === scope);
  return json(pick(found, param(request, "id")).json());
}

/** @throws ClusterError `not-found`, or `invalid-argument` when several match. */
function pick(networks: readonly Found[], term: string): Found {
  const exact = networks.find((network) => network.id === term);
  if (exact !== undefined) return exact;
  const named = networks.filter((network) => network.name === term);
  const prefixed = term === "" ? [] : networks.filter((network) => network.id.startsWith(term));
  const [matches, how] = named.length > 0 ? [named, "name"] : [prefixed, "ID prefix"];
  const [first] = matches;
  if (first === undefined) throw new ClusterError("not-found", `network ${term} not found`);
  if (matches.length > 1)
    throw new ClusterError(
      "invalid-argument",
      `network ${term} is ambiguous (${matches.length} matches found based on ${how})`,
    );
  return first;
}

async function createNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const body = await request.body();
  const spec = networkSpecFromJson(body);
  const name = spec.annotations?.name ?? "";
  const driver = spec.driver?.name || "bridge";
  if (predefinedNames.includes(name))
    throw new ClusterError(
      "permission-denied",
      `${name} is a pre-defined network and cannot be created`,
    );
  const ofSwarm = driver === "overlay" || body.string("Scope") === "swarm" || spec.ingress;
  if (!ofSwarm)
    throw new ClusterError(
      "unimplemented",
      `networks of driver ${JSON.stringify(driver)} and scope local are not implemented yet; use --driver overlay`,
    );
  const networks = await allNetworks(context, request);
  if (networks.some((network) => network.name === name))
    throw new ClusterError("already-exists", `network with name ${name} already exists`);
  const { id } = await write(context, request, ControlService.createNetwork, {
    id: "",
    spec: { ...spec, driver: spec.driver && { ...spec.driver, name: driver } },
  });
  return json({ Id: id, Warning: "" }, 201);
}

async function removeNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const found = pick(await allNetworks(context, request), param(request, "id"));
  if (found.scope === "local")
    throw new ClusterError(
      "permission-denied",
      `${found.name} is a pre-defined network and cannot be removed`,
    );
  await write(context, request, ControlService.removeNetwork, { id: found.id, force: false });
  return empty(204);
}

/** Removes what no service and no task uses; networks that turn out to be in use stay. */
async function pruneNetworks(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters = parseFilters(request.query.get("filters"), ["label", "label!", "until"]);
  const isWanted = matcherFrom(filters, context.clock.now());
  const networks = await allNetworks(context, request);
  const removed: string[] = [];
  for (const network of networks) {
    if (network.scope === "local" || network.name === "ingress") continue;
    if (!isWanted(network) || network.inUse()) continue;
    try {
      await write(context, request, ControlService.removeNetwork, { id: network.id, force: false });
      removed.push(network.name);
    } catch (error) {
      if (!hasCode(error, "failed-precondition") && !hasCode(error, "not-found")) throw error;
    }
  }
  return json({ NetworksDeleted: removed.length === 0 ? null : removed });
}
