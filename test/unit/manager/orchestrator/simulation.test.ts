/**
 * The orchestrators under everything at once, from a seed: nodes go down, return, are drained and paused, tasks fail, hang and
 * complete, services are made, scaled, updated, rolled back and removed, leaders change, the store is replaced as a whole.
 *
 * After every change the rules hold that must always hold; once all is well again the cluster is as the users want it. A
 * failure names its seed.
 */
import assert from "node:assert/strict";
import { placeKey, placeOf } from "../../../../manager/orchestrator/slot.ts";
import type { Change } from "../../../../manager/state/change.ts";
import {
  Rebalance,
  RestartPolicy,
  type ServiceSpec,
  type Task,
  TaskSpec,
  TaskStateNumber,
  UpdateConfig,
} from "../../../../src/common/api/generated/api.ts";
import type { Random } from "../../../../src/common/random/random.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { type Command, FakeCluster } from "../../../support/fake-cluster.ts";

const number = TaskStateNumber;
const nodeCount = 5;
const replicasMax = 8;
const historyLimit = 3;
/** Longest a task takes to stop. */
const stopMaxMs = 400;

/** One run. */
class Simulation {
  readonly cluster: FakeCluster;
  readonly #random: Random;
  readonly faults: string[] = [];
  readonly #services: string[] = [];
  /** Slots that were wanted of a service at the last look. */
  readonly #wantedSlots = new Map<string, number>();
  #made = 0;
  #isCalm = false;

