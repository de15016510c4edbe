/**
 * The manager of `dispatch.ts`: one whole manager in a process of its own, with as many worker nodes in its tables as are
 * wanted. Answers the messages of its parent.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { Manager } from "../manager/manager.ts";
import { ManagerState } from "../manager/manager-state.ts";
import { seedObjects } from "../manager/seed.ts";
import {
  ClusterSpec,
  ContainerSpec,
  ControlService,
  CreateServiceRequest,
  Node,
  NodeDescription,
  type ServiceSpec,
  ServiceSpec as ServiceSpecCodec,
  TaskSpec,
} from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import { type Issuer, issueNodeCertificate } from "../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../src/common/identity/key.ts";
import { createRequest } from "../src/common/identity/request.ts";
import { createRootCa, rootDigest } from "../src/common/identity/root.ts";
import { newId, newRaftId } from "../src/common/ids/ids.ts";
import { newLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { freePort } from "../test/support/test-nodes.ts";

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

const dayMs = 24 * 3600_000;

class BenchManager {
  #folder = "";
  #manager: Manager | undefined;
  #state: ManagerState | undefined;
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
    this.#folder = await mkdtemp(join(tmpdir(), "skep-dispatch-"));
    const port = await freePort();
    const member = { raftId: newRaftId(systemRandom), nodeId: newId(systemRandom) };
    const address = `127.0.0.1:${port}`;
    const clusterId = newId(systemRandom);
    const root = await createRootCa({ nowMs: Date.now() - dayMs, random: systemRandom });
    const log = newLog((line) => process.stderr.write(`${line}\n`), { level: "warn" });
    const tools = { clock: systemClock, random: systemRandom, log };
    const folder = join(this.#folder, "raft");
    const keysPath = join(this.#folder, "keys.json");
    const nodeKey = systemRandom.bytes(32);
    this.#state = await ManagerState.open({ folder, keysPath, nodeKey, ...tools });
    const key = await createKey();
    const issued = issueNodeCertificate({
      issuer: root,
      publicKey: publicKeyOf(key),
      nodeId: member.nodeId,
      role: "manager",
      clusterId,
      nowMs: Date.now(),
      lifeMs: dayMs,
      serial: systemRandom.bytes(16),
    });
    this.#manager = await Manager.start({
      state: this.#state,
      folder,
      member: { ...member, address },
      clusterId,
      listen: { host: "127.0.0.1", port },
      relayPath: join(this.#folder, "relay.sock"),
      tls: { key, certificate: issued.certificate, roots: root.certificate },
      start: {
        kind: "bootstrap",
        seed: seed({ root, clusterId, address, key, ...member, issued }),
      },
      profile: "normal",
      registry: { resolve: async () => ({ digest: `sha256:${"0".repeat(64)}`, platforms: [] }) },
      onKeys: async () => {},
      onRemoved: () => {},
      ...tools,
    });
    await this.#manager.ready(AbortSignal.timeout(20_000));
    const nodeIds = await this.#addNodes(nodes);
    this.#delay.enable();
    return { address, nodeId: member.nodeId, clusterId, root, nodeIds };
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
    await this.#state?.store.batch(nodes, (tx, node) => tx.create("node", node));
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
    const { store } = this.#state ?? {};
    if (store === undefined || this.#manager === undefined) throw new Error("not started");
    const begin = performance.now();
    const spec = serviceSpec(replicas);
    const running = new Set<string>();
    const stop = new AbortController();
    const watch = store.watch({ table: "task" }, { signal: stop.signal });
    await this.#manager.call(
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
    await this.#manager?.stop({ transfer: false });
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function cpuMs({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1000;
}

function seed(o: {
  readonly root: Issuer;
  readonly clusterId: string;
  readonly address: string;
  readonly key: string;
  readonly raftId: number;
  readonly nodeId: string;
  readonly issued: { readonly certificate: string; readonly notAfterMs: number };
}): ReturnType<typeof seedObjects> {
  return seedObjects({
    clusterId: o.clusterId,
    spec: ClusterSpec.create({}),
    rootCa: {
      key: o.root.key,
      certificate: o.root.certificate,
      digest: rootDigest(o.root.certificate),
    },
    joinTokens: { worker: "", manager: "" },
    unlockKey: undefined,
    defaultAddressPool: [],
    subnetSize: 24,
    dataPathPort: 0,
    node: {
      id: o.nodeId,
      // Tasks are for the hollow agents: the manager's own node has none.
      availability: "drain",
      description: NodeDescription.create({ hostname: "manager" }),
      address: "127.0.0.1",
      dataPathAddress: "127.0.0.1",
      raftId: o.raftId,
      managerAddress: o.address,
      csr: createRequest(o.key),
      ...o.issued,
    },
    networkIds: [newId(systemRandom), newId(systemRandom), newId(systemRandom)],
  });
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

const manager = new BenchManager();
process.on("message", ({ id, request }: { id: number; request: ManagerRequest }) => {
  manager.handle(request).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
