/**
 * Measures the store: transactions, apply rate, watch fan-out, checkpoint bytes, memory and freeze of a large cluster.
 *
 * Without Raft: the log is an array, so the numbers are the store's own. Memory is that of the whole process.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Checkpointer, openCheckpointer } from "../manager/state/checkpoint.ts";
import type { CommittedEntry, LogPosition, Proposer } from "../manager/state/proposer.ts";
import { Store } from "../manager/state/store.ts";
import {
  ContainerSpec,
  ContainerStatus,
  type Endpoint,
  Endpoint as EndpointCodec,
  EndpointSpec,
  NetworkAttachment,
  Node,
  NodeDescription,
  NodeSpec,
  PortConfig,
  type Service,
  Service as ServiceCodec,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskStatus,
} from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import { newId } from "../src/common/ids/ids.ts";
import { silentLog } from "../src/common/log/log.ts";
import { seededRandom, systemRandom } from "../src/common/random/random.ts";
import { newSealer } from "../src/common/seal/sealer.ts";

/** What to measure. */
export interface StoreBenchOptions {
  /** Tasks of the memory run; 1,000,000 unless told. */
  readonly tasks?: number;
  /** Nodes of the memory run; 10,000 unless told. */
  readonly nodes?: number;
  /** A fiftieth of that: shows that it works, the numbers mean little. */
  readonly quick?: boolean;
}

const random = seededRandom(7);

/** Takes entries and applies them in the next turn; keeps none unless told to. */
class BenchLog implements Proposer {
  readonly kept: CommittedEntry[] = [];
  store: Store | undefined;
  keep = false;
  bytes = 0;
  #index = 0;
  #pending: CommittedEntry[] = [];

