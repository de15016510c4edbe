/**
 * Services that are spread anew, over a real store and scheduler with played agents: on request and by themselves, in the
 * order of their updates, and what stays where it is.
 */
import assert from "node:assert/strict";
import {
  ContainerSpec,
  Mount,
  Rebalance,
  TaskSpec,
  UpdateConfig,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/rebalance/loop", () => {
  let cluster: FakeCluster;
  /** Fewest that ran, and most that were wanted at a time. */
  let runningMin: number;
  let wantedMax: number;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(2);
  });
  afterEach(() => cluster.end());

  const even = "n1 n1 n2 n2 n3 n3";
  const before = "n1 n1 n1 n2 n2 n2";
  const nodes = () =>
    cluster
      .runningTasks("web")
      .map(({ nodeId }) => nodeId)
      .sort()
      .join(" ");
  const wanted = () =>
    cluster.tasks("web").filter(({ desiredState: d }) => d === "running" || d === "ready");
  const rebalance = () => cluster.service("web").rebalance;

  async function start(
    parts: {
      readonly update?: Partial<UpdateConfig>;
      readonly labels?: Readonly<Record<string, string>>;
      readonly container?: Partial<ContainerSpec>;
    } = {},
  ): Promise<void> {
    const { update = { parallelism: 1 }, labels = {}, container = {} } = parts;
    const spec = {
      update: UpdateConfig.create(update),
      annotations: { name: "web", labels },
      task: TaskSpec.create({ container: ContainerSpec.create(container) }),
    };
    await cluster.createService("web", 6, { spec });
    await cluster.pass(500);
    assert.equal(nodes(), before);
    await cluster.addNode("n3");
    [runningMin, wantedMax] = [1000, 0];
    cluster.onChange.push(() => {
      runningMin = Math.min(runningMin, cluster.runningTasks("web").length);
      wantedMax = Math.max(wantedMax, wanted().length);
    });
  }

  const ask = () =>
    cluster.store.update((tx) => {
      const asked = Rebalance.create({ askedAtMs: cluster.clock.now() });
      tx.update("service", { ...cluster.service("web"), rebalance: asked });
    });

  it("moves nothing unless it is asked to", async () => {
    await start();
    await cluster.pass(15_000);
    assert.equal(nodes(), before);
  });

  it("moves one after the other, prepared before the old one stops", async () => {
    await start();
    cluster.command = () => ({ stopsAfterMs: 200 });
    await ask();
    await cluster.pass(3_000);
    assert.equal(nodes(), even);
    assert.deepEqual([runningMin, wantedMax], [5, 7]);
    assert.equal(rebalance()?.moved, 2);
    assert.ok((rebalance()?.completedAtMs ?? 0) >= (rebalance()?.askedAtMs ?? 0));
    assert.equal(wanted().length, 6);
  });

  it("has the new ones run first where the service says so, as many at a time as it says", async () => {
    await start({ update: { parallelism: 2, order: "start-first" } });
    await ask();
    await cluster.pass(3_000);
    assert.equal(nodes(), even);
    assert.deepEqual([runningMin, wantedMax], [6, 8]);
    assert.equal(rebalance()?.moved, 2);
  });

  it("waits as long between moves as between places of an update", async () => {
    await start({ update: { parallelism: 1, delayNs: 4e9 } });
    await ask();
    await cluster.pass(2_000);
    assert.equal(nodes().match(/n3/g)?.length, 1);
    await cluster.pass(4_000);
    assert.equal(nodes(), even);
  });

  it("leaves tasks with local volumes where they are, and ends", async () => {
    const mounts = [Mount.create({ type: "volume", source: "data", target: "/data" })];
    await start({ container: { mounts } });
    await ask();
    await cluster.pass(1_000);
    assert.equal(nodes(), before);
    assert.equal(rebalance()?.moved, 0);
    assert.notEqual(rebalance()?.completedAtMs, 0);
  });

  it("keeps the old task where the new one does not come up, and ends", async () => {
    await start({ update: { parallelism: 0, order: "start-first" } });
    cluster.command = (task) => (task.besideId === "" ? {} : { endsAfterMs: 0, exitCode: 1 });
    await ask();
    await cluster.pass(5_000);
    assert.equal(nodes(), before);
    assert.deepEqual([runningMin, wanted().length], [6, 6]);
    assert.equal(rebalance()?.moved, 0);
    assert.notEqual(rebalance()?.completedAtMs, 0);
  });

  it("goes on under another leader", async () => {
    await start();
    await ask();
    await cluster.pass(100);
    cluster.elect();
    await cluster.pass(5_000);
    assert.equal(nodes(), even);
    assert.equal(wanted().length, 6);
    assert.notEqual(rebalance()?.completedAtMs, 0);
  });

  it("waits for the moves that the leader before began", async () => {
    await start({ update: { parallelism: 2, order: "start-first" } });
    cluster.command = (task) => (task.besideId === "" ? {} : { isStuck: true });
    await ask();
    await cluster.pass(500);
    cluster.elect();
    await cluster.pass(500);
    cluster.command = () => ({});
    await cluster.pass(5_000);
    assert.equal(nodes(), even);
    assert.deepEqual([runningMin, wantedMax], [6, 8]);
    assert.equal(cluster.tasks("web").filter(({ besideId }) => besideId !== "").length, 2);
    assert.equal(rebalance()?.moved, 2);
  });

  it("does it by itself where the label says so, once the node has come to rest", async () => {
    await start({ labels: { "skep.rebalance": "auto" } });
    await cluster.pass(8_000);
    assert.equal(nodes(), before);
    await cluster.pass(5_000);
    assert.equal(nodes(), even);
  });

  it("leaves it at that for a while, however often a node comes and goes", async () => {
    await start({ labels: { "skep.rebalance": "auto" } });
    await cluster.pass(15_000);
    assert.equal(nodes(), even);
    await cluster.setNode("n3", "down");
    await cluster.pass(2_000);
    assert.equal(nodes(), before);
    await cluster.setNode("n3", "ready");
    await cluster.pass(30_000);
    assert.equal(nodes(), before);
    await cluster.leap(5 * 60_000);
    await cluster.pass(2_000);
    assert.equal(nodes(), even);
  });

  it("does not wait for the next node where nothing had to move", async () => {
    await start({ labels: { "skep.rebalance": "auto" } });
    await cluster.setNode("n3", "down");
    await cluster.pass(2_000);
    cluster.elect();
    await cluster.pass(15_000);
    assert.equal(nodes(), before);
    await cluster.setNode("n3", "ready");
    await cluster.pass(15_000);
    assert.equal(nodes(), even);
  });

  it("leaves a service alone that is being updated", async () => {
    await start();
    await cluster.updateService("web", (spec) => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, runtime: "new" }),
    }));
    await ask();
    await cluster.pass(40_000);
    assert.equal(cluster.service("web").updateStatus?.state, "completed");
    assert.equal(wantedMax, 6);
    assert.equal(nodes(), even);
  });
});
