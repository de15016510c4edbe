/**
 * The manager of `dispatch.ts`: one whole manager in a process of its own, with as many worker nodes in its tables as are
 * wanted. Answers the messages of its parent.
 */
import { readFileSync } from "node:fs";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import {
  ContainerSpec,
  ControlService,
  CreateServiceRequest,
  Node,
  NodeDescription,
  type ServiceSpec,
  ServiceSpec as ServiceSpecCodec,
  TaskSpec,
} from "../src/common/api/generated/api.ts";
import type { Issuer } from "../src/common/identity/certificate.ts";
import { newId } from "../src/common/ids/ids.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { freePort } from "../test/support/free-port.ts";
import { type BenchManager, startBenchManager } from "./bench-manager.ts";
import { answerParent } from "./child.ts";

/** What the manager is asked. */
export type ManagerRequest =
  | { readonly type: "start"; readonly nodes: number }
  /** Resident memory, and the longest pause of the event loop since the last time it was asked. */
  | { readonly type: "sample" }
  | { readonly type: "service"; readonly replicas: number }
  | { readonly type: "stop" };

/** What agents need to join in. */
export interface StartedManager {
  readonly address: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly root: Issuer;
  readonly nodeIds: readonly string[];
}

/** What the kernel and the event loop say of the manager. */
export interface Sample {
  readonly rssBytes: number;
  /** Processor time since the last time it was asked, of all threads. */
  readonly cpuMs: number;
  readonly stallMaxMs: number;
  readonly stallP99Ms: number;
}

/** What a service took. */
export interface ServiceRun {
  readonly tasks: number;
  readonly tookMs: number;
}

class DispatchManager {
  #bench: BenchManager | undefined;
  #cpuBefore = process.cpuUsage();
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: 2 });

  async handle(request: ManagerRequest): Promise<unknown> {
    switch (request.type) {
      case "start":
        return this.#start(request.nodes);
      case "sample":
        return this.#sample();
      case "service":
        return this.#service(request.replicas);
      case "stop":
        return this.#stop();
    }
  }

  async #start(nodes: number): Promise<StartedManager> {
    this.#bench = await startBenchManager({ host: "127.0.0.1", port: await freePort() });
    const { address, nodeId, clusterId, root } = this.#bench;
    const nodeIds = await this.#addNodes(nodes);
    this.#delay.enable();
    return { address, nodeId, clusterId, root, nodeIds };
  }

  async #addNodes(count: number): Promise<string[]> {
    const nodes = Array.from({ length: count }, (_, i) =>
      Node.create({
        id: newId(systemRandom),
        number: i + 2,
        membership: "accepted",
        description: NodeDescription.create({ hostname: `hollow${i}` }),
      }),
    );
    await this.#bench?.store.batch(nodes, (tx, node) => tx.create("node", node));
    return nodes.map(({ id }) => id);
  }

  #sample(): Sample {
    globalThis.gc?.();
    const status = readFileSync("/proc/self/status", "utf8");
    const sample = {
      rssBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
      cpuMs: cpuMs(process.cpuUsage(this.#cpuBefore)),
      stallMaxMs: this.#delay.max / 1e6,
      stallP99Ms: this.#delay.percentile(99) / 1e6,
    };
    this.#delay.reset();
    this.#cpuBefore = process.cpuUsage();
    return sample;
  }

  /** Makes a service; resolves once all its tasks run, as the tables have it. */
  async #service(replicas: number): Promise<ServiceRun> {
    if (this.#bench === undefined) throw new Error("not started");
    const { store, manager } = this.#bench;
    const begin = performance.now();
    const spec = serviceSpec(replicas);
    const running = new Set<string>();
    const stop = new AbortController();
    const watch = store.watch({ table: "task" }, { signal: stop.signal });
    await manager.call(
      ControlService.createService,
      CreateServiceRequest.create({ spec, id: newId(systemRandom) }),
      AbortSignal.timeout(20_000),
    );
    for await (const item of watch) {
      if (item.resync) {
        for (const task of store.view().each("task")) {
          if (task.status?.state === "running") running.add(task.id);
        }
      } else {
        for (const { table, object } of item.changes) {
          if (table === "task" && object.status?.state === "running") running.add(object.id);
        }
      }
      if (running.size >= replicas) break;
    }
    stop.abort();
    return { tasks: running.size, tookMs: performance.now() - begin };
  }

  async #stop(): Promise<void> {
    await this.#bench?.stop();
  }
}

function cpuMs({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1000;
}

function serviceSpec(replicas: number): ServiceSpec {
  const container = ContainerSpec.create({ image: "example.com/hollow:1", env: ["A=1", "B=2"] });
  return ServiceSpecCodec.create({
    annotations: { name: "hollow", labels: {} },
    task: TaskSpec.create({ container }),
    mode: {
      replicated: { replicas },
      global: undefined,
      replicatedJob: undefined,
      globalJob: undefined,
    },
  });
}

const manager = new DispatchManager();
answerParent((request: ManagerRequest) => manager.handle(request));