  async propose(data: Uint8Array): Promise<LogPosition> {
    const entry = { index: ++this.#index, term: 1, data };
    this.bytes += data.length;
    if (this.keep) this.kept.push(entry);
    if (this.#pending.push(entry) === 1) setImmediate(() => this.#apply());
    return entry;
  }

  isLeader(): boolean {
    return true;
  }

  term(): number {
    return 1;
  }

  #apply(): void {
    const batch = this.#pending;
    this.#pending = [];
    this.store?.applyBatch(batch);
  }
}

function newStore(keep: boolean): { store: Store; log: BenchLog } {
  const log = new BenchLog();
  log.keep = keep;
  const store = new Store({
    proposer: log,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  log.store = store;
  return { store, log };
}

/** Runs all measurements; keys carry their unit. */
export async function run(options: StoreBenchOptions = {}): Promise<Record<string, number>> {
  const results: Record<string, number> = {};
  const tasks = options.tasks ?? (options.quick ? 20_000 : 1_000_000);
  Object.assign(results, await transactions());
  Object.assign(results, await applyRate());
  Object.assign(results, await fanOut());
  Object.assign(results, await largeCluster(tasks, options.nodes ?? 10_000));
  return results;
}

/** Small updates from many writers at once: what group commit and the main thread allow. */
async function transactions(): Promise<Record<string, number>> {
  const { store } = newStore(false);
  const services = await addServices(store, 10);
  const tasks = await addTasks(store, 2_000, services, []);
  const rounds = 20;
  const begin = performance.now();
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      tasks.map((id) =>
        store.update((tx) => {
          const task = tx.get("task", id);
          if (task !== undefined) tx.update("task", { ...task, status: status(task, round) });
        }),
      ),
    );
  }
  const seconds = (performance.now() - begin) / 1_000;
  return { store_tx_per_s: Math.round((rounds * tasks.length) / seconds) };
}

/** Entries as a follower gets them: creations, then changes of state. */
async function applyRate(): Promise<Record<string, number>> {
  const { store, log } = newStore(true);
  const services = await addServices(store, 100);
  const nodes = await addNodes(store, 100);
  const created = log.kept.length;
  const tasks = await addTasks(store, 50_000, services, nodes);
  const changed = log.kept.length;
  await changeAll(store, tasks, 1);
  const follower = newStore(false).store;
  follower.applyBatch(log.kept.slice(0, created));
  const rate = (entries: readonly CommittedEntry[]) => {
    const begin = performance.now();
    follower.applyBatch(entries);
    return Math.round(tasks.length / ((performance.now() - begin) / 1_000));
  };
  return {
    store_apply_creates_per_s: rate(log.kept.slice(created, changed)),
    store_apply_per_s: rate(log.kept.slice(changed)),
  };
}

/** Ten thousand watchers, each of one node's tasks. */
async function fanOut(): Promise<Record<string, number>> {
  const { store, log } = newStore(true);
  const services = await addServices(store, 10);
  const nodes = await addNodes(store, 10_000);
  const tasks = await addTasks(store, 10_000, services, nodes);
  const before = log.kept.length;
  const rounds = 5;
  for (let round = 1; round <= rounds; round++) await changeAll(store, tasks, round);
  const measure = (watchers: number) => {
    const follower = newStore(false).store;
    follower.applyBatch(log.kept.slice(0, before));
    const watches = nodes
      .slice(0, watchers)
      .map((id) => follower.watch({ table: "task", index: ["node", id] }));
    const begin = performance.now();
    follower.applyBatch(log.kept.slice(before));
    const ms = performance.now() - begin;
    for (const watch of watches) watch.close();
    return ms;
  };
  measure(10_000);
  const cost = measure(10_000) - measure(0);
  return { store_watch_10k_us_per_change: Math.max(0, cost * 1_000) / tasks.length / rounds };
}

/** A whole large cluster: memory, freeze, checkpoint, snapshot. */
async function largeCluster(count: number, nodeCount: number): Promise<Record<string, number>> {
  const dir = await mkdtemp(join(tmpdir(), "skep-bench-store-"));
  try {
    const { store, log } = newStore(false);
    const keys = { currentId: 1, keys: new Map([[1, systemRandom.bytes(32)]]) };
    const sealer = newSealer({ keys, label: "checkpoint", random: systemRandom });
    const { checkpointer } = await openCheckpointer({
      dir,
      sealer,
      store,
      clock: systemClock,
      log: silentLog,
      onDurable: () => {},
    });
    const services = await addServices(store, 1_000);
    const nodes = await addNodes(store, nodeCount);
    const begin = performance.now();
    await addTasks(store, count, services, nodes);
    const fill = (performance.now() - begin) / 1_000;
    const results: Record<string, number> = {
      store_1m_fill_s: fill,
      store_entry_bytes_per_task: log.bytes / count,
      ...memory(count),
      ...freeze(store),
    };
    Object.assign(results, await checkpoints(store, checkpointer));
    Object.assign(results, await snapshots(store));
    await checkpointer.close();
    return results;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function memory(count: number): Record<string, number> {
  const peak = process.resourceUsage().maxRSS / 1024;
  collectGarbage();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    store_1m_tasks_peak_rss_mb: Math.round(peak),
    store_1m_tasks_rss_mb: Math.round(rss / 2 ** 20),
    store_1m_tasks_heap_mb: Math.round(heapUsed / 2 ** 20),
    store_heap_bytes_per_task: Math.round(heapUsed / count),
  };
}

/** Collects twice, so that what is left is in use. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
}

function freeze(store: Store): Record<string, number> {
  const times: number[] = [];
  for (let round = 0; round < 7; round++) {
    const begin = performance.now();
    store.freeze();
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  return { store_freeze_1m_ms: times[3] ?? 0, store_freeze_1m_max_ms: times[6] ?? 0 };
}

async function checkpoints(
  store: Store,
  checkpointer: Checkpointer,
): Promise<Record<string, number>> {
  const stall = newStallMeter();
  const begin = performance.now();
  await checkpointer.flush();
  const first = performance.now() - begin;
  const firstStall = stall.take();
  const before = checkpointer.bytesWritten;
  const ids = [...store.view().each("task")].slice(0, 10_000).map((task) => task.id);
  await changeAll(store, ids, 9);
  stall.take();
  const again = performance.now();
  await checkpointer.flush();
  const results = {
    store_checkpoint_full_s: first / 1_000,
    store_checkpoint_full_stall_ms: firstStall,
    store_checkpoint_10k_ms: performance.now() - again,
    store_checkpoint_10k_stall_ms: stall.take(),
    store_checkpoint_bytes_per_change: (checkpointer.bytesWritten - before) / ids.length,
  };
  stall.stop();
  return results;
}

async function snapshots(store: Store): Promise<Record<string, number>> {
  const stall = newStallMeter();
  const begin = performance.now();
  const frozen = store.freeze();
  let bytes = 0;
  for await (const chunk of store.snapshot(frozen)) bytes += chunk.length;
  const results = {
    store_snapshot_write_s: (performance.now() - begin) / 1_000,
    store_snapshot_mb: bytes / 2 ** 20,
    store_snapshot_stall_ms: stall.take(),
  };
  stall.stop();
  return results;
}

/** Longest time between two turns of the event loop. */
function newStallMeter(): { take(): number; stop(): void } {
  let last = performance.now();
  let worst = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    worst = Math.max(worst, now - last);
    last = now;
  }, 1);
  return {
    take: () => {
      const value = worst;
      worst = 0;
      last = performance.now();
      return value;
    },
    stop: () => clearInterval(timer),
  };
}

