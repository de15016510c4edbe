/**
 * A leader's loops over a real store, with a scheduler and agents that are played: for tests of the orchestrators.
 *
 * Time is a fake clock's. Agents take their tasks forward one state a step, as their desired state allows; nodes go silent
 * and come back; a task's command may fail. Every committed change is looked at by the watchers a test puts in.
 */
import { setMaxListeners } from "node:events";
import { AllocatorLoop } from "../../manager/allocator/loop.ts";
import type { Leadership, Tools } from "../../manager/orchestrator/leadership.ts";
import { orchestratorLoops } from "../../manager/orchestrator/loops.ts";
import { PayloadLoop } from "../../manager/orchestrator/payloads/loop.ts";
import { SchedulerLoop } from "../../manager/scheduler/loop.ts";
import type { Change } from "../../manager/state/change.ts";
import { type Follower, follow } from "../../manager/state/follow.ts";
import type { Store } from "../../manager/state/store.ts";
import {
  Cluster,
  ClusterSpec,
  GlobalMode,
  type Node,
  type NodeAvailability,
  type NodeState,
  NodeStatus,
  Placement,
  ReplicatedMode,
  type RestartPolicy,
  Service,
  ServiceMode,
  ServiceSpec,
  type Task,
  TaskSpec,
  type TaskState,
  TaskStateNumber,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import { FakeClock } from "../../src/common/clock/clock.ts";
import { newLog, silentLog } from "../../src/common/log/log.ts";
import { type Random, seededRandom } from "../../src/common/random/random.ts";
import { type LocalLog, localStore } from "./local-log.ts";
import { settled } from "./message-queue.ts";
import { node } from "./store-objects.ts";

/** How a task's command behaves. */
export interface Command {
  /** Milliseconds from its start to its end; 0 ends before it is seen to run; undefined for one that runs on. */
  readonly endsAfterMs?: number;
  readonly exitCode?: number;
  /** Whether it is prepared for ever. */
  readonly isStuck?: boolean;
  /** Whether its image cannot be had. */
  readonly isRejected?: boolean;
  /** Milliseconds from the stop signal to its end. */
  readonly stopsAfterMs?: number;
}

const steps: readonly TaskState[] = [
  "assigned",
  "accepted",
  "preparing",
  "ready",
  "starting",
  "running",
];
const number = TaskStateNumber;

/** A cluster in one process. */
export class FakeCluster {
  readonly clock = new FakeClock();
  readonly store: Store;
  readonly log: LocalLog;
  readonly random: Random;
  /** What a task runs; by default a command that runs until it is stopped, which takes 10 ms. */
  command: (task: Task) => Command = () => ({});
  /** What the loops warned of, errors included. */
  readonly warnings: string[] = [];
  readonly #log = newLog((line) => this.warnings.push(line), { level: "warn" });
  /** Called for every committed change. */
  readonly onChange: ((change: Change) => void)[] = [];
  /** Since when a task runs or stops, for its agent; agents know what their managers forgot. */
  readonly #since = new Map<string, number>();
  readonly #silent = new Set<string>();
  readonly #hasScheduler: boolean;
  #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #term = 0;

  /** @param parts With the scheduler itself in place of a played one that takes any node that is ready. */
  constructor(seed = 1, parts: { readonly realScheduler?: boolean } = {}) {
    this.#hasScheduler = parts.realScheduler ?? false;
    this.random = seededRandom(seed);
    ({ store: this.store, log: this.log } = localStore({ clock: this.clock, random: this.random }));
    const watch = this.store.watch();
    const look = async () => {
      for await (const item of watch) {
        if (!item.resync) for (const c of item.changes) for (const see of this.onChange) see(c);
      }
    };
    void look();
  }

  /** A cluster object and nodes that are ready. */
  async begin(nodes: number, historyLimit = 5): Promise<void> {
    const spec = ClusterSpec.create({ taskHistoryRetentionLimit: historyLimit });
    await this.store.update((tx) => tx.create("cluster", Cluster.create({ id: "c", spec })));
    for (let i = 1; i <= nodes; i++) await this.addNode(`n${i}`);
    this.elect();
  }

  /** Another leader: the loops of the one before end, those of the next start from the store alone. */
  elect(): void {
    this.#stop.abort();
    const stop = new AbortController();
    setMaxListeners(100, stop.signal);
    this.#stop = stop;
    const term = ++this.#term;
    this.log.currentTerm = term;
    const leadership = { store: this.store, term };
    const before = this.#running;
    const { clock, random, store } = this;
    const { signal } = stop;
    this.#running = before.then(() => {
      const log = this.#log;
      const loops = this.loops(leadership, { clock, random, log });
      const running = loops.map((loop) => follow(store, loop, { clock, log, signal }));
      if (!this.#hasScheduler) return Promise.all(running);
      const scheduler = new SchedulerLoop(store, term, { clock, log: silentLog });
      return Promise.all([...running, scheduler.run(signal)]);
    });
  }

  /** The loops of a leader. */
  loops(leadership: Leadership, tools: Tools): Follower[] {
    return [
      new AllocatorLoop(leadership, tools),
      ...orchestratorLoops(leadership, tools),
      new PayloadLoop(leadership, tools),
    ];
  }

  /** Ends the loops. */
  async end(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  addNode(id: string): Promise<void> {
    return this.store.update((tx) =>
      tx.create("node", { ...node(id), status: NodeStatus.create({ state: "ready" }) }),
    );
  }

  /** The node falls silent or comes back, and is marked so. */
  async setNode(id: string, state: NodeState): Promise<void> {
    if (state === "down") this.#silent.add(id);
    else this.#silent.delete(id);
    await this.#updateNode(id, (n) => ({ ...n, status: NodeStatus.create({ state }) }));
  }

  setAvailability(id: string, availability: NodeAvailability): Promise<void> {
    return this.#updateNode(id, (n) => ({
      ...n,
      spec: { annotations: undefined, desiredRole: "worker", ...n.spec, availability },
    }));
  }

  /** Creates a replicated service. */
  createService(id: string, replicas: number, parts: ServiceParts = {}): Promise<void> {
    return this.store.update((tx) =>
      tx.create(
        "service",
        Service.create({ id, spec: { ...serviceSpec(id, parts), mode: replicated(replicas) } }),
      ),
    );
  }

  /** Creates a global service. */
  createGlobal(id: string, parts: ServiceParts = {}): Promise<void> {
    const mode = ServiceMode.create({ global: GlobalMode.create() });
    const spec = { ...serviceSpec(id, parts), mode };
    return this.store.update((tx) => tx.create("service", Service.create({ id, spec })));
  }

  /** Replaces a spec as control does. */
  updateService(id: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    return this.store.update((tx) => {
      const service = tx.get("service", id);
      if (service?.spec === undefined) throw new Error(`no service ${id}`);
      tx.update("service", {
        ...service,
        spec: change(service.spec),
        specVersion: service.meta?.version ?? 0,
        previousSpec: service.spec,
        previousSpecVersion: service.specVersion,
        updateStatus: undefined,
      });
    });
  }

  scale(id: string, replicas: number): Promise<void> {
    return this.updateService(id, (spec) => ({ ...spec, mode: replicated(replicas) }));
  }

  removeService(id: string): Promise<void> {
    return this.store.update((tx) => tx.remove("service", id));
  }

  service(id: string): Service {
    const service = this.store.view().get("service", id);
    if (service === undefined) throw new Error(`no service ${id}`);
    return service;
  }

  /** Tasks of a service, oldest first. */
  tasks(serviceId: string): Task[] {
    return this.store
      .view()
      .find("task", "service", serviceId)
      .sort((a, b) => (a.meta?.version ?? 0) - (b.meta?.version ?? 0));
  }

  /** Tasks that run, are wanted, and are not on a silent node. */
  runningTasks(serviceId: string): Task[] {
    return this.tasks(serviceId).filter(
      (task) =>
        task.status?.state === "running" &&
        task.desiredState === "running" &&
        !this.#silent.has(task.nodeId),
    );
  }

  /**
   * Has entries wait for the next step of time before they are committed, as over a slow network; not while a test waits
   * for a change of its own.
   */
  isSlow = false;

  /** Lets time pass; scheduler and agents have a step every 10 ms. */
  async pass(ms: number): Promise<void> {
    this.log.automatic = !this.isSlow;
    let step = Promise.resolve();
    let isStepping = false;
    for (let left = ms; left > 0; left -= stepMs) {
      await this.clock.advance(Math.min(stepMs, left));
      this.log.commit();
      if (!isStepping) {
        isStepping = true;
        step = this.#step().finally(() => {
          isStepping = false;
        });
      }
      for (let turn = 0; turn < 6; turn++) await settled();
      if (!this.isSlow) await step;
    }
    this.log.automatic = true;
    this.log.commit();
    await step;
  }

  /** Lets a long time pass with few steps: for what is due by the minute rather than by the millisecond. */
  async leap(ms: number): Promise<void> {
    await this.clock.advance(ms);
    for (let turn = 0; turn < 6; turn++) {
      this.log.commit();
      await settled();
    }
    this.log.automatic = true;
    await this.#step();
  }

  /** Whether the node is silent, or was since the leader began. */
  wasLost(nodeId: string): boolean {
    return this.#silent.has(nodeId);
  }

  /** The state as a snapshot brings it: every object is another one, and watchers read everything again. */
  async replaceState(): Promise<void> {
    const frozen = this.store.freeze();
    await this.store.restore(this.store.snapshot(frozen), frozen.index, frozen.term);
  }

  /** Ends a running task as its command would. */
  fail(taskId: string, exitCode = 1): Promise<void> {
    return this.store.update((tx) => {
      const task = tx.get("task", taskId);
      if (task !== undefined) tx.update("task", this.#ended(task, exitCode));
    });
  }

  async #step(): Promise<void> {
    const view = this.store.view();
    const next: Task[] = [];
    for (const task of view.each("task")) {
      const after = this.#after(task);
      if (after !== undefined) next.push(after);
    }
    if (next.length === 0) return;
    const done = this.store.batch(next, (tx, after) => {
      const task = tx.get("task", after.id);
      if (task === undefined || number(state(task)) >= number(state(after))) return;
      tx.update("task", { ...task, nodeId: after.nodeId, status: after.status });
    });
    await done;
  }

  /** The task one step later; undefined when nothing happens to it. */
  #after(task: Task): Task | undefined {
    const now = state(task);
    if (now === "pending") return this.#hasScheduler ? undefined : this.#scheduled(task);
    if (number(now) < number("assigned") || number(now) > number("running")) return undefined;
    if (this.#silent.has(task.nodeId)) return undefined;
    if (number(task.desiredState) > number("complete")) return this.#stopping(task);
    if (now === "running") return this.#run(task);
    const next = steps[steps.indexOf(now) + 1];
    if (next === undefined || number(next) > number(task.desiredState)) return undefined;
    const { endsAfterMs, exitCode = 0, isRejected = false, isStuck = false } = this.command(task);
    if (next === "ready" && isStuck) return undefined;
    if (next === "preparing" && isRejected) return this.#with(task, "rejected");
    if (next === "running" && endsAfterMs === 0) return this.#ended(task, exitCode);
    if (next === "running") this.#since.set(task.id, this.clock.now());
    return this.#with(task, next);
  }

  #scheduled(task: Task): Task | undefined {
    if (number(task.desiredState) > number("complete")) return undefined;
    const nodes = [...this.store.view().each("node")].filter(isReady);
    const ids = nodes.map(({ id }) => id).sort();
    const nodeId = task.nodeId === "" ? ids[this.random.int(ids.length)] : task.nodeId;
    if (nodeId === undefined || !ids.includes(nodeId)) return undefined;
    return { ...this.#with(task, "assigned"), nodeId };
  }

  #run(task: Task): Task | undefined {
    const { endsAfterMs, exitCode = 0 } = this.command(task);
    const since = this.#since.get(task.id) ?? this.clock.now();
    if (endsAfterMs === undefined || this.clock.now() - since < endsAfterMs) return undefined;
    return this.#ended(task, exitCode);
  }

  #stopping(task: Task): Task | undefined {
    const key = `stop ${task.id}`;
    const since = this.#since.get(key) ?? this.clock.now();
    this.#since.set(key, since);
    const { stopsAfterMs = 10 } = this.command(task);
    if (state(task) === "running" && this.clock.now() - since < stopsAfterMs) return undefined;
    return this.#with(task, "shutdown");
  }

  #ended(task: Task, exitCode: number): Task {
    return this.#with(task, exitCode === 0 ? "complete" : "failed");
  }

  #with(task: Task, next: TaskState): Task {
    const status = TaskStatus.create({ state: next, timestampMs: this.clock.now() });
    return { ...task, status };
  }

  #updateNode(id: string, change: (n: Node) => Node): Promise<void> {
    return this.store.update((tx) => {
      const before = tx.get("node", id);
      if (before === undefined) throw new Error(`no node ${id}`);
      tx.update("node", change(before));
    });
  }
}

/** What a test says of a service. */
export interface ServiceParts {
  readonly image?: string;
  readonly restart?: RestartPolicy | undefined;
  readonly constraints?: readonly string[];
  readonly spec?: Partial<ServiceSpec>;
}

/** Time between two steps of scheduler and agents, milliseconds. */
const stepMs = 10;

function serviceSpec(name: string, parts: ServiceParts): ServiceSpec {
  return ServiceSpec.create({
    annotations: { name, labels: {} },
    task: TaskSpec.create({
      runtime: parts.image ?? "app",
      restart: parts.restart,
      placement:
        parts.constraints === undefined
          ? undefined
          : Placement.create({ constraints: parts.constraints }),
    }),
    ...parts.spec,
  });
}

function replicated(replicas: number): ServiceMode {
  return ServiceMode.create({ replicated: ReplicatedMode.create({ replicas }) });
}

function isReady(n: Node): boolean {
  return n.status?.state === "ready" && (n.spec?.availability ?? "active") === "active";
}

function state(task: Task): TaskState {
  return task.status?.state ?? "new";
}
