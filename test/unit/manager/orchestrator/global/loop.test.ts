/**
 * Global services over a real store, with played agents: nodes that come, go, return, are drained, paused, relabelled.
 */
import assert from "node:assert/strict";
import {
  RestartPolicy,
  TaskSpec,
  UpdateConfig,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/global/loop", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(3);
  });
  afterEach(() => cluster.end());

  const nodes = () =>
    cluster
      .runningTasks("all")
      .map(({ nodeId }) => nodeId)
      .sort();

  it("runs one task on every node, and on one that joins", async () => {
    await cluster.createGlobal("all");
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
    await cluster.addNode("n4");
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n2", "n3", "n4"]);
    assert.equal(cluster.tasks("all").length, 4);
  });

  it("keeps to the constraints, also when they change", async () => {
    await cluster.createGlobal("all", { constraints: ["node.id!=n2"] });
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    await cluster.updateService("all", (spec) => ({
      ...spec,
      task: TaskSpec.create({
        ...spec.task,
        placement: { constraints: ["node.id!=n1"], preferences: [], platforms: [], maxReplicas: 0 },
      }),
    }));
    await cluster.pass(500);
    assert.deepEqual(nodes(), ["n2", "n3"]);
  });

  it("shuts down on a lost node, and starts anew when it is back", async () => {
    await cluster.createGlobal("all");
    await cluster.pass(300);
    await cluster.setNode("n2", "down");
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    assert.equal(cluster.tasks("all").filter((t) => t.desiredState === "running").length, 2);
    await cluster.setNode("n2", "ready");
    await cluster.pass(500);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
  });

  it("stops the old task of a returned node before it starts the new one", async () => {
    let both = 0;
    await cluster.createGlobal("all");
    await cluster.pass(300);
    cluster.command = () => ({ stopsAfterMs: 1_000 });
    cluster.onChange.push(() => {
      const running = cluster
        .tasks("all")
        .filter((task) => task.nodeId === "n2" && task.status?.state === "running");
      both = Math.max(both, running.length);
    });
    await cluster.setNode("n2", "down");
    await cluster.pass(300);
    await cluster.setNode("n2", "ready");
    await cluster.pass(2_000);
    assert.equal(both, 1);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
  });

  it("empties a drained node, and a paused one keeps what it has", async () => {
    await cluster.createGlobal("all");
    await cluster.pass(300);
    await cluster.setAvailability("n1", "drain");
    await cluster.setAvailability("n2", "pause");
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n2", "n3"]);
    await cluster.createGlobal("other");
    await cluster.pass(300);
    assert.deepEqual(
      cluster.runningTasks("other").map(({ nodeId }) => nodeId),
      ["n3"],
    );
    await cluster.setAvailability("n1", "active");
    await cluster.setAvailability("n2", "active");
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
    assert.equal(cluster.runningTasks("other").length, 3);
  });

  it("replaces a failed task on its own node", async () => {
    await cluster.createGlobal("all", { restart: RestartPolicy.create({ delayNs: 1e9 }) });
    await cluster.pass(300);
    const task = cluster.runningTasks("all").find(({ nodeId }) => nodeId === "n2");
    await cluster.fail(task?.id ?? "");
    await cluster.pass(900);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    await cluster.pass(400);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
  });

  it("leaves a task alone that completed under on-failure, also after an election", async () => {
    cluster.command = () => ({ endsAfterMs: 50 });
    const restart = RestartPolicy.create({ condition: "on-failure", delayNs: 0 });
    await cluster.createGlobal("all", { restart });
    await cluster.pass(500);
    cluster.elect();
    await cluster.pass(500);
    assert.equal(cluster.tasks("all").length, 3);
  });

  it("updates node by node, and a paused node once it is active", async () => {
    await cluster.createGlobal("all");
    await cluster.pass(300);
    await cluster.setAvailability("n2", "pause");
    await cluster.updateService("all", (spec) => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, runtime: "new" }),
      update: UpdateConfig.create({ parallelism: 1, monitorNs: 1e9 }),
    }));
    await cluster.pass(3_000);
    const images = () =>
      Object.fromEntries(cluster.runningTasks("all").map((t) => [t.nodeId, t.spec?.runtime]));
    assert.deepEqual(images(), { n1: "new", n2: "app", n3: "new" });
    assert.equal(cluster.service("all").updateStatus?.state, "completed");
    await cluster.setAvailability("n2", "active");
    await cluster.pass(3_000);
    assert.deepEqual(images(), { n1: "new", n2: "new", n3: "new" });
  });

  it("forgets a node that was removed", async () => {
    await cluster.createGlobal("all");
    await cluster.pass(300);
    await cluster.setNode("n2", "down");
    await cluster.pass(100);
    await cluster.store.update((tx) => tx.remove("node", "n2"));
    await cluster.pass(300);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    assert.equal(cluster.tasks("all").filter((t) => t.desiredState === "running").length, 2);
  });
});
