/**
 * Which probes each node is to make, so that every way the service's traffic takes is gone once, from both ends. Pure.
 *
 * In each network a container of each node calls the service's address and every ready task, and each task's node calls these
 * containers back. For published ports the mesh of each node calls the tasks, and each node calls itself and the next
 * one.
 */
import type { PortConfig } from "../../common/api/generated/api.ts";
import type { Probe } from "../../common/container/data-path.ts";
import { explainBackendsMax } from "../../common/limits/limits.ts";
import {
  addressesIn,
  type NetworkFacts,
  type NodeFacts,
  type Picture,
  type Standpoint,
  type TaskFacts,
  tasksInQuestion,
} from "./picture.ts";

/** A probe and what it is for. */
export interface PlannedProbe extends Probe {
  /** `task`, `address` (the service's own), `back` (to a client), `mesh` (to a task), `entry` (a node's published port). */
  readonly way: "task" | "address" | "back" | "mesh" | "entry";
  readonly fromNodeId: string;
  /** Name of the container it begins in; empty for nodes. */
  readonly fromName: string;
  /** Node it leads to; empty for service addresses, which lead to several. */
  readonly toNodeId: string;
  /** Name of the task, container or node it leads to. */
  readonly toName: string;
  /** Network by name; empty for the mesh. */
  readonly network: string;
  /** Something has to listen there. */
  readonly mustListen: boolean;
}

/** A port that nothing listens at, most likely: to be refused is an answer, too. */
const anyPort = 1;

/** By node. */
export function plannedProbes(picture: Picture): ReadonlyMap<string, readonly PlannedProbe[]> {
  const all = [
    ...picture.networks.flatMap((network) => networkProbes(network, picture)),
    ...meshProbes(picture),
    ...hostProbes(picture),
  ];
  const found = new Map<string, PlannedProbe[]>();
  for (const one of all) {
    const list = found.get(one.fromNodeId);
    if (list === undefined) found.set(one.fromNodeId, [one]);
    else list.push(one);
  }
  return found;
}

function networkProbes(network: NetworkFacts, picture: Picture): PlannedProbe[] {
  const port = picture.ports.find(({ protocol }) => protocol === "tcp")?.targetPort;
  const backends = spread(readyIn(network.id, picture));
  const speakers = picture.nodes
    .filter(({ isReady }) => isReady)
    .flatMap((node) => {
      const speaker = speakerOf(node, network.id);
      return speaker === undefined ? [] : [{ node, speaker }];
    });
  const found: PlannedProbe[] = [];
  for (const { node, speaker } of speakers) {
    const from = begins(node, speaker, network);
    for (const task of backends) {
      const [address = ""] = addressesIn(task, network.id);
      const to = { toNodeId: task.nodeId, toName: task.name, address };
      const mustListen = port !== undefined;
      found.push({ ...from, ...to, way: "task", port: port ?? anyPort, mustListen });
      const back = standpointAt(picture, task.nodeId, address);
      if (back === undefined || task.nodeId === node.id) continue;
      found.push({
        ...begins(back.node, back.standpoint, network),
        way: "back",
        toNodeId: node.id,
        toName: speaker.name,
        address: speaker.address,
        port: anyPort,
        mustListen: false,
      });
    }
    // The service's address leads to any of its tasks.
    if (backends.length === 0 || picture.focusId !== "") continue;
    for (const address of network.virtualIps) {
      const to = { toNodeId: "", toName: picture.serviceName, address };
      const mustListen = port !== undefined;
      found.push({ ...from, ...to, way: "address", port: port ?? anyPort, mustListen });
    }
  }
  return found;
}

function begins(node: NodeFacts, standpoint: Standpoint, network: NetworkFacts) {
  return {
    from: standpoint.address,
    networkId: network.id,
    network: network.name,
    fromNodeId: node.id,
    fromName: standpoint.name,
  };
}

