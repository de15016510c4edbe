/**
 * Nodes, services and tasks as the data path of other nodes needs them: from stored objects to what agents are told. Pure.
 */
import {
  type Network,
  type NetworkAttachment,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  type Node,
  type Service,
  ServiceAliases,
  type Task,
} from "../../src/common/api/generated/api.ts";
import { shownPlace } from "../../src/common/task/place.ts";
import { isBefore, isTerminal } from "../../src/common/task/state.ts";

/** Labels of services that the data path goes by. */
const optionPrefix = "skep.";

/** A node for the others; undefined while it has no number, which its addresses derive from. */
export function peerOf(node: Node): NetworkPeer | undefined {
  if (node.number === 0) return undefined;
  return NetworkPeer.create({
    nodeId: node.id,
    number: node.number,
    address: node.dataPathAddress || (node.status?.address ?? ""),
    wireguardPublicKey: node.description?.wireguardPublicKey ?? new Uint8Array(0),
    hostname: node.description?.hostname ?? "",
    vxlanPort: node.vxlanUdpPort,
    nextWireguardPublicKey: node.description?.nextWireguardPublicKey ?? new Uint8Array(0),
    outerAddress: node.outerAddress,
  });
}

/** Whether nodes have to be told of the network: its addresses are the cluster's, and are there. */
export function isTold(network: Network): boolean {
  return network.networkNumber !== 0 && network.ipam !== undefined;
}

/** A service for the nodes of its networks; undefined before it has an endpoint. */
export function networkServiceOf(service: Service): NetworkService | undefined {
  const { spec, endpoint } = service;
  if (endpoint === undefined) return undefined;
  const labels = Object.entries(spec?.annotations?.labels ?? {});
  return NetworkService.create({
    id: service.id,
    name: spec?.annotations?.name ?? "",
    mode: endpoint.spec?.mode ?? "vip",
    virtualIps: endpoint.virtualIps,
    ports: endpoint.ports,
    // Without an address of its own, it is known by these to be in a network that has none of its tasks yet.
    aliases: (spec?.task?.networks ?? [])
      .filter(({ aliases }) => aliases.length > 0 || endpoint.spec?.mode === "dnsrr")
      .map(({ target, aliases }) => ServiceAliases.create({ networkId: target, names: aliases })),
    options: Object.fromEntries(labels.filter(([label]) => label.startsWith(optionPrefix))),
  });
}

/** Networks whose nodes hear of the service. */
export function networksOfService(service: Service): ReadonlySet<string> {
  const ids = new Set((service.spec?.task?.networks ?? []).map(({ target }) => target));
  // With the mesh's, in which nobody has to be told to be.
  for (const { networkId } of service.endpoint?.virtualIps ?? []) ids.add(networkId);
  return ids;
}

/** Whether the task has a place in the data path: on its node, from when it is assigned until it has ended. */
export function hasPlace(task: Task): boolean {
  const state = task.status?.state ?? "new";
  return (
    task.nodeId !== "" &&
    !isBefore(state, "assigned") &&
    !isTerminal(state) &&
    task.networks.some(isShared)
  );
}

/** A task for the nodes of its networks. */
export function endpointOf(task: Task): NetworkEndpoint {
  const networks = task.networks.every(isShared) ? task.networks : task.networks.filter(isShared);
  return NetworkEndpoint.create({
    id: task.id,
    serviceId: task.serviceId,
    nodeId: task.nodeId,
    name: nameOf(task),
    ready: isReady(task),
    networks,
    slot: task.slot,
  });
}

/** Whether names may lead to the task and services balance over it; its health is part of RUNNING. */
export function isReady(task: Task): boolean {
  return task.status?.state === "running" && isBefore(task.desiredState, "shutdown");
}

/** Whether the network is one that other nodes take part in, too. */
function isShared({ ownDriver, addresses }: NetworkAttachment): boolean {
  return ownDriver === "" && addresses.length > 0;
}

/** Name of the task's container. */
function nameOf(task: Task): string {
  const given = task.annotations?.name ?? "";
  if (given !== "") return given;
  return `${task.serviceAnnotations?.name ?? ""}.${shownPlace(task)}.${task.id}`;
}

/** Whether two peers, services or endpoints are the same to those who are told of them. */
export function isSame<T>(
  codec: { encode(object: T): Uint8Array },
  a: T | undefined,
  b: T | undefined,
): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return Buffer.compare(codec.encode(a), codec.encode(b)) === 0;
}
