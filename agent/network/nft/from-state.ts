/**
 * What the rules need of the cluster's data path: service addresses with their ready backends, published ports with theirs,
 * nodes. Pure.
 */
import type { NetworkEndpoint, NetworkService } from "../../../src/common/api/generated/api.ts";
import type { ClusterState } from "../cluster-state.ts";
import { ingress6Of, ingress6Prefix } from "../pools.ts";
import { ofFamily } from "./balance.ts";
import type { PublishedPort } from "./host-tables.ts";
import type { MeshPort } from "./mesh-table.ts";
import type { ServiceAddress } from "./task-table.ts";

/** Labels of services that choose among these rules. */
export const ruleOptions = {
  /** `nat`: tasks see an address of the node instead of the client's. */
  portSource: "skep.port.source",
  /** `source`: a client keeps to one backend. */
  affinity: "skep.affinity",
  /** An address of the host, or the name of a device, to which published ports are bound. */
  publishAddress: "skep.publish.address",
} as const;

/** The state, ordered by what leads to what; make one per state. */
export interface StateIndex {
  readonly state: ClusterState;
  /** Addresses of ready tasks by network, by service. */
  readonly ready: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
  /** Network of the routing mesh; undefined where this node has none. */
  readonly ingressId: string | undefined;
}

/** Goes once through all endpoints. */
export function indexState(state: ClusterState): StateIndex {
  const ready = new Map<string, Map<string, string[]>>();
  for (const endpoint of state.endpoints.values()) {
    if (endpoint.ready && endpoint.serviceId !== "") addReady(ready, endpoint);
  }
  const ingress = [...state.networks.values()].find((network) => network.spec?.ingress === true);
  return { state, ready, ingressId: ingress?.id };
}

/** The addresses of services in these networks, in the order of their ids. */
export function serviceAddresses(
  index: StateIndex,
  networkIds: ReadonlySet<string>,
): ServiceAddress[] {
  const found: ServiceAddress[] = [];
  for (const service of servicesOf(index)) {
    for (const virtualIp of service.virtualIps) {
      if (!networkIds.has(virtualIp.networkId) || virtualIp.networkId === index.ingressId) continue;
      const address = withoutLength(virtualIp.address);
      const backends = index.ready.get(virtualIp.networkId)?.get(service.id) ?? [];
      found.push({
        address,
        backends: ofFamily(backends, address.includes(":") ? 6 : 4),
        affinity: keepsSource(service),
      });
    }
  }
  return found;
}

/** The published ports of the routing mesh with their ready tasks. */
export function meshPorts(index: StateIndex): MeshPort[] {
  const found: MeshPort[] = [];
  for (const service of servicesOf(index)) {
    const ready = index.ready.get(index.ingressId ?? "")?.get(service.id) ?? [];
    const addresses = ofFamily(ready, 4);
    for (const port of meshPortsOf(service)) {
      found.push({
        protocol: port.protocol,
        published: port.publishedPort,
        target: port.targetPort,
        backends: [...addresses, ...addresses.map(ingress6Of)],
        affinity: keepsSource(service),
        sourceNat: service.options[ruleOptions.portSource] === "nat",
      });
    }
  }
  return found;
}

/** Where the mesh's tasks have their addresses; none while nothing is published. */
export function meshPrefixes({ networks }: ClusterState): string[] {
  for (const { spec, ipam } of networks.values()) {
    if (spec?.ingress !== true) continue;
    const subnets = (ipam ?? spec.ipam)?.configs.map(({ subnet }) => subnet) ?? [];
    return [...ofFamily(subnets, 4), `${ingress6Prefix}/64`];
  }
  return [];
}

/** The ports of the routing mesh as the host has them, with or without ready tasks. */
export function publishedPorts(index: StateIndex): PublishedPort[] {
  return servicesOf(index).flatMap((service) =>
    meshPortsOf(service).map((port) => ({
      protocol: port.protocol,
      port: port.publishedPort,
      at: service.options[ruleOptions.publishAddress] || undefined,
    })),
  );
}

/** Numbers of the other nodes, ascending. */
export function peerNumbers(state: ClusterState): number[] {
  return [...state.peers.values()]
    .filter((peer) => peer.nodeId !== state.self?.nodeId && peer.number > 0)
    .map((peer) => peer.number)
    .sort((a, b) => a - b);
}

/** Addresses of the data paths of the nodes this one has to do with, and its own. */
export function peerAddresses(state: ClusterState): string[] {
  return [...state.peers.values()].map((peer) => peer.address).filter((address) => address !== "");
}

function addReady(ready: Map<string, Map<string, string[]>>, endpoint: NetworkEndpoint): void {
  for (const { networkId, addresses } of endpoint.networks) {
    const services = ready.get(networkId) ?? new Map<string, string[]>();
    ready.set(networkId, services);
    const backends = services.get(endpoint.serviceId) ?? [];
    services.set(endpoint.serviceId, backends);
    backends.push(...addresses.map(withoutLength));
  }
}

function servicesOf({ state }: StateIndex): NetworkService[] {
  return [...state.services.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function meshPortsOf(service: NetworkService) {
  return service.ports.filter((port) => port.publishMode === "ingress" && port.publishedPort > 0);
}

function keepsSource(service: NetworkService): boolean {
  return service.options[ruleOptions.affinity] === "source";
}

function withoutLength(address: string): string {
  return address.split("/")[0] ?? "";
}
