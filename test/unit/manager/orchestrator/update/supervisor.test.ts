/**
 * Rolling updates over a real store, with played agents: order, parallelism, delay, failures, rollback, leader changes.
 */
import assert from "node:assert/strict";
import {
  ContainerSpec,
  EarlierImage,
  NodeDescription,
  Placement,
  RestartPolicy,
  type Service,
  ServiceImage,
  ServiceSpec,
  type Task,
  TaskSpec,
  UpdateConfig,
  UpdateStatus,
} from "../../../../../src/common/api/generated/api.ts";
import { parsePlatform } from "../../../../../src/common/platform/match.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/update/supervisor", () => {
  let cluster: FakeCluster;
  /** Most tasks of a service that were wanted at a time, and fewest that ran. */
  let wantedMax: number;
  let runningMin: number;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(3);
    wantedMax = 0;
    runningMin = 1000;
  });
  afterEach(() => cluster.end());

  const image = (task: Task) => task.spec?.runtime;
  const images = () => cluster.runningTasks("web").map(image).sort();
  const status = () => cluster.service("web").updateStatus;

  function withImage(runtime: string, update?: Partial<UpdateConfig>) {
    return (spec: ServiceSpec): ServiceSpec => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, runtime }),
      update: update === undefined ? spec.update : UpdateConfig.create(update),
    });
  }

  async function start(replicas: number, update?: Partial<UpdateConfig>): Promise<void> {
    const restart = RestartPolicy.create({ condition: "any", delayNs: 1e9 });
    const spec = update === undefined ? {} : { update: UpdateConfig.create(update) };
    await cluster.createService("web", replicas, { restart, spec });
    await cluster.pass(300);
    cluster.onChange.push(() => {
      const tasks = cluster.tasks("web");
      const wanted = tasks.filter(({ desiredState }) => desiredState === "running");
      wantedMax = Math.max(wantedMax, wanted.length);
      runningMin = Math.min(runningMin, cluster.runningTasks("web").length);
    });
  }

  it("takes one slot after the other, old task first", async () => {
    await start(3);
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(2_000);
    assert.deepEqual(images(), ["new", "new", "new"]);
    assert.equal(wantedMax, 3);
    assert.equal(runningMin, 2);
    assert.equal(status()?.state, "updating");
    assert.equal(status()?.message, "update in progress");
    await cluster.pass(5_000);
    assert.equal(status()?.state, "completed");
    assert.equal(status()?.message, "update completed");
    assert.ok((status()?.completedAtMs ?? 0) > (status()?.startedAtMs ?? 0));
  });

  it("never has a new task run before the old one of its slot has stopped", async () => {
    await start(2);
    cluster.command = () => ({ stopsAfterMs: 2_000 });
    const bad: string[] = [];
    cluster.onChange.push(() => {
      for (const slot of [1, 2]) {
        const running = cluster
          .tasks("web")
          .filter((task) => task.slot === slot && task.status?.state === "running");
        if (running.length > 1) bad.push(`slot ${slot}`);
      }
    });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(5_000);
    assert.deepEqual(images(), ["new", "new"]);
    assert.deepEqual(bad, []);
  });

  it("starts the new task first when asked to, and keeps all running", async () => {
    await start(3, { order: "start-first", parallelism: 1 });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(2_000);
    assert.deepEqual(images(), ["new", "new", "new"]);
    assert.equal(wantedMax, 4);
    assert.equal(runningMin, 3);
  });

  it("takes as many at a time as allowed, and waits in between", async () => {
    await start(6, { parallelism: 2, delayNs: 3e9 });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(1_500);
    assert.equal(images().filter((name) => name === "new").length, 2);
    await cluster.pass(3_000);
    assert.equal(images().filter((name) => name === "new").length, 4);
    assert.equal(runningMin, 4);
    await cluster.pass(10_000);
    assert.equal(status()?.state, "completed");
  });

  it("waits for its first places only to show that the command does not fail at its start", async () => {
    await start(6, { parallelism: 2, monitorNs: 5e9 });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(500);
    assert.equal(images().filter((name) => name === "new").length, 2);
    await cluster.pass(700);
    assert.equal(images().filter((name) => name === "new").length, 6);
    assert.equal(runningMin, 4);
  });

  it("takes all at once when the parallelism is 0", async () => {
    await start(5, { parallelism: 0 });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(400);
    assert.equal(images().filter((name) => name === "new").length, 5);
  });

  it("pauses when a new task fails, and leaves the other slots alone", async () => {
    await start(3);
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 300, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(4_000);
    assert.equal(status()?.state, "paused");
    assert.match(
      status()?.message ?? "",
      /^update paused due to failure or early termination of task [0-9a-z]{25}$/,
    );
    const untouched = () => images().filter((name) => name === "app").length;
    assert.equal(untouched(), 2);
    cluster.elect();
    await cluster.pass(4_000);
    assert.equal(untouched(), 2);
    await cluster.updateService("web", withImage("good"));
    await cluster.pass(10_000);
    assert.deepEqual(images(), ["good", "good", "good"]);
    assert.equal(status()?.state, "completed");
  });

  it("counts a task that ends within the monitored time, and none later", async () => {
    await start(1, { monitorNs: 2e9, parallelism: 1 });
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 1_500, exitCode: 0 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(3_000);
    assert.equal(status()?.state, "paused");
    cluster.command = (task) => (image(task) === "late" ? { endsAfterMs: 2_500, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("late", { monitorNs: 2e9, parallelism: 1 }));
    await cluster.pass(6_000);
    assert.equal(status()?.state, "completed");
  });

  it("goes on over failures when told to continue", async () => {
    await start(3, { failureAction: "continue", parallelism: 1 });
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 100, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(12_000);
    assert.equal(status()?.state, "completed");
    assert.ok(!images().includes("app"));
  });

  it("bears as many failures as the ratio allows", async () => {
    await start(4, { maxFailureRatio: 0.3, parallelism: 1 });
    cluster.command = (task) =>
      image(task) === "bad" && task.slot === 2 ? { endsAfterMs: 100, exitCode: 1 } : {};
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(12_000);
    assert.equal(status()?.state, "completed");
  });

  it("rolls back to the previous spec, once, and says so", async () => {
    await start(3, { failureAction: "rollback", parallelism: 1, monitorNs: 1e9 });
    const states: (string | undefined)[] = [];
    cluster.onChange.push((change) => {
      if (change.table !== "service") return;
      const { state, message } = (change.object as Service).updateStatus ?? {};
      const text = `${state}: ${message?.replace(/[0-9a-z]{25}/, "ID")}`;
      if (states[states.length - 1] !== text) states.push(text);
    });
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 100, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(15_000);
    assert.deepEqual(states.slice(1), [
      "updating: update in progress",
      "rollback-started: update rolled back due to failure or early termination of task ID",
      "rollback-completed: rollback completed",
    ]);
    assert.deepEqual(images(), ["app", "app", "app"]);
    assert.equal(cluster.service("web").previousSpec, undefined);
  });

  it("takes a place back without its restart delay, and is through only when its task runs", async () => {
    const restart = RestartPolicy.create({ condition: "any", delayNs: 60e9 });
    const update = UpdateConfig.create({ failureAction: "rollback", parallelism: 1 });
    await cluster.createService("web", 3, { restart, spec: { update } });
    await cluster.pass(300);
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 100, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(3_000);
    assert.deepEqual(images(), ["app", "app", "app"]);
    assert.equal(status()?.state, "rollback-started");
    await cluster.pass(5_000);
    assert.equal(status()?.state, "rollback-completed");
  });

  it("pauses a rollback that fails", async () => {
    await start(2, { failureAction: "rollback", parallelism: 1, monitorNs: 1e9 });
    const first = new Set(cluster.tasks("web").map(({ id }) => id));
    cluster.command = ({ id }) => (first.has(id) ? {} : { endsAfterMs: 100, exitCode: 1 });
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(15_000);
    assert.equal(status()?.state, "rollback-paused");
    assert.match(
      status()?.message ?? "",
      /^update paused due to failure or early termination of task /,
    );
  });

  it("goes on with an update that another leader began", async () => {
    await start(6, { parallelism: 1, delayNs: 1e9 });
    await cluster.updateService("web", withImage("new"));
    for (let i = 0; i < 12; i++) {
      await cluster.pass(700);
      cluster.elect();
    }
    await cluster.pass(10_000);
    assert.deepEqual(images(), Array(6).fill("new"));
    assert.equal(runningMin, 5);
    assert.equal(status()?.state, "completed");
  });

  it("counts a failure although the leader changed since the task was made", async () => {
    await start(3, { parallelism: 1, monitorNs: 5e9, delayNs: 4e9 });
    cluster.command = (task) => (image(task) === "bad" ? { endsAfterMs: 2_000, exitCode: 1 } : {});
    await cluster.updateService("web", withImage("bad"));
    await cluster.pass(1_000);
    cluster.elect();
    await cluster.pass(2_000);
    assert.equal(status()?.state, "paused");
    assert.equal(images().filter((name) => name === "app").length, 2);
  });

  it("pauses a rollback the user asked for, rather than go forth again", async () => {
    await start(2, { parallelism: 1 });
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(8_000);
    const first = new Set(cluster.tasks("web").map(({ id }) => id));
    cluster.command = ({ id }) => (first.has(id) ? {} : { endsAfterMs: 100, exitCode: 1 });
    await cluster.store.update((tx) => {
      const service = tx.get("service", "web");
      if (service?.previousSpec === undefined) throw new Error("no previous spec");
      const rollback = UpdateConfig.create({ failureAction: "rollback", parallelism: 1 });
      tx.update("service", {
        ...service,
        spec: { ...service.previousSpec, rollback },
        specVersion: service.previousSpecVersion,
        previousSpec: service.spec,
        previousSpecVersion: service.specVersion,
        updateStatus: UpdateStatus.create({ state: "rollback-started" }),
      });
    });
    await cluster.pass(5_000);
    assert.equal(status()?.state, "rollback-paused");
    assert.equal(cluster.service("web").spec?.task?.runtime, "app");
  });

  it("waits for the task that follows one whose node was drained", async () => {
    await start(1, { parallelism: 1, monitorNs: 1e8 });
    // The first new task never gets as far as to run.
    cluster.command = (task) => (task.restart === undefined ? { isStuck: true } : {});
    await cluster.updateService("web", withImage("new"));
    await cluster.pass(2_000);
    const stuck = cluster.tasks("web").find((task) => image(task) === "new");
    cluster.command = (task) => (image(task) === "new" ? { isStuck: true } : {});
    await cluster.setAvailability(stuck?.nodeId ?? "", "drain");
    await cluster.pass(2_000);
    assert.equal(status()?.state, "updating");
    cluster.command = () => ({});
    await cluster.pass(1_000);
    assert.deepEqual(images(), ["new"]);
    assert.equal(status()?.state, "completed");
  });

  it("gives an update up for the next one", async () => {
    await start(4, { parallelism: 1, delayNs: 2e9 });
    await cluster.updateService("web", withImage("one"));
    await cluster.pass(500);
    await cluster.updateService("web", withImage("two"));
    await cluster.pass(20_000);
    assert.deepEqual(images(), Array(4).fill("two"));
    assert.equal(status()?.state, "completed");
  });

  it("replaces nothing when only the number of replicas changes", async () => {
    await start(3);
    await cluster.scale("web", 5);
    await cluster.pass(500);
    await cluster.scale("web", 2);
    await cluster.pass(2_000);
    assert.equal(status(), undefined);
    const [first, second] = cluster.runningTasks("web");
    assert.equal(first?.specVersion, 0);
    assert.equal(second?.specVersion, 0);
  });

  it("replaces only what a new constraint drives from its node", async () => {
    await start(6);
    const before = new Map(cluster.runningTasks("web").map(({ id, nodeId }) => [id, nodeId]));
    await cluster.updateService("web", (spec) => ({
      ...spec,
      task: TaskSpec.create({
        ...spec.task,
        placement: { constraints: ["node.id!=n1"], preferences: [], platforms: [], maxReplicas: 0 },
      }),
    }));
    await cluster.pass(12_000);
    const after = cluster.runningTasks("web");
    assert.equal(after.length, 6);
    for (const { id } of after) assert.notEqual(before.get(id), "n1");
    const stayed = after.filter(({ id }) => before.has(id)).length;
    assert.equal(stayed, [...before.values()].filter((nodeId) => nodeId !== "n1").length);
  });

  it("gives tasks that completed one of the new spec", async () => {
    cluster.command = () => ({ endsAfterMs: 100 });
    const restart = RestartPolicy.create({ condition: "none" });
    await cluster.createService("web", 2, { restart });
    await cluster.pass(1_000);
    await cluster.updateService("web", withImage("new", { failureAction: "continue" }));
    await cluster.pass(3_000);
    assert.deepEqual(
      cluster
        .tasks("web")
        .filter((task) => task.status?.state === "complete")
        .map(image)
        .sort(),
      ["app", "app", "new", "new"],
    );
  });

  it("replaces all tasks of a forced update, and takes the rollback's own configuration on the way back", async () => {
    await start(4, { parallelism: 1, delayNs: 1e9, monitorNs: 1e8 });
    const before = new Set(cluster.runningTasks("web").map(({ id }) => id));
    await cluster.updateService("web", (spec) => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, forceUpdate: 1 }),
      rollback: UpdateConfig.create({ parallelism: 0, order: "start-first", monitorNs: 1e8 }),
    }));
    await cluster.pass(10_000);
    assert.equal(status()?.state, "completed");
    assert.ok(cluster.runningTasks("web").every(({ id }) => !before.has(id)));
    wantedMax = 0;
    await cluster.store.update((tx) => {
      const service = tx.get("service", "web");
      if (service?.spec === undefined) throw new Error("no spec");
      tx.update("service", {
        ...service,
        spec: { ...service.spec, task: TaskSpec.create({ ...service.spec.task, forceUpdate: 0 }) },
        specVersion: service.meta?.version ?? 0,
        updateStatus: UpdateStatus.create({ state: "rollback-started" }),
      });
    });
    await cluster.pass(500);
    assert.equal(wantedMax, 8);
    await cluster.pass(500);
    assert.equal(status()?.state, "rollback-completed");
    assert.equal(status()?.message, "rollback completed");
  });

  describe("with a progress deadline", () => {
    const labels = { "skep.update.deadline": "30s" };
    const annotations = { name: "web", labels };
    const stuck = (task: Task) => (image(task) === "stuck" ? { isStuck: true } : {});

    it("pauses when no place gets through in time, and says so", async () => {
      await start(3);
      cluster.command = stuck;
      await cluster.updateService("web", (spec) => ({ ...withImage("stuck")(spec), annotations }));
      await cluster.pass(29_000);
      assert.equal(status()?.state, "updating");
      await cluster.pass(2_000);
      assert.equal(status()?.state, "paused");
      assert.match(
        status()?.message ?? "",
        /^update paused due to no progress in 30 s \(skep.update.deadline\), waiting for task [0-9a-z]{25}$/,
      );
      assert.deepEqual(images(), ["app", "app"]);
    });

    it("rolls back when it is to, and begins anew with each place", async () => {
      await start(3);
      cluster.command = (task) =>
        image(task) === "slow" && task.slot === 3 ? { isStuck: true } : {};
      await cluster.updateService("web", (spec) => ({
        ...withImage("slow", { parallelism: 1, delayNs: 20e9, failureAction: "rollback" })(spec),
        annotations,
      }));
      await cluster.pass(60_000);
      assert.equal(status()?.state, "updating");
      await cluster.pass(12_000);
      assert.match(status()?.message ?? "", /^update rolled back due to no progress in 30 s/);
      await cluster.pass(20_000);
      assert.deepEqual(images(), ["app", "app", "app"]);
      assert.equal(status()?.state, "rollback-completed");
    });

    it("is off by default", async () => {
      await start(2);
      cluster.command = stuck;
      await cluster.updateService("web", withImage("stuck"));
      await cluster.pass(120_000);
      assert.equal(status()?.state, "updating");
    });
  });

  describe("start-first without room", () => {
    beforeEach(async () => {
      await cluster.end();
      cluster = new FakeCluster(1, { realScheduler: true });
      await cluster.begin(2);
    });

    async function updated(change: (task: TaskSpec) => TaskSpec): Promise<void> {
      const placement = Placement.create({ maxReplicas: 1 });
      const update = UpdateConfig.create({ order: "start-first", parallelism: 1, monitorNs: 1e9 });
      await cluster.createService("web", 2, { spec: { update } });
      await cluster.updateService("web", (spec) => ({
        ...spec,
        task: TaskSpec.create({ ...spec.task, placement }),
      }));
      await cluster.pass(5_000);
      assert.deepEqual(images(), ["app", "app"]);
      await cluster.updateService("web", (spec) => ({
        ...spec,
        task: change(TaskSpec.create({ ...spec.task, runtime: "new" })),
      }));
    }

    it("lets go of the old task, one place after the other", async () => {
      await updated((task) => task);
      await cluster.pass(4_000);
      assert.deepEqual(images(), ["app", "app"]);
      await cluster.pass(3_000);
      assert.deepEqual(images(), ["app", "new"]);
      assert.match(
        status()?.message ?? "",
        /^update in progress: found no room beside the old task for [0-9a-z]{25}, so the old one was stopped first$/,
      );
      await cluster.pass(10_000);
      assert.deepEqual(images(), ["new", "new"]);
      assert.equal(status()?.state, "completed");
    });

    it("keeps the old task where the new one could not run without it either", async () => {
      await updated((task) => ({
        ...task,
        placement: Placement.create({ maxReplicas: 1, constraints: ["node.id==nowhere"] }),
      }));
      await cluster.pass(60_000);
      assert.deepEqual(images(), ["app", "app"]);
      assert.equal(status()?.state, "updating");
    });
  });

  it("replaces only tasks for whose nodes an image that was pushed again is another one", async () => {
    const [old = "", next = ""] = ["a", "b"].map((hex) => `app:1@sha256:${hex.repeat(64)}`);
    const platforms = ["linux/amd64", "linux/arm64"].map(parsePlatform);
    await cluster.store.update((tx) => {
      for (const node of tx.list("node")) {
        const own = platforms[node.id === "n3" ? 1 : 0];
        const description = NodeDescription.create({ platforms: own === undefined ? [] : [own] });
        tx.update("node", { ...node, description });
      }
    });
    const withReference = (image: string) => (spec: ServiceSpec) => ({
      ...spec,
      task: TaskSpec.create({ container: ContainerSpec.create({ image }) }),
    });
    const note = (image: Partial<ServiceImage>) =>
      cluster.store.update((tx) =>
        tx.update("service", { ...cluster.service("web"), image: ServiceImage.create(image) }),
      );
    await cluster.createGlobal("web", { spec: withReference(old)(ServiceSpec.create()) });
    const before = { reference: old, platforms, manifests: ["x1", "a1"] };
    await note(before);
    await cluster.pass(300);
    const ids = () => new Map(cluster.runningTasks("web").map(({ id, nodeId }) => [nodeId, id]));
    const had = ids();
    assert.equal(had.size, 3);
    await cluster.updateService("web", withReference(next));
    await cluster.pass(2_000);
    assert.deepEqual(ids(), had, "the registry has not answered yet");
    const earlier = [EarlierImage.create(before)];
    await note({ reference: next, platforms, manifests: ["x1", "a2"], earlier });
    await cluster.pass(2_000);
    const has = ids();
    const same = [...has].filter(([nodeId, id]) => had.get(nodeId) === id);
    assert.deepEqual(same.map(([nodeId]) => nodeId).sort(), ["n1", "n2"]);
    assert.equal(has.size, 3);
    await cluster.pass(8_000);
    assert.equal(status()?.state, "completed");
  });
});
