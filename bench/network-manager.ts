/**
 * The manager of the network benchmarks: one whole manager in the playground's own network, whose store is at hand, so that
 * it can say when something was committed; and a hollow node that runs as many tasks as are wanted. Answers its parent.
 */
import {
  ContainerSpec,
  ControlService,
  CreateNetworkRequest,
  CreateServiceRequest,
  Driver,
  EndpointSpec,
  IpamConfig,
  IpamOptions,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  NodeDescription,
  Placement,
  PortConfig,
  RemoveRequest,
  ServiceMode,
  ServiceSpec,
  type Task,
  TaskSpec,
  TaskStatus,
} from "../src/common/api/generated/api.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import { createKey } from "../src/common/identity/key.ts";
import { newId } from "../src/common/ids/ids.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { until } from "../test/support/wait.ts";
import { type BenchManager, startBenchManager } from "./bench-manager.ts";
import { answerParent } from "./child.ts";
import { hollowAgent } from "./hollow-agent.ts";

/** A service that is wanted. */
export interface WantedService {
  readonly name: string;
  /** Node its tasks are on. */
  readonly on: string;
  readonly replicas: number;
  readonly networks: readonly string[];
  /** Ports of the routing mesh by port of the task. */
  readonly published: Readonly<Record<number, number>>;
  readonly program: readonly string[];
}

/** A service whose tasks all run; addresses without the length of their prefix. */
export interface RunningService {
  /** By network. */
  readonly virtualIps: Readonly<Record<string, string>>;
  /** Of the first task, by network. */
  readonly addresses: Readonly<Record<string, string>>;
}

/** What the manager is asked. */
export type NetworkManagerRequest =
  | { readonly type: "start"; readonly listen: { readonly host: string; readonly port: number } }
  /** Resolves when so many nodes are ready. */
  | { readonly type: "nodes"; readonly count: number }
  /** A node that is on this machine alone in name; resolves when it is registered. */
  | { readonly type: "hollow"; readonly hostname: string; readonly address: string }
  | {
      readonly type: "network";
      readonly name: string;
      readonly subnet: string;
      readonly encrypted: boolean;
    }
  | { readonly type: "services"; readonly services: readonly WantedService[] }
  | { readonly type: "remove"; readonly services: readonly string[] }
  /** One task of the service leaves the balance, or comes back, in turn; answers when that was committed. */
  | { readonly type: "toggle"; readonly service: string }
  | { readonly type: "stop" };

/** What joining nodes need. */
export interface StartedNetworkManager {
  readonly address: string;
  readonly workerToken: string;
}

/** When a change was committed: CLOCK_MONOTONIC, milliseconds. */
export interface Toggled {
  readonly committedMs: number;
  /** Backends that are left. */
  readonly ready: number;
}

/** Services made at a time. */
const createsAtOnce = 16;
/** Longest a service may take to run, milliseconds: a thousand tasks on a busy machine. */
const runningMsMax = 120_000;
const callMsMax = 60_000;

let bench: BenchManager | undefined;
const stopped = new AbortController();
/** Tasks that are out of the balance, by service. */
const out = new Map<string, string>();

answerParent(async (request: NetworkManagerRequest): Promise<unknown> => {
  switch (request.type) {
    case "start":
      return start(request.listen);
    case "nodes":
      return nodes(request.count);
    case "hollow":
      return hollow(request.hostname, request.address);
    case "network":
      return network(request);
    case "services":
      return services(request.services);
    case "remove":
      return remove(request.services);
    case "toggle":
      return toggle(request.service);
    case "stop":
      stopped.abort();
      return bench?.stop();
  }
});

function started(): BenchManager {
  if (bench === undefined) throw new Error("not started");
  return bench;
}

async function start(listen: { host: string; port: number }): Promise<StartedNetworkManager> {
  // Images are on the nodes already: no registry is asked for them.
  const refuse = async () => {
    throw new ClusterError("not-found", "there is no registry");
  };
  bench = await startBenchManager(listen, { resolve: refuse });
  return { address: bench.address, workerToken: bench.workerToken };
}

async function nodes(count: number): Promise<void> {
  const { store } = started();
  const ready = () =>
    [...store.view().each("node")].filter(
      ({ status, role }) => role === "worker" && status?.state === "ready",
    );
  const what = `${count} nodes are ready`;
  await until(() => ready().length >= count, { withinMs: runningMsMax, what });
}

async function hollow(hostname: string, address: string): Promise<void> {
  const manager = started();
  const nodeId = newId(systemRandom);
  await manager.store.update((tx) => {
    const number = 1 + Math.max(...[...tx.each("node")].map((node) => node.number));
    const description = NodeDescription.create({ hostname });
    tx.create("node", Node.create({ id: nodeId, number, membership: "accepted", description }));
  });
  const own = { nodeId, hostname, key: await createKey(), dataPathAddress: address };
  const agent = hollowAgent(own, manager);
  agent.run(stopped.signal).catch((error: unknown) => {
    if (!stopped.signal.aborted) process.stderr.write(`hollow agent ended: ${error}\n`);
  });
  await agent.registered(AbortSignal.timeout(callMsMax));
}