  constructor(seed: number) {
    this.cluster = new FakeCluster(seed);
    this.#random = seededRandom(seed + 1_000_003);
    this.cluster.command = (task) => this.#command(task);
    this.cluster.onChange.push((change) => this.#look(change));
  }

  async run(steps: number): Promise<void> {
    await this.cluster.begin(nodeCount, historyLimit);
    for (let i = 0; i < steps && this.faults.length === 0; i++) {
      await this.#act();
      this.cluster.isSlow = this.#random.int(3) === 0;
      await this.cluster.pass(10 * (1 + this.#random.int(60)));
    }
    this.cluster.isSlow = false;
    await this.#heal();
    // Back-off, monitored updates and the wait for predecessors run out within this.
    for (let i = 0; i < 12 && this.faults.length === 0; i++) {
      await this.cluster.pass(10_000);
      if (this.#unsettled().length === 0) break;
    }
    this.faults.push(...this.#unsettled());
    await this.cluster.end();
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.int(list.length)] as T;
  }

  /** Tasks behave by their id, so that they go on as they began. */
  #command({ id, spec }: Task): Command {
    const digit = Number.parseInt(id.slice(-2), 36) % 20;
    const stopsAfterMs = 10 + ((digit * 37) % stopMaxMs);
    if (this.#isCalm) return { stopsAfterMs };
    if (spec?.runtime === "bad") return { endsAfterMs: digit * 10, exitCode: 1, stopsAfterMs };
    if (digit === 0) return { endsAfterMs: 1_500, exitCode: 1, stopsAfterMs };
    return { stopsAfterMs };
  }

  async #act(): Promise<void> {
    const { cluster } = this;
    const node = `n${1 + this.#random.int(nodeCount)}`;
    const id = this.#services.length === 0 ? undefined : this.#pick(this.#services);
    switch (this.#random.int(15)) {
      case 0:
        return cluster.setNode(node, "down");
      case 1:
      case 2:
        return cluster.setNode(node, "ready");
      case 3:
        return cluster.setAvailability(node, this.#pick(["active", "active", "pause", "drain"]));
      case 4:
      case 5:
        return this.#services.length < 4 ? this.#create() : undefined;
      case 6:
        return id === undefined ? undefined : this.#remove(id);
      case 7:
        return cluster.elect();
      case 8:
        return cluster.replaceState();
      case 9:
        return id === undefined ? undefined : this.#failOne(id);
      case 10:
      case 11:
        return id === undefined ? undefined : this.#scale(id);
      case 12:
        return id === undefined ? undefined : this.#rebalance(id);
      default:
        return id === undefined ? undefined : cluster.updateService(id, this.#changed());
    }
  }

  #rebalance(id: string): Promise<void> {
    const { store, clock } = this.cluster;
    return store.update((tx) => {
      const service = tx.get("service", id);
      const rebalance = Rebalance.create({ askedAtMs: clock.now() });
      if (service?.spec?.mode?.replicated !== undefined)
        tx.update("service", { ...service, rebalance });
    });
  }

  async #create(): Promise<void> {
    const id = `s${++this.#made}`;
    this.#services.push(id);
    const restart = this.#pick([
      undefined,
      RestartPolicy.create({ condition: "any", delayNs: 1e9 }),
      RestartPolicy.create({ condition: "any", delayNs: 0 }),
    ]);
    const spec = { update: this.#update() };
    if (this.#random.int(3) === 0) await this.cluster.createGlobal(id, { restart, spec });
    else await this.cluster.createService(id, this.#random.int(replicasMax), { restart, spec });
  }

  #update(): UpdateConfig {
    return UpdateConfig.create({
      parallelism: this.#random.int(4),
      delayNs: this.#pick([0, 0, 2e8]),
      monitorNs: this.#pick([1e8, 1e9]),
      order: this.#pick(["stop-first", "start-first"]),
      failureAction: this.#pick(["pause", "continue", "rollback"]),
      maxFailureRatio: this.#pick([0, 0.3]),
    });
  }

  #changed(): (spec: ServiceSpec) => ServiceSpec {
    const runtime = this.#pick(["app", "one", "two", "bad"]);
    const update = this.#update();
    return (spec) => ({ ...spec, update, task: TaskSpec.create({ ...spec.task, runtime }) });
  }

  async #remove(id: string): Promise<void> {
    this.#services.splice(this.#services.indexOf(id), 1);
    await this.cluster.removeService(id);
  }

  async #scale(id: string): Promise<void> {
    if (this.cluster.service(id).spec?.mode?.replicated === undefined) return;
    await this.cluster.scale(id, this.#random.int(replicasMax));
  }

  async #failOne(id: string): Promise<void> {
    const running = this.cluster.runningTasks(id);
    if (running.length > 0) await this.cluster.fail(this.#pick(running).id);
  }

  async #heal(): Promise<void> {
    this.#isCalm = true;
    for (let i = 1; i <= nodeCount; i++) {
      await this.cluster.setAvailability(`n${i}`, "active");
      await this.cluster.setNode(`n${i}`, "ready");
    }
    // A paused update waits for its user.
    for (const id of this.#services) {
      await this.cluster.updateService(id, (spec) => ({
        ...spec,
        task: TaskSpec.create({ ...spec.task, runtime: "healed" }),
      }));
    }
  }

