/**
 * Nodes that change under their tasks: labels, role and resources that do not fit any more, and what has to go.
 */
import assert from "node:assert/strict";
import {
  type Node,
  NodeDescription,
  Placement,
  ResourceRequirements,
  Resources,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { taskToJson } from "../../../../../src/engine/translate/task.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/enforcer/loop", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(3);
    for (const id of ["n1", "n2", "n3"]) await label(id, { disk: "ssd" });
  });
  afterEach(() => cluster.end());

  function change(id: string, next: (node: Node) => Node): Promise<void> {
    return cluster.store.update((tx) => {
      const node = tx.get("node", id);
      if (node !== undefined) tx.update("node", next(node));
    });
  }

  const label = (id: string, labels: Readonly<Record<string, string>>) =>
    change(id, (node) => ({
      ...node,
      spec: {
        desiredRole: "worker",
        availability: "active",
        ...node.spec,
        annotations: { name: "", labels },
      },
    }));

  const availability = (id: string, wanted: "active" | "pause") =>
    change(id, (node) => ({
      ...node,
      spec: { desiredRole: "worker", annotations: undefined, ...node.spec, availability: wanted },
    }));

  const shrink = (id: string, cpus: number) =>
    change(id, (node) => ({
      ...node,
      description: NodeDescription.create({
        ...node.description,
        resources: Resources.create({ nanoCpus: cpus * 1e9, memoryBytes: 1e9 }),
      }),
    }));

  const nodes = (id = "web") =>
    cluster
      .runningTasks(id)
      .map(({ nodeId }) => nodeId)
      .sort();

  const reserving = (cpus: number) => ({
    spec: {
      task: TaskSpec.create({
        runtime: "app",
        resources: ResourceRequirements.create({
          reservations: Resources.create({ nanoCpus: cpus * 1e9 }),
        }),
      }),
    },
  });

  it("moves what a node's labels do not allow any more, and stops it first", async () => {
    await cluster.createService("web", 3, { constraints: ["node.labels.disk==ssd"] });
    await cluster.createService("other", 3);
    await cluster.pass(500);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
    cluster.command = () => ({ stopsAfterMs: 1_000 });
    let most = 0;
    cluster.onChange.push(() => {
      const alive = cluster.tasks("web").filter(({ status }) => status?.state === "running");
      most = Math.max(most, alive.length);
    });
    await label("n2", { disk: "rust" });
    await cluster.pass(500);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    await cluster.pass(1_500);
    const after = nodes();
    assert.equal(after.length, 3);
    assert.ok(!after.includes("n2"));
    assert.equal(most, 3);
    assert.deepEqual(nodes("other"), ["n1", "n2", "n3"]);
    assert.equal(cluster.tasks("other").length, 3);
  });

  it("has them shown as rejected at once, while their status stays what the agent sees", async () => {
    await cluster.createService("web", 1, { constraints: ["node.labels.disk==ssd"] });
    await cluster.pass(500);
    const [id = ""] = nodes();
    cluster.command = () => ({ stopsAfterMs: 1_000 });
    await label(id, { disk: "rust" });
    await cluster.pass(100);
    const there = () => cluster.tasks("web").find((task) => task.nodeId === id);
    const shown = () => {
      const task = there();
      assert.ok(task !== undefined);
      const { Status, DesiredState } = taskToJson(task, () => undefined);
      const { State, Message, Err } = Status as Readonly<Record<string, string>>;
      return [DesiredState, State, Message, Err];
    };
    const rejected = [
      "shutdown",
      "rejected",
      "task rejected by constraint enforcer",
      "assigned node no longer meets constraints",
    ];
    assert.equal(there()?.status?.state, "running");
    assert.deepEqual(shown(), rejected);
    await cluster.pass(1_500);
    assert.equal(there()?.status?.state, "shutdown");
    assert.deepEqual(shown(), rejected);
    assert.deepEqual(
      cluster.tasks("web").filter(({ rejection }) => rejection !== undefined),
      [there()],
    );
  });

  it("leaves tasks on a paused node until it is active again", async () => {
    await cluster.createService("web", 3, { constraints: ["node.labels.disk==ssd"] });
    await cluster.pass(500);
    await availability("n2", "pause");
    await label("n2", { disk: "rust" });
    await cluster.pass(1_000);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
    await availability("n2", "active");
    await cluster.pass(1_000);
    assert.ok(!nodes().includes("n2") && nodes().length === 3);
  });

  it("finds what changed while no leader was there", async () => {
    await cluster.createService("web", 3, { constraints: ["node.labels.disk==ssd"] });
    await cluster.pass(500);
    await cluster.end();
    await label("n1", {});
    cluster.elect();
    await cluster.pass(1_000);
    assert.ok(!nodes().includes("n1") && nodes().length === 3);
  });

  it("leaves tasks where they are that a later change of the service allows there", async () => {
    await cluster.createService("web", 3, { constraints: ["node.labels.disk==ssd"] });
    await cluster.pass(500);
    await cluster.updateService("web", (spec) => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, placement: Placement.create() }),
    }));
    await cluster.pass(500);
    await label("n2", { disk: "rust" });
    await cluster.pass(1_000);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
    assert.equal(cluster.tasks("web").length, 3);
  });

  it("moves what came last where a node has less than its tasks reserve", async () => {
    for (const id of ["n1", "n2", "n3"]) await shrink(id, 4);
    await cluster.createService("old", 3, reserving(2));
    await cluster.pass(500);
    await cluster.createService("web", 3, reserving(1));
    await cluster.pass(500);
    assert.deepEqual(
      [nodes("old"), nodes()],
      [
        ["n1", "n2", "n3"],
        ["n1", "n2", "n3"],
      ],
    );
    await shrink("n3", 2.5);
    await cluster.pass(1_000);
    assert.deepEqual(nodes("old"), ["n1", "n2", "n3"]);
    assert.equal(nodes().length, 3);
    assert.ok(!nodes().includes("n3"));
  });

  it("has a global task wait for its node where nothing is left for it", async () => {
    for (const id of ["n1", "n2", "n3"]) await shrink(id, 4);
    await cluster.createGlobal("web", reserving(2));
    await cluster.pass(500);
    await shrink("n2", 1);
    await cluster.pass(1_000);
    assert.deepEqual(nodes(), ["n1", "n3"]);
    const waiting = cluster.tasks("web").filter(({ status }) => status?.state === "pending");
    assert.deepEqual(
      waiting.map(({ nodeId }) => nodeId),
      ["n2"],
    );
    await shrink("n2", 4);
    await cluster.pass(6_000);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
  });
});