async function network(o: { name: string; subnet: string; encrypted: boolean }): Promise<void> {
  const options: Record<string, string> = o.encrypted ? { encrypted: "" } : {};
  const spec = NetworkSpec.create({
    annotations: { name: o.name, labels: {} },
    driver: Driver.create({ name: "overlay", options }),
    ipam: IpamOptions.create({ configs: [IpamConfig.create({ subnet: o.subnet })] }),
  });
  const request = CreateNetworkRequest.create({ spec, id: newId(systemRandom) });
  const signal = AbortSignal.timeout(callMsMax);
  await started().manager.call(ControlService.createNetwork, request, signal);
}

async function services(wanted: readonly WantedService[]): Promise<RunningService[]> {
  const left = [...wanted];
  const worker = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) {
      const request = CreateServiceRequest.create({ spec: specOf(one), id: newId(systemRandom) });
      const signal = AbortSignal.timeout(callMsMax);
      await started().manager.call(ControlService.createService, request, signal);
    }
  };
  await Promise.all(Array.from({ length: createsAtOnce }, worker));
  const running: RunningService[] = [];
  for (const one of wanted) running.push(await whenRunning(one));
  return running;
}

function specOf({ name, on, replicas, networks, published, program }: WantedService): ServiceSpec {
  const [command = "", ...args] = program;
  const ports = Object.entries(published).map(([targetPort, publishedPort]) =>
    PortConfig.create({ protocol: "tcp", targetPort: Number(targetPort), publishedPort }),
  );
  return ServiceSpec.create({
    annotations: { name, labels: {} },
    task: TaskSpec.create({
      container: ContainerSpec.create({
        image: "skep-bench:1",
        command: [command],
        args,
        stopGracePeriodNs: 0,
      }),
      placement: Placement.create({ constraints: [`node.hostname==${on}`] }),
      networks: networks.map((network) =>
        NetworkAttachmentConfig.create({ target: idOfNetwork(network) }),
      ),
    }),
    mode: ServiceMode.create({ replicated: { replicas } }),
    endpoint: EndpointSpec.create({ ports }),
  });
}

function idOfNetwork(name: string): string {
  const all = started().store.view().each("network");
  for (const { id, spec } of all) if (spec?.annotations?.name === name) return id;
  throw new Error(`no network is called ${name}`);
}

async function whenRunning({ name, replicas }: WantedService): Promise<RunningService> {
  const { store } = started();
  let last = "";
  const isUp = () => {
    const tasks = tasksOf(name);
    const running = tasks.filter(isReady);
    last = tasks[0] === undefined ? "no task" : JSON.stringify(tasks[0].status);
    return running.length === replicas ? running : undefined;
  };
  const waiting = {
    withinMs: runningMsMax,
    get what() {
      return `${name} runs; ${last}`;
    },
  };
  const [first] = await until(isUp, waiting);
  const view = store.view();
  const nameOf = (id: string) => view.get("network", id)?.spec?.annotations?.name ?? "";
  const virtualIps = serviceOf(name)?.endpoint?.virtualIps ?? [];
  return {
    virtualIps: Object.fromEntries(
      virtualIps.map((ip) => [nameOf(ip.networkId), withoutLength(ip.address)]),
    ),
    addresses: Object.fromEntries(
      (first?.networks ?? []).map(({ networkId, addresses }) => [
        nameOf(networkId),
        withoutLength(addresses[0]),
      ]),
    ),
  };
}

function withoutLength(address = ""): string {
  return address.split("/")[0] ?? "";
}

function serviceOf(name: string) {
  const all = started().store.view().each("service");
  for (const service of all) if (service.spec?.annotations?.name === name) return service;
  return undefined;
}

function tasksOf(service: string): Task[] {
  const id = serviceOf(service)?.id;
  return [...started().store.view().each("task")].filter((task) => task.serviceId === id);
}

function isReady({ status, desiredState }: Task): boolean {
  return status?.state === "running" && desiredState === "running";
}

async function remove(names: readonly string[]): Promise<void> {
  const ids = names.map((name) => serviceOf(name)?.id ?? name);
  for (const id of ids) {
    const request = RemoveRequest.create({ id });
    const signal = AbortSignal.timeout(callMsMax);
    await started().manager.call(ControlService.removeService, request, signal);
  }
  const isLeft = () => {
    const gone = new Set(ids);
    return [...started().store.view().each("task")].some(({ serviceId }) => gone.has(serviceId));
  };
  const what = "tasks of removed services are gone";
  await until(() => !isLeft(), { withinMs: runningMsMax, what });
}

/** As a health check does it that fails, and then does not: the task stays, and is not ready meanwhile. */
async function toggle(service: string): Promise<Toggled> {
  const { store } = started();
  const tasks = tasksOf(service);
  const id = out.get(service) ?? tasks.find(isReady)?.id ?? "";
  const state = out.has(service) ? "running" : "starting";
  await store.update((tx) => {
    const task = tx.get("task", id);
    if (task === undefined) throw new Error(`${service} has no task that runs`);
    tx.update("task", { ...task, status: TaskStatus.create({ ...task.status, state }) });
  });
  const committedMs = Number(process.hrtime.bigint()) / 1e6;
  if (state === "starting") out.set(service, id);
  else out.delete(service);
  return { committedMs, ready: tasks.filter(isReady).length + (state === "running" ? 1 : -1) };
}
