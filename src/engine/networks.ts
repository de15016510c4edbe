/**
 * Networks over HTTP: those of the swarm, through its managers, and the node's own.
 *
 * Networks of the swarm made to stand for the nodes' own are not shown.
 */
import { ControlService } from "../common/api/generated/api.ts";
import type { LocalNetworkConfig } from "../common/container/networks.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { nodeNetworkDrivers } from "../common/spec/node-networks.ts";
import { stateRank } from "../common/task/state.ts";
import { type EngineContext, readView, write } from "./context.ts";
import { parseFilters } from "./filters.ts";
import { allNetworks, type FoundNetwork, pickNetwork } from "./found-networks.ts";
import { whyNoManager } from "./guard.ts";
import { matcherFrom } from "./network-filter.ts";
import { predefinedNames } from "./network-names.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { joinFromJson } from "./translate/endpoint.ts";
import { networkSpecFromJson } from "./translate/network.ts";
import { networkVerboseToJson } from "./translate/network-members.ts";
import type { JsonObject } from "./translate/reader.ts";

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
    { method: "POST", pattern: "/networks/{id}/connect", handler: on(connectNetwork) },
    { method: "POST", pattern: "/networks/{id}/disconnect", handler: on(disconnectNetwork) },
  ];
}

async function listNetworks(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const accepted = ["dangling", "driver", "id", "label", "name", "scope", "type"];
  const filters = parseFilters(request.query.get("filters"), accepted);
  const isWanted = matcherFrom(filters, context.clock.now());
  const found = (await allNetworks(context, request)).filter(isWanted);
  // As in Docker a list shows no containers: whoever wants them asks for one network.
  return list(found, (network) => ({ ...network.json(), Containers: {} }));
}

/** Scope `swarm` also finds the stand-ins of `bridge` and `host`: `service create --network bridge` asks that way. */
async function inspectNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const scope = request.query.get("scope") ?? "";
  const networks = await allNetworks(context, request, scope === "swarm");
  const found = pickNetwork(
    networks.filter((network) => scope === "" || network.scope === scope),
    param(request, "id"),
  );
  if (!flag(request, "verbose")) return json(found.json());
  return json({ ...found.json(), ...(await verbose(context, request, found)) });
}

/** What managers know of who is in a network. */
async function verbose(context: EngineContext, request: EngineRequest, found: FoundNetwork) {
  const isManager = whyNoManager(context.ports.swarm.status()) === undefined;
  if (found.network === undefined || !isManager) return {};
  const view = await readView(context, request);
  return networkVerboseToJson(found.network, {
    services: view.list("service"),
    tasksOf: (id) => view.tasksOfService(id),
    node: (id) => view.get("node", id),
    isLive: (task) =>
      task.status?.state === "running" && stateRank(task.desiredState) <= stateRank("complete"),
  });
}

async function createNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const body = await request.body();
  const spec = networkSpecFromJson(body);
  const name = spec.annotations?.name ?? "";
  const driver = spec.driver?.name || "bridge";
  if (predefinedNames.includes(name))
    throw new ClusterError(
      "permission-denied",
      `operation is not permitted on predefined ${name} network`,
    );
  const networks = await allNetworks(context, request);
  if (networks.some((network) => network.name === name))
    throw new ClusterError("already-exists", `network with name ${name} already exists`);
  if (!spec.configOnly && driver === "overlay" && body.string("Scope") === "local")
    throw new ClusterError(
      "permission-denied",
      "cannot downgrade network scope for overlay networks: they are the swarm's, leave --scope local out",
    );
  const ofSwarm =
    !spec.configOnly && (driver === "overlay" || body.string("Scope") === "swarm" || spec.ingress);
  if (!ofSwarm) {
    const made = await context.ports.runtime.networks.create(localFromJson(body, driver));
    return json({ Id: made.id, Warning: "" }, 201);
  }
  // What a node cannot make is refused here, where it is written, and not by every task.
  if (nodeNetworkDrivers.includes(driver))
    context.ports.runtime.networks.checkConfig(localFromJson(body, driver));
  const { id } = await write(context, request, ControlService.createNetwork, {
    id: "",
    spec: { ...spec, driver: spec.driver && { ...spec.driver, name: driver } },
  });
  return json({ Id: id, Warning: "" }, 201);
}

