/**
 * Specs with the data they ran with, under everything at once, from a seed: new data, new images, updates of both while one
 * is under way, rollbacks by hand and by themselves, to numbers too, while nodes fall silent and leaders change, with what
 * these had not committed lost.
 *
 * After every change: no task mixes what no spec of its service had together, none is made of data that is not kept, and
 * nothing is removed that may be needed. Once all is well, each task is as its service says. A failure names its seed.
 */
import assert from "node:assert/strict";
import { updateConfig } from "../../../../manager/control/payloads.ts";
import { updateService } from "../../../../manager/control/services.ts";
import type { Change } from "../../../../manager/state/change.ts";
import { hasPayload } from "../../../../manager/state/payload.ts";
import {
  Annotations,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  FileTarget,
  type Service,
  type ServiceSpec,
  type Task,
  TaskSpec,
  TaskStateNumber,
  UpdateConfig,
  UpdateServiceRequest,
} from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { type Random, seededRandom } from "../../../../src/common/random/random.ts";
import { payloadReferences } from "../../../../src/common/spec/payload-revision.ts";
import { keptSpecs } from "../../../../src/common/spec/service-revisions.ts";
import { type Command, FakeCluster } from "../../../support/fake-cluster.ts";

const services = ["alone", "shop", "shop-too"];
const configs = ["page", "rules"];
const nodeCount = 4;

/** What tasks of a spec run: image, and data of each config. */
function workOf({ task }: Pick<ServiceSpec, "task"> = { task: undefined }): string {
  const data = payloadReferences(task).map(({ id, revision }) => `${id}.${revision}`);
  return [task?.container?.image ?? "", ...data].join(" ");
}

/** One run. */
class Simulation {
  readonly cluster: FakeCluster;
  readonly faults: string[] = [];
  readonly #random: Random;
  /** Everything a service was to run at some time. */
  readonly #wanted = new Map<string, Set<string>>();
  #made = 1;
  #isCalm = false;