  /** What must hold after every change. */
  #look(change: Change): void {
    if (change.table !== "task") return;
    const { object: task, old } = change;
    const fault = (text: string) =>
      this.faults.push(`task ${task.id} in ${placeKey(placeOf(task))}: ${text}`);
    if (change.kind === "remove") {
      const isOver = number(task.status?.state ?? "new") > number("running");
      const isTold = number(task.status?.state ?? "new") >= number("assigned");
      if (isTold && !isOver) fault(`was deleted in state ${task.status?.state}`);
      if (number(task.desiredState) <= number("running"))
        fault("was deleted although it is wanted");
      return;
    }
    this.#lookAtPlace(task, fault);
    this.#lookAtNumber(task, fault);
    if (old === undefined) return;
    if (number(task.desiredState) < number(old.desiredState))
      fault(`is wanted ${task.desiredState} after ${old.desiredState}`);
    if (number(task.status?.state ?? "new") < number(old.status?.state ?? "new"))
      fault(`is ${task.status?.state} after ${old.status?.state}`);
    if (old.nodeId !== "" && task.nodeId !== old.nodeId) fault("was moved");
    if (old.desiredState === "ready" && task.desiredState === "running")
      this.#lookAtStart(task, fault);
  }

  /** Held-back tasks start when their time has come, and no predecessor is being stopped that could be waited for. */
  #lookAtStart(task: Task, fault: (text: string) => void): void {
    const startAtMs = task.restart?.startAtMs ?? 0;
    if (this.cluster.clock.now() < startAtMs)
      fault(`starts ${startAtMs - this.cluster.clock.now()} ms early`);
    for (const other of this.#tasksAt(task)) {
      const state = number(other.status?.state ?? "new");
      const isStopping =
        number(other.desiredState) > number("running") &&
        state >= number("assigned") &&
        state <= number("running");
      if (other.id !== task.id && isStopping && !this.cluster.wasLost(other.nodeId))
        fault(`starts while ${other.id} is being stopped`);
    }
  }

  #lookAtPlace(task: Task, fault: (text: string) => void): void {
    const wanted = this.#tasksAt(task).filter((t) => number(t.desiredState) <= number("running"));
    const alive = wanted.filter((t) => number(t.status?.state ?? "new") <= number("running"));
    const versions = new Set(alive.map((t) => `${t.specVersion} ${t.besideId}`));
    if (versions.size < alive.length) fault("has a twin of its version");
    if (task.slot > replicasMax) fault("is in a slot nobody wants");
  }

  /** Slots beyond the replicas only ever become fewer. */
  #lookAtNumber(task: Task, fault: (text: string) => void): void {
    const { cluster } = this;
    const service = cluster.store.view().get("service", task.serviceId);
    if (service?.spec?.mode?.replicated === undefined) return;
    const wanted = cluster
      .tasks(service.id)
      .filter((t) => number(t.desiredState) <= number("running"));
    const slots = new Set(wanted.map(({ slot }) => slot)).size;
    const before = this.#wantedSlots.get(service.id) ?? 0;
    const { replicas } = service.spec.mode.replicated;
    if (slots > Math.max(replicas, before)) fault(`makes ${slots} slots of ${replicas}`);
    this.#wantedSlots.set(service.id, slots);
  }

  #tasksAt(task: Task): Task[] {
    const key = placeKey(placeOf(task));
    return this.cluster.tasks(task.serviceId).filter((other) => placeKey(placeOf(other)) === key);
  }

  /** What is not as the users want it. */
  #unsettled(): string[] {
    const faults: string[] = [];
    const { cluster } = this;
    const view = cluster.store.view();
    for (const task of view.each("task")) {
      if (view.get("service", task.serviceId) === undefined)
        faults.push(`task ${task.id} of removed ${task.serviceId} is still there`);
    }
    for (const id of this.#services) {
      const { spec, updateStatus } = cluster.service(id);
      const wanted = spec?.mode?.replicated?.replicas ?? nodeCount;
      const running = cluster.runningTasks(id);
      const places = new Set(running.map((task) => placeKey(placeOf(task))));
      if (places.size !== wanted || running.length !== wanted)
        faults.push(`${id} runs ${running.length} tasks in ${places.size} places, not ${wanted}`);
      const others = cluster.tasks(id).filter((t) => number(t.desiredState) <= number("running"));
      if (others.length !== wanted) faults.push(`${id} wants ${others.length}, not ${wanted}`);
      const outdated = running.filter((task) => task.spec?.runtime !== spec?.task?.runtime);
      if (outdated.length > 0) faults.push(`${id} has ${outdated.length} outdated tasks`);
      const state = updateStatus?.state ?? "completed";
      if (state !== "completed") faults.push(`${id} is ${state}`);
      for (const task of running) {
        const kept = this.#tasksAt(task).length;
        if (kept > historyLimit) faults.push(`${placeKey(placeOf(task))} keeps ${kept} tasks`);
      }
    }
    return faults;
  }
}

describe("manager/orchestrator under faults", () => {
  const from = Number(process.env["ORCHESTRATOR_SEED"] ?? 1);
  const runs = Number(process.env["ORCHESTRATOR_RUNS"] ?? 12);

  for (let seed = from; seed < from + runs; seed++) {
    it(`keeps the rules and converges, seed ${seed}`, async () => {
      const simulation = new Simulation(seed);
      await simulation.run(60);
      assert.deepEqual(simulation.faults.slice(0, 5), []);
    });
  }
});