function localFromJson(body: JsonObject, driver: string): LocalNetworkConfig {
  const spec = networkSpecFromJson(body);
  if (spec.configOnly && (spec.attachable || spec.ingress || body.string("Scope") !== ""))
    throw new ClusterError(
      "permission-denied",
      "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported: give them to the networks that are made from it",
    );
  if (body.optionalBool("EnableIPv4") === false)
    throw new ClusterError("unimplemented", "EnableIPv4 is needed: leave --ipv4=false out");
  return {
    name: spec.annotations?.name ?? "",
    driver,
    labels: spec.annotations?.labels ?? {},
    options: spec.driver?.options ?? {},
    internal: spec.internal,
    ipv6: spec.ipv6Enabled,
    ipam: spec.ipam,
    attachable: spec.attachable,
    configOnly: spec.configOnly,
    configFrom: spec.configFrom,
  };
}

async function removeNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const found = pickNetwork(await allNetworks(context, request), param(request, "id"));
  await remove(context, request, found);
  return empty(204);
}

async function remove(
  context: EngineContext,
  request: EngineRequest,
  found: FoundNetwork,
): Promise<void> {
  if (found.scope === "swarm") {
    await write(context, request, ControlService.removeNetwork, { id: found.id, force: false });
    return;
  }
  try {
    await context.ports.runtime.networks.remove(found.id);
  } catch (error) {
    // Docker forbids the removal of what is in use.
    if (!(error instanceof ClusterError) || !hasCode(error, "failed-precondition")) throw error;
    throw new ClusterError("permission-denied", error.message, { cause: error });
  }
}

/** Removes what no container, service and task uses; networks that turn out to be in use stay. */
async function pruneNetworks(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters = parseFilters(request.query.get("filters"), ["label", "label!", "until"]);
  const isWanted = matcherFrom(filters, context.clock.now());
  const isManager = whyNoManager(context.ports.swarm.status()) === undefined;
  const removed: string[] = [];
  for (const network of await allNetworks(context, request)) {
    if (isKept(network) || (network.scope === "swarm" && !isManager)) continue;
    if (!isWanted(network) || network.inUse()) continue;
    try {
      await remove(context, request, network);
      removed.push(network.name);
    } catch (error) {
      const passed = ["failed-precondition", "permission-denied", "not-found"] as const;
      if (!passed.some((code) => hasCode(error, code))) throw error;
    }
  }
  return json({ NetworksDeleted: removed.length === 0 ? null : removed });
}

function isKept({ name, configOnly }: FoundNetwork): boolean {
  if (configOnly === true) return true;
  return predefinedNames.includes(name) || name === "ingress" || name === "docker_gwbridge";
}

async function connectNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const body = await request.body();
  const { runtime } = context.ports;
  const found = await findForContainer(context, request);
  const container = runtime.containers.find(body.string("Container"));
  const mode = container.config.networks[0] ?? "";
  if (mode === "host" || mode === "none" || mode.startsWith("container:"))
    throw new ClusterError(
      "permission-denied",
      mode === "none"
        ? "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        : "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  const name = found?.name ?? param(request, "id");
  const join = joinFromJson(name, body.objectOrEmpty("EndpointConfig"));
  await runtime.networks.connect(container, join);
  return empty();
}

async function disconnectNetwork(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const body = await request.body();
  const { runtime } = context.ports;
  const found = await findForContainer(context, request);
  const container = runtime.containers.find(body.string("Container"));
  if ((container.config.networks[0] ?? "") === "host")
    throw new ClusterError(
      "permission-denied",
      "container cannot be disconnected from host network - container was created in host network mode",
    );
  const name = found?.name ?? param(request, "id");
  await runtime.networks.disconnect(container, name, body.bool("Force"));
  return empty();
}

/**
 * The network a container is to come into or leave. On a worker it is undefined for one this node does not know: its manager
 * is asked when the container is attached.
 */
async function findForContainer(
  context: EngineContext,
  request: EngineRequest,
): Promise<FoundNetwork | undefined> {
  const status = context.ports.swarm.status();
  try {
    const found = pickNetwork(await allNetworks(context, request), param(request, "id"));
    if (found.network?.spec?.ingress === true || found.network?.spec?.attachable === false)
      throw new ClusterError(
        "permission-denied",
        `Could not attach to network ${found.name}: rpc error: code = PermissionDenied desc = network ${found.name} not manually attachable`,
      );
    return found;
  } catch (error) {
    const isWorker = status.state === "active" && whyNoManager(status) !== undefined;
    if (isWorker && hasCode(error, "not-found")) return undefined;
    throw error;
  }
}