  constructor(seed: number) {
    this.cluster = new FakeCluster(seed);
    this.#random = seededRandom(seed + 2_000_003);
    this.cluster.command = (task) => this.#command(task);
    this.cluster.onChange.push((change) => this.#look(change));
  }

  async run(steps: number): Promise<void> {
    const { cluster } = this;
    await cluster.begin(nodeCount, 3);
    await cluster.store.update((tx) => {
      for (const id of configs)
        tx.create("config", Config.create({ id, spec: this.#data(id), revision: 1 }));
    });
    for (const id of services)
      await cluster.createService(id, 3, { spec: this.#spec(id, "web:1", []) });
    for (let i = 0; i < steps && this.faults.length === 0; i++) {
      await this.#act();
      cluster.isSlow = this.#random.int(3) === 0;
      await cluster.pass(10 * (1 + this.#random.int(80)));
    }
    cluster.isSlow = false;
    await this.#heal();
    // A stack's services are left alone for a while after its last deployment.
    for (let i = 0; i < 18 && this.faults.length === 0; i++) {
      await cluster.pass(5_000);
      if (this.#unsettled().length === 0) break;
    }
    this.faults.push(...this.#unsettled());
    await cluster.end();
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.int(list.length)] as T;
  }

  #data(name: string): ConfigSpec {
    const annotations = Annotations.create({ name });
    return ConfigSpec.create({ annotations, data: Buffer.from(`${name} ${this.#made++}`) });
  }

  #spec(name: string, image: string, update: readonly UpdateConfig[]): Partial<ServiceSpec> {
    const stack = name.startsWith("shop") ? { "com.docker.stack.namespace": "shop" } : {};
    const references = configs.map((id) =>
      ConfigReference.create({
        configId: id,
        configName: id,
        file: FileTarget.create({ name: id }),
      }),
    );
    const container = ContainerSpec.create({ image, configs: references });
    return {
      annotations: Annotations.create({ name, labels: stack }),
      task: TaskSpec.create({ container }),
      update: update[0],
    };
  }

  #command({ spec }: Task): Command {
    const isBad = spec?.container?.image.startsWith("bad") === true;
    if (isBad && !this.#isCalm) return { endsAfterMs: 20, exitCode: 1 };
    return {};
  }

  async #act(): Promise<void> {
    const { cluster } = this;
    const id = this.#pick(services);
    const node = `n${1 + this.#random.int(nodeCount)}`;
    switch (this.#random.int(13)) {
      case 0:
        return cluster.setNode(node, "down");
      case 1:
      case 2:
        return cluster.setNode(node, "ready");
      case 3:
      case 4:
        return this.#loseLeader();
      case 5:
        return cluster.replaceState();
      case 6:
      case 7:
        return this.#change(this.#pick(configs));
      case 8:
        return this.#rollBack(id, { rollback: "previous" });
      case 9: {
        const numbers = cluster.service(id).revisions.map(({ note }) => note?.number ?? 0);
        return numbers.length === 0
          ? undefined
          : this.#rollBack(id, { rollbackTo: this.#pick(numbers) });
      }
      default:
        return this.#update(id, this.#pick(["web", "web", "bad"]));
    }
  }

  /** What was decided but not committed is lost with its leader, or is there for the next. */
  async #loseLeader(): Promise<void> {
    const { cluster } = this;
    cluster.log.automatic = false;
    await cluster.clock.advance(10 + this.#random.int(200));
    if (this.#random.int(2) === 0) cluster.log.overwrite();
    cluster.elect();
    cluster.log.automatic = true;
    cluster.log.commit();
  }

  #change(id: string): Promise<void> {
    const spec = this.#data(id);
    return this.cluster.store.update((tx) => {
      const version = tx.get("config", id)?.meta?.version ?? 0;
      updateConfig(tx, { id, version, spec });
    });
  }

  #update(id: string, kind: string): Promise<void> {
    const config = UpdateConfig.create({
      parallelism: this.#random.int(3),
      monitorNs: this.#pick([1e8, 1e9]),
      failureAction: this.#pick(["pause", "continue", "rollback"]),
      order: this.#pick(["stop-first", "start-first"]),
    });
    const spec = this.#spec(id, `${kind}:${this.#made++}`, [config]);
    return this.#call(id, spec, {});
  }

  async #rollBack(id: string, to: Partial<UpdateServiceRequest>): Promise<void> {
    const { cluster } = this;
    const { previousSpec, revisions, spec } = cluster.service(id);
    const number = to.rollbackTo ?? 0;
    const kept = revisions.find(({ note }) => note?.number === number)?.spec;
    const wanted = number === 0 ? previousSpec : kept;
    try {
      await this.#call(id, {}, to);
    } catch (error) {
      if (!(error instanceof ClusterError) || wanted !== undefined) throw error;
      return;
    }
    const now = cluster.service(id);
    const fault = (text: string) => this.faults.push(`${id}: rolled back, ${text}`);
    if (workOf(now.spec) !== workOf(wanted)) fault(`${workOf(now.spec)}, not ${workOf(wanted)}`);
    if (workOf(now.previousSpec) !== workOf(spec))
      fault("does not know what it was taken back from");
  }

  /** As a client does: it knows nothing of revisions. */
  #call(
    id: string,
    parts: Partial<ServiceSpec>,
    more: Partial<UpdateServiceRequest>,
  ): Promise<void> {
    const { clock, random, store } = this.cluster;
    return store.update((tx) => {
      const service = tx.get("service", id);
      const request = UpdateServiceRequest.create({
        id,
        version: service?.meta?.version ?? 0,
        spec: { ...service?.spec, ...parts } as ServiceSpec,
        ...more,
      });
      const environment = { now: clock.now(), random, objectId: "x", members: [], selfId: "m" };
      updateService(tx, request, environment);
    });
  }

  async #heal(): Promise<void> {
    this.#isCalm = true;
    for (let i = 1; i <= nodeCount; i++) await this.cluster.setNode(`n${i}`, "ready");
    // A paused update waits for its user.
    for (const id of services) await this.#update(id, "healed");
  }

  /** What must hold after every change. */
  #look(change: Change): void {
    if (change.table === "service" && change.kind !== "remove") this.#lookAtService(change);
    if (change.table === "task" && change.kind === "create") this.#lookAtTask(change.object);
    if (change.table === "payload" && change.kind === "remove")
      this.#lookAtRemoval(change.object.id);
  }

  #lookAtService({ object, old }: { object: Service; old?: Service | undefined }): void {
    const fault = (text: string) => this.faults.push(`${object.id}: ${text}`);
    const wanted = this.#wanted.get(object.id) ?? new Set();
    this.#wanted.set(object.id, wanted.add(workOf(object.spec)));
    const numbers = [...object.revisions.map(({ note }) => note), object.revision].map(
      (note) => note?.number ?? 1,
    );
    if (new Set(numbers).size < numbers.length) fault(`has revisions ${numbers.join(", ")}`);
    if (numbers.length > 11) fault(`keeps ${numbers.length} specs`);
    if (old === undefined || object.spec === old.spec) return;
    if (object.revision?.cause.startsWith("rolled back by itself") === true) {
      if (workOf(object.spec) !== workOf(old.previousSpec))
        fault(`went back by itself to ${workOf(object.spec)}, not ${workOf(old.previousSpec)}`);
    }
    if (object.revision?.automatic !== true || object.revision === old.revision) return;
    // Nobody asked for it: only data that the service has never had.
    const had = new Set(keptSpecs(old).flatMap((spec) => workOf(spec).split(" ").slice(1)));
    const news = workOf(object.spec).split(" ").slice(1);
    const changed = news.filter((one) => !workOf(old.spec).split(" ").includes(one));
    for (const one of changed) if (had.has(one)) fault(`was taken to ${one} again`);
    if (object.spec?.task?.container?.image !== old.spec?.task?.container?.image)
      fault("got another image with new data");
  }

