/**
 * The networks a node shows: those of the swarm where it manages one, of a worker those it takes part in, then its own.
 */
import type { Network } from "../common/api/generated/api.ts";
import type { LocalNetwork } from "../common/container/networks.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { type EngineContext, readView } from "./context.ts";
import { whyNoManager } from "./guard.ts";
import type { NetworkFacts } from "./network-filter.ts";
import type { ObjectView } from "./ports.ts";
import type { EngineRequest } from "./request.ts";
import type { Json } from "./translate/common.ts";
import { isPredefined, localNetworkToJson, networkToJson } from "./translate/network.ts";
import { networkMembersToJson } from "./translate/network-members.ts";

/** A network of either kind. */
export interface FoundNetwork extends NetworkFacts {
  readonly json: () => Json;
  /** Of the swarm's, for its services and tasks. */
  readonly network?: Network;
  /** Only holds settings for others. */
  readonly configOnly?: boolean;
}

/** What is made by the node for itself once it is in a swarm. */
const gatewayName = "docker_gwbridge";

/** @param hidden Also the swarm's objects for `bridge` and `host`. */
export async function allNetworks(
  context: EngineContext,
  request: EngineRequest,
  hidden = false,
): Promise<FoundNetwork[]> {
  const status = context.ports.swarm.status();
  const { networks } = context.ports.runtime;
  const local = networks
    .list()
    .filter(({ name }) => name !== gatewayName || status.state !== "inactive")
    // Managers know them from the store.
    .filter(({ ofSwarm }) => ofSwarm !== true || whyNoManager(status) !== undefined)
    .map((network) => foundLocal(context, network));
  if (whyNoManager(status) !== undefined) {
    const joined = networks.swarmNetworks();
    const inUse = () => true;
    return [...joined.map((network) => foundSwarm(context, network, inUse)), ...local];
  }
  const view = await readView(context, request);
  const shown = [...view.list("network")].filter((network) => hidden || !isPredefined(network));
  const used = usedNetworks(view);
  const isUsed = (id: string) => used().has(id);
  return [...shown.map((network) => foundSwarm(context, network, isUsed)), ...local];
}

function foundLocal(context: EngineContext, network: LocalNetwork): FoundNetwork {
  const { networks } = context.ports.runtime;
  return {
    id: network.id,
    name: network.name,
    driver: network.driver,
    scope: network.ofSwarm === true ? "swarm" : "local",
    labels: network.labels,
    createdAtMs: network.createdAtMs,
    inUse: () => networks.containersIn(network.id).length > 0,
    json: () => localNetworkToJson(network, membersOf(context, network.id)),
    configOnly: network.configOnly ?? false,
  };
}

function foundSwarm(
  context: EngineContext,
  network: Network,
  isUsed: (id: string) => boolean,
): FoundNetwork {
  const { networks } = context.ports.runtime;
  return {
    id: network.id,
    name: network.spec?.annotations?.name ?? "",
    driver: network.driverState?.name ?? network.spec?.driver?.name ?? "",
    scope: "swarm",
    labels: network.spec?.annotations?.labels ?? {},
    createdAtMs: network.meta?.createdAtMs ?? 0,
    inUse: () => isUsed(network.id) || networks.containersIn(network.id).length > 0,
    json: () => {
      const members = membersOf(context, network.id);
      // Docker shows the containers of a network only where it has some on this node.
      const hasSome = Object.keys(members).length > 0;
      return { ...networkToJson(network), Containers: hasSome ? members : null };
    },
    network,
  };
}

/** Containers of this node in a network, as `Containers` shows them. */
function membersOf(context: EngineContext, networkId: string): Json {
  const { networks, containers } = context.ports.runtime;
  const ids = new Set(networks.containersIn(networkId));
  const found = ids.size === 0 ? [] : containers.list().filter(({ id }) => ids.has(id));
  return networkMembersToJson(
    found.map(({ id, name }) => ({
      id,
      name,
      place: networks.placesOf(id)?.places.find((place) => place.networkId === networkId),
    })),
  );
}

/** Ids of the networks services and tasks are in; looked for once, when first asked. */
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

/** The one that is meant. @throws ClusterError `not-found`, or `invalid-argument` when several match. */
export function pickNetwork(networks: readonly FoundNetwork[], term: string): FoundNetwork {
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
