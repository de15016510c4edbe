/**
 * Who is in a network: containers of this node and, of a network of the swarm, services with their tasks. Pure.
 */
import type { Network, Node, Service, Task } from "../../common/api/generated/api.ts";
import type { NetworkPlace } from "../../common/container/networks.ts";
import type { Json } from "./common.ts";
import { taskName } from "./task.ts";

/** A container of this node in a network. */
export interface NetworkMember {
  readonly id: string;
  readonly name: string;
  readonly place: NetworkPlace | undefined;
}

/** `Containers` of a network. */
export function networkMembersToJson(members: readonly NetworkMember[]): Json {
  return Object.fromEntries(
    members.map(({ id, name, place }) => [
      id,
      {
        Name: name,
        EndpointID: place?.endpointId ?? "",
        MacAddress: place?.macAddress ?? "",
        IPv4Address: withLength(place?.address, place?.prefixLength),
        IPv6Address: withLength(place?.address6, place?.prefixLength6),
      },
    ]),
  );
}

function withLength(address = "", length = 0): string {
  return address === "" ? "" : `${address}/${length}`;
}

/** What of the swarm is in a network. */
export interface NetworkSurroundings {
  readonly services: Iterable<Service>;
  readonly tasksOf: (serviceId: string) => Iterable<Task>;
  readonly node: (id: string) => Node | undefined;
  /** Whether a task has a place in its networks. */
  readonly isLive: (task: Task) => boolean;
}

/** `Services` and `Peers` of `docker network inspect --verbose`. */
export function networkVerboseToJson(network: Network, around: NetworkSurroundings): Json {
  const services: Record<string, Json> = {};
  const peers = new Map<string, Json>();
  for (const service of around.services) {
    const virtual = service.endpoint?.virtualIps.find(({ networkId }) => networkId === network.id);
    const tasks = [...around.tasksOf(service.id)].filter(
      (task) =>
        around.isLive(task) && task.networks.some(({ networkId }) => networkId === network.id),
    );
    if (virtual === undefined && tasks.length === 0) continue;
    for (const { nodeId } of tasks) {
      const node = around.node(nodeId);
      const name = node?.description?.hostname ?? nodeId;
      peers.set(nodeId, { Name: name, IP: addressOf(node) });
    }
    services[service.spec?.annotations?.name ?? service.id] = {
      VIP: bare(virtual?.address ?? ""),
      Ports: (service.endpoint?.ports ?? []).map(
        (port) =>
          `Target: ${port.targetPort}, Publish: ${port.publishedPort}, Protocol: ${port.protocol}`,
      ),
      LocalLBIndex: 0,
      Tasks: tasks.map((task) => taskToJson(task, network.id, around)),
    };
  }
  return { Services: services, Peers: [...peers.values()] };
}

function taskToJson(task: Task, networkId: string, around: NetworkSurroundings): Json {
  const attachment = task.networks.find((one) => one.networkId === networkId);
  return {
    Name: taskName(task),
    EndpointID: "",
    EndpointIP: bare(attachment?.addresses[0] ?? ""),
    Info: { "Host IP": addressOf(around.node(task.nodeId)) },
  };
}

/** Where the node's data path is reached. */
function addressOf(node: Node | undefined): string {
  return node?.dataPathAddress || (node?.status?.address ?? "");
}

function bare(address: string): string {
  return address.split("/")[0] ?? "";
}