  #lookAtTask(task: Task): void {
    const work = workOf({ task: task.spec });
    const fault = (text: string) => this.faults.push(`task ${task.id} of ${work}: ${text}`);
    if (this.#wanted.get(task.serviceId)?.has(work) !== true) fault("nobody wanted this together");
    const view = this.cluster.store.view();
    for (const { kind, id, revision } of payloadReferences(task.spec))
      if (!hasPayload(view, kind, id, revision)) fault(`${id}.${revision} is not kept`);
  }

  #lookAtRemoval(payload: string): void {
    const view = this.cluster.store.view();
    for (const service of view.each("service")) {
      for (const spec of keptSpecs(service))
        if (workOf(spec).split(" ").includes(payload))
          this.faults.push(`${payload} was removed, which ${service.id} may go back to`);
    }
    for (const task of view.each("task")) {
      const isAlive = TaskStateNumber(task.status?.state ?? "new") <= TaskStateNumber("running");
      if (isAlive && workOf({ task: task.spec }).split(" ").includes(payload))
        this.faults.push(`${payload} was removed, with which task ${task.id} runs`);
    }
  }

  /** What is not as the users want it. */
  #unsettled(): string[] {
    const faults: string[] = [];
    const { cluster } = this;
    for (const id of services) {
      const { spec, updateStatus } = cluster.service(id);
      const works = cluster.runningTasks(id).map((task) => workOf({ task: task.spec }));
      const wanted = Array.from({ length: 3 }, () => workOf(spec));
      if (works.join() !== wanted.join())
        faults.push(`${id} runs ${works.join()}, not ${wanted.join()}`);
      const present = configs.map(
        (name) => `${name}.${cluster.store.view().get("config", name)?.revision}`,
      );
      const isNew = present.every((one) => workOf(spec).split(" ").includes(one));
      if (!isNew) faults.push(`${id} is to run ${workOf(spec)}, not ${present.join(" ")}`);
      if ((updateStatus?.state ?? "completed") !== "completed")
        faults.push(`${id} is ${updateStatus?.state}`);
    }
    return faults;
  }
}

describe("manager/orchestrator revisions under faults", () => {
  const from = Number(process.env["ORCHESTRATOR_SEED"] ?? 1);
  const runs = Number(process.env["ORCHESTRATOR_RUNS"] ?? 6);

  for (let seed = from; seed < from + runs; seed++) {
    it(`keep image and data together, and all that may be needed, seed ${seed}`, async () => {
      const simulation = new Simulation(seed);
      await simulation.run(60);
      assert.deepEqual(simulation.faults.slice(0, 5), []);
    });
  }
});
