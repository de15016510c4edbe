/**
 * Drained nodes over a real store, with played agents: what starts elsewhere first, what does not, and what comes between.
 */
import assert from "node:assert/strict";
import {
  RestartPolicy,
  type Task,
  UpdateConfig,
  type UpdateOrder,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/handover/loop", () => {
  let cluster: FakeCluster;
  /** Fewest that ran, and most that were wanted, since the drain. */
  let runningMin: number;
  let wantedMax: number;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(3);
  });
  afterEach(() => cluster.end());

  const nodes = () =>
    cluster
      .runningTasks("web")
      .map(({ nodeId }) => nodeId)
      .sort();
  const wanted = () =>
    cluster.tasks("web").filter(({ desiredState }) => desiredState === "running");
  const isNew = (task: Task) => task.restart !== undefined;

  async function start(order: UpdateOrder, constraints: readonly string[] = []): Promise<void> {
    const restart = RestartPolicy.create({ condition: "any", delayNs: 1e9 });
    const spec = { update: UpdateConfig.create({ order, parallelism: 1 }) };
    await cluster.createService("web", 3, { restart, spec, constraints });
    await cluster.pass(500);
    [runningMin, wantedMax] = [1000, 0];
    cluster.onChange.push(() => {
      runningMin = Math.min(runningMin, cluster.runningTasks("web").length);
      wantedMax = Math.max(wantedMax, wanted().length);
    });
  }

  it("starts the successor first where the service says so", async () => {
    await start("start-first");
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(1_000);
    assert.equal(nodes().includes("n2"), false);
    assert.equal(nodes().length, 3);
    assert.deepEqual([runningMin, wantedMax], [3, 4]);
  });

  it("stops first where it does not", async () => {
    await start("stop-first");
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(1_000);
    assert.equal(nodes().includes("n2"), false);
    assert.deepEqual([nodes().length, runningMin, wantedMax], [3, 2, 3]);
  });

  it("empties the node after all where nothing else has room", async () => {
    await start("start-first", ["node.id==n2"]);
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(4_000);
    assert.deepEqual(nodes(), ["n2", "n2", "n2"]);
    await cluster.pass(3_000);
    assert.deepEqual(nodes(), []);
    assert.equal(wanted().length, 3);
    await cluster.setAvailability("n2", "active");
    await cluster.pass(1_000);
    assert.deepEqual(nodes(), ["n2", "n2", "n2"]);
  });

  it("empties the node after all where new tasks fail", async () => {
    await start("start-first");
    cluster.command = (task) => (isNew(task) ? { endsAfterMs: 0, exitCode: 1 } : {});
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(2_000);
    assert.equal(nodes().includes("n2"), true);
    await cluster.pass(2_000);
    assert.equal(nodes().includes("n2"), false);
  });

  it("takes back the new task where the node is wanted again", async () => {
    await start("start-first");
    const before = cluster.runningTasks("web").map(({ id }) => id);
    cluster.command = (task) => ({ isStuck: isNew(task) });
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(500);
    assert.equal(wanted().length, 4);
    await cluster.setAvailability("n2", "active");
    await cluster.pass(500);
    assert.deepEqual(
      wanted().map(({ id }) => id),
      before,
    );
  });

  it("goes on with the new task of another leader, even one whose clock is behind", async () => {
    await start("start-first");
    let isStuck = true;
    cluster.command = (task) => ({ isStuck: isStuck && isNew(task) });
    await cluster.setAvailability("n2", "drain");
    await cluster.pass(500);
    // As a leader would have made it whose clock is an hour behind.
    await cluster.store.update((tx) => {
      for (const { id } of wanted().filter(isNew)) {
        const task = tx.get("task", id);
        if (task?.meta === undefined) continue;
        tx.update("task", { ...task, meta: { ...task.meta, createdAtMs: 1 } });
      }
    });
    cluster.elect();
    await cluster.pass(200);
    assert.equal(wanted().length, 4);
    isStuck = false;
    await cluster.pass(1_000);
    assert.equal(nodes().includes("n2"), false);
    assert.deepEqual([nodes().length, runningMin, wantedMax], [3, 3, 4]);
  });

  it("lets the service be updated meanwhile", async () => {
    await start("start-first");
    await cluster.setAvailability("n2", "drain");
    await cluster.updateService("web", (spec) => ({
      ...spec,
      task: spec.task === undefined ? undefined : { ...spec.task, runtime: "new" },
    }));
    await cluster.pass(20_000);
    assert.equal(nodes().includes("n2"), false);
    assert.deepEqual(
      cluster.runningTasks("web").map(({ spec }) => spec?.runtime),
      ["new", "new", "new"],
    );
    assert.equal(wanted().length, 3);
    assert.equal(runningMin, 3);
  });
});