/** Who speaks for a node in a network: a client rather than a task of the service itself. */
export function speakerOf({ standpoints }: NodeFacts, networkId: string): Standpoint | undefined {
  const here = standpoints.filter((one) => one.networkId === networkId);
  return here.find(({ isBackend }) => !isBackend) ?? here[0];
}

function standpointAt({ nodes }: Picture, nodeId: string, address: string) {
  const node = nodes.find(({ id }) => id === nodeId);
  const standpoint = node?.standpoints.find((one) => one.address === address);
  if (node === undefined || standpoint === undefined || !node.isReady) return undefined;
  return { node, standpoint };
}

function readyIn(networkId: string, picture: Picture): TaskFacts[] {
  return tasksInQuestion(picture).filter(
    (task) => task.ready && addressesIn(task, networkId).length > 0,
  );
}

/** One task of each node first, as many as are probed. */
function spread(tasks: readonly TaskFacts[]): TaskFacts[] {
  const seen = new Set<string>();
  const first = tasks.filter(({ nodeId }) => !seen.has(nodeId) && seen.add(nodeId));
  const rest = tasks.filter((task) => !first.includes(task));
  return [...first, ...rest].slice(0, explainBackendsMax);
}

/** TCP only: whether a datagram arrived nobody says. The mesh's way to a task is the same for all. */
function meshProbes(picture: Picture): PlannedProbe[] {
  const { meshId, nodes } = picture;
  const ports = picture.ports.filter(({ publishMode }) => publishMode === "ingress");
  const port = ports.find(({ protocol }) => protocol === "tcp") ?? ports[0];
  if (port === undefined) return [];
  const backends = spread(readyIn(meshId, picture));
  const entries = nodes.filter(({ isReady, isEntry }) => isReady && isEntry);
  const toTasks = entries.flatMap((node) =>
    backends.map((task) => meshProbe(node, task, { port, meshId })),
  );
  return [...toTasks, ...(backends.length > 0 ? entryProbes(entries, port, picture) : [])];
}

/** Ports that only nodes with tasks have. */
function hostProbes(picture: Picture): PlannedProbe[] {
  const withTasks = new Set(
    tasksInQuestion(picture).flatMap(({ ready, nodeId }) => (ready ? [nodeId] : [])),
  );
  const nodes = picture.nodes.filter(({ id, isReady }) => isReady && withTasks.has(id));
  return picture.ports
    .filter(({ publishMode }) => publishMode === "host")
    .flatMap((port) => entryProbes(nodes, port, picture));
}

/** Each node calls itself, and the next one. */
function entryProbes(
  nodes: readonly NodeFacts[],
  port: PortConfig,
  { boundTo, focusId }: Picture,
): PlannedProbe[] {
  const { protocol, publishedPort, publishMode } = port;
  // What leads to any task says nothing of one.
  const isOfOne = focusId !== "" && publishMode === "ingress";
  if (boundTo !== "" || protocol !== "tcp" || publishedPort === 0 || isOfOne) return [];
  return nodes.flatMap((node, position) => {
    const next = nodes[(position + 1) % nodes.length] ?? node;
    return [...new Set([node, next])].map((to) => entryProbe(node, to, port));
  });
}

function meshProbe(
  node: NodeFacts,
  task: TaskFacts,
  { port, meshId }: { readonly port: PortConfig; readonly meshId: string },
): PlannedProbe {
  const isTcp = port.protocol === "tcp";
  return {
    way: "mesh",
    from: "mesh",
    networkId: "",
    network: "",
    fromNodeId: node.id,
    fromName: "",
    toNodeId: task.nodeId,
    toName: task.name,
    address: addressesIn(task, meshId)[0] ?? "",
    port: isTcp ? port.targetPort : anyPort,
    mustListen: isTcp,
  };
}

function entryProbe(node: NodeFacts, to: NodeFacts, port: PortConfig): PlannedProbe {
  return {
    way: "entry",
    from: "host",
    networkId: "",
    network: "",
    fromNodeId: node.id,
    fromName: "",
    toNodeId: to.id,
    toName: to.name,
    address: to.address,
    port: port.publishedPort,
    mustListen: true,
  };
}
