/**
 * A service as the managers' tables have it: its networks, ports, tasks, and the nodes that take part. Pure; what is asked
 * of the nodes, and what their answers are compared with.
 */
import type {
  EndpointMode,
  Network,
  Node,
  PortConfig,
  Service,
  Task,
  TaskState,
} from "../../common/api/generated/api.ts";
import { explainNodesMax } from "../../common/limits/limits.ts";
import { formatAddress, parseAddress } from "../../common/spec/cidr.ts";
import { shownSlot } from "../../common/task/place.ts";
import { isTerminal, stateRank } from "../../common/task/state.ts";
import type { ObjectView } from "../ports.ts";
import { modeName } from "../translate/service.ts";
import { taskName } from "../translate/task.ts";

/** What is explained. */
export interface Subject {
  readonly kind: "service" | "task" | "port";
  /** Its name, or `8080/tcp`. */
  readonly name: string;
  readonly id: string;
}

/** A network between nodes that the service is in. */
export interface NetworkFacts {
  readonly id: string;
  readonly name: string;
  readonly encrypted: boolean;
  /** The service's own addresses there; none where names lead to its tasks. */
  readonly virtualIps: readonly string[];
  /** Names that lead to the service there. */
  readonly names: readonly string[];
}

/** A task that is to run, or the one that is explained. */
export interface TaskFacts {
  readonly id: string;
  /** `web.1` */
  readonly name: string;
  /** Name of its container, `web.1.<id>`: it leads to the task alone. */
  readonly fullName: string;
  readonly nodeId: string;
  readonly node: string;
  readonly state: TaskState;
  readonly desiredState: TaskState;
  /** Names lead to it and connections are led to it. */
  readonly ready: boolean;
  /** What it says of itself. */
  readonly message: string;
  readonly error: string;
  /** How the one before in its place ended, if by itself; empty otherwise. */
  readonly before: string;
  /** Addresses by network, without prefix lengths; that in the mesh under its network's id. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
}

/** A running container with an address in a network, from where a probe may begin. */
export interface Standpoint {
  readonly name: string;
  readonly networkId: string;
  readonly address: string;
  readonly isBackend: boolean;
}

/** A node that takes part. */
export interface NodeFacts {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly state: string;
  readonly message: string;
  readonly isReady: boolean;
  /** Takes published ports for the mesh. */
  readonly isEntry: boolean;
  readonly standpoints: readonly Standpoint[];
}

/** Everything the tables say. */
export interface Picture {
  readonly subject: Subject;
  readonly serviceId: string;
  readonly serviceName: string;
  readonly mode: string;
  readonly endpointMode: EndpointMode;
  /** Tasks that are to run. */
  readonly wanted: number;
  readonly networks: readonly NetworkFacts[];
  /** Network of the mesh; empty where there is none. */
  readonly meshId: string;
  readonly meshEncrypted: boolean;
  /** UDP port of the tunnels between nodes that are not encrypted. */
  readonly tunnelPort: number;
  /** The managers have no leader: what the tables say may be behind. */
  readonly isBehind: boolean;
  /** As allocated, those that the question is about. */
  readonly ports: readonly PortConfig[];
  /** An address or device of nodes to which published ports are bound; empty for all. */
  readonly boundTo: string;
  readonly tasks: readonly TaskFacts[];
  /** The only task in question; empty when all are. */
  readonly focusId: string;
  readonly nodes: readonly NodeFacts[];
  /** Nodes that take part and are not asked, as there are too many. */
  readonly nodesLeftOut: number;
}

/** What of a service is in question. */
export interface Question {
  readonly subject: Subject;
  readonly service: Service;
  /** Only this port; all of the service when undefined. */
  readonly port?: PortConfig;
  /** Shown though it may have ended. */
  readonly task?: Task;
  /** The tables were read though there is no leader. */
  readonly isBehind?: boolean;
}

/** Unless the cluster was made with another. */
const vxlanPortDefault = 4789;

/** Gathers what takes part. */
export function pictureOf(question: Question, view: ObjectView): Picture {
  const { subject, service, port } = question;
  const all = [...view.tasksOfService(service.id)];
  const current = all.filter(isWanted);
  const tasks = [...new Set([...(question.task === undefined ? [] : [question.task]), ...current])];
  const networks = port === undefined ? networksOf(service, tasks, view) : [];
  const mesh = [...view.list("network")].find(({ spec }) => spec?.ingress === true);
  const [cluster] = view.list("cluster");
  const ports = port === undefined ? (service.endpoint?.ports ?? []) : [port];
  const { nodes, leftOut } = nodesOf({
    view,
    serviceId: service.id,
    tasks,
    networkIds: new Set(networks.map(({ id }) => id)),
    hasMesh: ports.some(({ publishMode }) => publishMode === "ingress"),
  });
  const running = current.filter(
    ({ desiredState }) => desiredState === "running" || desiredState === "complete",
  );
  return {
    subject,
    serviceId: service.id,
    serviceName: nameOf(service),
    mode: modeName(service.spec?.mode),
    endpointMode: service.spec?.endpoint?.mode ?? "vip",
    wanted: service.spec?.mode?.replicated?.replicas ?? running.length,
    networks,
    meshId: mesh?.id ?? "",
    meshEncrypted: mesh !== undefined && isEncrypted(mesh),
    tunnelPort: cluster?.vxlanUdpPort || vxlanPortDefault,
    isBehind: question.isBehind === true,
    ports,
    boundTo: service.spec?.annotations?.labels["skep.publish.address"] ?? "",
    tasks: tasks.map((task) => taskFacts(task, all, view)).sort(byName),
    focusId: question.task?.id ?? "",
    nodes,
    nodesLeftOut: leftOut,
  };
}

/** The tasks in question. */
export function tasksInQuestion({ tasks, focusId }: Picture): readonly TaskFacts[] {
  return focusId === "" ? tasks : tasks.filter(({ id }) => id === focusId);
}

/** Addresses of a task in a network. */
export function addressesIn(task: TaskFacts, networkId: string): readonly string[] {
  return task.addresses.get(networkId) ?? [];
}

function nameOf({ spec }: Service): string {
  return spec?.annotations?.name ?? "";
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name.localeCompare(b.name, "en", { numeric: true });
}

function networksOf(service: Service, tasks: readonly Task[], view: ObjectView): NetworkFacts[] {
  const virtualIps = service.endpoint?.virtualIps ?? [];
  const wishes = service.spec?.task?.networks ?? [];
  const ids = new Set([
    ...virtualIps.map(({ networkId }) => networkId),
    ...tasks.flatMap(({ networks }) => networks.map(({ networkId }) => networkId)),
    ...wishes.map(({ target }) => target),
  ]);
  return [...ids].flatMap((id) => {
    const network = view.get("network", id);
    if (network === undefined || network.spec?.ingress === true || !isOverlay(network)) return [];
    const aliases = wishes.filter(({ target }) => target === id).flatMap((wish) => wish.aliases);
    return [
      {
        id,
        name: network.spec?.annotations?.name ?? id,
        encrypted: isEncrypted(network),
        virtualIps: virtualIps
          .filter(({ networkId, address }) => networkId === id && address !== "")
          .map(({ address }) => plainAddress(address)),
        names: [...new Set([nameOf(service), ...aliases])],
      },
    ];
  });
}

/** Others are of nodes alone, such as the host's own. */
function isOverlay({ networkNumber }: Network): boolean {
  return networkNumber > 0;
}

function isEncrypted({ spec, driverState }: Network): boolean {
  const { encrypted } = { ...spec?.driver?.options, ...driverState?.options };
  return encrypted !== undefined && encrypted !== "false";
}

function taskFacts(task: Task, all: readonly Task[], view: ObjectView): TaskFacts {
  const state = task.status?.state ?? "new";
  return {
    id: task.id,
    name: shortName(task, view),
    fullName: taskName(task),
    nodeId: task.nodeId,
    node: task.nodeId === "" ? "" : nodeName(task.nodeId, view),
    state,
    desiredState: task.desiredState,
    ready: isReady(task),
    message: task.status?.message ?? "",
    error: task.status?.error ?? "",
    before: endBefore(task, all),
    addresses: new Map(
      task.networks.map(({ networkId, addresses }) => [networkId, addresses.map(plainAddress)]),
    ),
  };
}

/** Whether it is to run; a task of a job is until it has ended. */
function isWanted({ status, desiredState }: Task): boolean {
  if (desiredState === "complete") return !isTerminal(status?.state ?? "new");
  return !isTerminal(desiredState);
}

/** As the dispatcher tells nodes: it runs, is healthy, and is to run. */
function isReady({ status, desiredState }: Task): boolean {
  return status?.state === "running" && stateRank(desiredState) <= stateRank("complete");
}

/** `web.1`; of global services `web.<node's name>`. */
function shortName(task: Task, view: ObjectView): string {
  const { serviceAnnotations, annotations, nodeId } = task;
  if (annotations !== undefined && annotations.name !== "") return annotations.name;
  return `${serviceAnnotations?.name ?? ""}.${shownSlot(task) ?? nodeName(nodeId, view)}`;
}

/** Of the newest one in its place that ended badly. */
function endBefore(task: Task, all: readonly Task[]): string {
  if (task.status?.state === "running") return "";
  const isSamePlace = (other: Task) =>
    task.slot > 0 ? other.slot === task.slot : other.nodeId === task.nodeId;
  const isBad = ({ status }: Task) => status?.state === "failed" || status?.state === "rejected";
  const [last] = all
    .filter((other) => other.id !== task.id && isBad(other) && isSamePlace(other))
    .sort((a, b) => (b.meta?.createdAtMs ?? 0) - (a.meta?.createdAtMs ?? 0));
  if (last === undefined) return "";
  const { state, error = "", message = "" } = last.status ?? {};
  return `${state}: ${error || message || "no reason given"}`;
}

function nodeName(nodeId: string, view: ObjectView): string {
  return view.get("node", nodeId)?.description?.hostname || nodeId;
}

/** Those with tasks first, then those with containers in the same networks, then those that only take connections. */
function nodesOf(o: {
  readonly view: ObjectView;
  readonly serviceId: string;
  readonly tasks: readonly Task[];
  readonly networkIds: ReadonlySet<string>;
  readonly hasMesh: boolean;
}): { readonly nodes: readonly NodeFacts[]; readonly leftOut: number } {
  const standpoints = standpointsOf(o.view, o.networkIds, o.serviceId);
  const withTasks = new Set(o.tasks.map(({ nodeId }) => nodeId));
  const rank = ({ id }: Node) => (withTasks.has(id) ? 0 : standpoints.has(id) ? 1 : 2);
  const part = [...o.view.list("node")]
    .filter((node) => o.hasMesh || rank(node) < 2)
    .sort((a, b) => rank(a) - rank(b) || hostname(a).localeCompare(hostname(b)));
  return {
    nodes: part
      .slice(0, explainNodesMax)
      .map((node) => nodeFacts(node, standpoints.get(node.id) ?? [], o.hasMesh))
      .sort(byName),
    leftOut: Math.max(0, part.length - explainNodesMax),
  };
}

function hostname({ id, description }: Node): string {
  return description?.hostname || id;
}

function nodeFacts(node: Node, standpoints: readonly Standpoint[], isEntry: boolean): NodeFacts {
  const { id, status, dataPathAddress } = node;
  return {
    id,
    name: hostname(node),
    address: dataPathAddress || (status?.address ?? ""),
    state: status?.state ?? "unknown",
    message: status?.message ?? "",
    isReady: status?.state === "ready",
    isEntry,
    standpoints,
  };
}

/** Running containers in these networks by node; attached by hand or of services. */
function standpointsOf(
  view: ObjectView,
  networkIds: ReadonlySet<string>,
  serviceId: string,
): Map<string, Standpoint[]> {
  const found = new Map<string, Standpoint[]>();
  if (networkIds.size === 0) return found;
  for (const task of view.list("task")) {
    if (!isReady(task)) continue;
    for (const { networkId, addresses } of task.networks) {
      const [address] = addresses;
      if (!networkIds.has(networkId) || address === undefined) continue;
      const list = found.get(task.nodeId) ?? [];
      found.set(task.nodeId, list);
      list.push({
        name: shortName(task, view),
        networkId,
        address: plainAddress(address),
        isBackend: task.serviceId === serviceId,
      });
    }
  }
  return found;
}

/** As the kernel writes it, without the length of the prefix. */
function plainAddress(text: string): string {
  const [plain = text] = text.split("/");
  const address = parseAddress(plain);
  return address === undefined ? plain : formatAddress(address);
}