async function addServices(store: Store, count: number): Promise<Service[]> {
  const ids = Array.from({ length: count }, () => newId(random));
  await store.batch(ids.entries(), (tx, [n, id]) => {
    const annotations = { name: `service-${n}`, labels: { team: "bench", tier: "web" } };
    const task = TaskSpec.create({ container: container(n) });
    tx.create(
      "service",
      ServiceCodec.create({
        id,
        spec: ServiceSpec.create({ annotations, task }),
        endpoint: endpoint(n),
        specVersion: 1,
      }),
    );
  });
  return store.view().list("service");
}

function container(n: number): ContainerSpec {
  return ContainerSpec.create({
    image: `registry.example.org/team/app-${n}:1.0@sha256:${"0123456789abcdef".repeat(4)}`,
    env: ["MODE=production", "LOG_LEVEL=info", `SHARD=${n}`],
    args: ["serve", "--port", "8080"],
    labels: { "org.example.part": "bench" },
  });
}

function endpoint(n: number): Endpoint {
  const ports = [PortConfig.create({ targetPort: 8_080, publishedPort: 10_000 + n })];
  return EndpointCodec.create({ spec: EndpointSpec.create({ ports }), ports });
}

async function addNodes(store: Store, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => newId(random));
  await store.batch(ids.entries(), (tx, [n, id]) =>
    tx.create(
      "node",
      Node.create({
        id,
        number: n + 1,
        spec: NodeSpec.create({ annotations: { name: "", labels: { zone: `z${n % 3}` } } }),
        description: NodeDescription.create({ hostname: `node-${n}` }),
      }),
    ),
  );
  return ids;
}

/** Tasks as the orchestrator makes them and as they are once they run. */
async function addTasks(
  store: Store,
  count: number,
  services: readonly Service[],
  nodes: readonly string[],
): Promise<string[]> {
  const ids: string[] = [];
  const slice = 20_000;
  for (let from = 0; from < count; from += slice) {
    const numbers = Array.from({ length: Math.min(slice, count - from) }, (_, i) => from + i);
    await store.batch(numbers, (tx, n) => {
      const service = services[Math.floor(n / 200) % services.length] as Service;
      const id = newId(random);
      ids.push(id);
      tx.create("task", task(id, n, service, nodes[n % Math.max(1, nodes.length)] ?? ""));
    });
  }
  return ids;
}

function task(id: string, n: number, service: Service, nodeId: string): Task {
  const network = `net${Math.floor(n / 60_000)}`.padEnd(25, "0");
  const address = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}/8`;
  return Task.create({
    id,
    serviceId: service.id,
    slot: n + 1,
    nodeId,
    specVersion: 1,
    spec: service.spec?.task,
    serviceAnnotations: service.spec?.annotations,
    endpoint: service.endpoint,
    desiredState: "running",
    status: TaskStatus.create({
      timestampMs: 1_700_000_000_000 + n,
      state: "running",
      message: "started",
      container: ContainerStatus.create({
        containerId: `${id}${id}`.padEnd(64, "0"),
        pid: 1_000 + n,
      }),
      appliedBy: nodeId,
      appliedAtMs: 1_700_000_000_000 + n,
    }),
    networks: [NetworkAttachment.create({ networkId: network, addresses: [address] })],
  });
}

function status(old: Task, round: number): TaskStatus {
  const before = old.status ?? TaskStatus.create();
  return { ...before, timestampMs: before.timestampMs + round + 1 };
}

async function changeAll(store: Store, ids: readonly string[], round: number): Promise<void> {
  await store.batch(ids, (tx, id) => {
    const old = tx.get("task", id);
    if (old !== undefined) tx.update("task", { ...old, status: status(old, round) });
  });
}
