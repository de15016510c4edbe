/**
 * Replicated services over a real store, with played agents: create, scale, remove, restart, nodes that go and return.
 */
import assert from "node:assert/strict";
import { RestartPolicy, type Task } from "../../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/replicated/loop", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(3);
  });
  afterEach(() => cluster.end());

  const slots = (tasks: readonly Task[]) => tasks.map(({ slot }) => slot).sort((a, b) => a - b);
  const at = (slot: number) => cluster.tasks("web").filter((task) => task.slot === slot);

  it("runs a task in every slot from 1", async () => {
    await cluster.createService("web", 4);
    await cluster.pass(300);
    assert.deepEqual(slots(cluster.runningTasks("web")), [1, 2, 3, 4]);
  });

  it("fills the lowest free slots when scaling up", async () => {
    await cluster.createService("web", 2);
    await cluster.pass(300);
    await cluster.scale("web", 5);
    await cluster.pass(300);
    assert.deepEqual(slots(cluster.runningTasks("web")), [1, 2, 3, 4, 5]);
    assert.equal(cluster.tasks("web").length, 5);
  });

  it("leaves nothing of the slots it scaled down", async () => {
    await cluster.createService("web", 5);
    await cluster.pass(300);
    await cluster.scale("web", 2);
    await cluster.pass(1_000);
    assert.equal(cluster.tasks("web").length, 2);
    assert.equal(cluster.runningTasks("web").length, 2);
  });

  it("shuts the tasks of a removed service down before it deletes them", async () => {
    const last = new Map<string, string>();
    cluster.onChange.push((change) => {
      if (change.table === "task" && change.kind === "remove") {
        last.set(change.object.id, change.object.status?.state ?? "new");
      }
    });
    await cluster.createService("web", 3);
    await cluster.pass(300);
    await cluster.removeService("web");
    await cluster.pass(1_000);
    assert.deepEqual([...last.values()], ["shutdown", "shutdown", "shutdown"]);
    assert.equal(cluster.store.view().count("task"), 0);
  });

  it("replaces a failed task in its slot after five seconds", async () => {
    await cluster.createService("web", 2);
    await cluster.pass(300);
    const [old] = at(1);
    await cluster.fail(old?.id ?? "");
    await cluster.pass(4_900);
    assert.deepEqual(slots(cluster.runningTasks("web")), [2]);
    assert.equal(at(1).length, 2);
    await cluster.pass(300);
    assert.deepEqual(slots(cluster.runningTasks("web")), [1, 2]);
    const [first] = at(1).filter(({ id }) => id === old?.id);
    assert.equal(first?.desiredState, "shutdown");
  });

  it("waits as long for a task that cannot be prepared", async () => {
    cluster.command = () => ({ isRejected: true });
    const made: number[] = [];
    const begin = cluster.clock.now();
    cluster.onChange.push((change) => {
      if (change.table === "task" && change.kind === "create")
        made.push(Math.round((cluster.clock.now() - begin) / 1_000));
    });
    const restart = RestartPolicy.create({ condition: "any", delayNs: 2e9 });
    await cluster.createService("web", 1, { restart });
    await cluster.pass(7_000);
    assert.deepEqual(made, [0, 0, 2, 4, 6]);
  });

  it("waits longer and longer where the user set no delay", async () => {
    cluster.command = () => ({ endsAfterMs: 10, exitCode: 1 });
    const begin = cluster.clock.now();
    const started: number[] = [];
    cluster.onChange.push((change) => {
      if (change.table !== "task" || change.old?.status?.state === "running") return;
      if (change.object.status?.state === "running")
        started.push(Math.round((cluster.clock.now() - begin) / 1_000));
    });
    await cluster.createService("web", 1);
    await cluster.pass(80_000);
    assert.deepEqual(started, [0, 5, 15, 35, 75]);
  });

  it("begins the waits anew after a long run", async () => {
    cluster.command = () => ({ endsAfterMs: 10, exitCode: 1 });
    await cluster.createService("web", 1);
    await cluster.pass(20_000);
    cluster.command = () => ({ endsAfterMs: 61_000, exitCode: 1 });
    await cluster.pass(20_000 + 61_000);
    assert.equal(cluster.runningTasks("web").length, 0);
    const last = cluster.tasks("web").find(({ desiredState }) => desiredState === "ready");
    assert.equal((last?.restart?.startAtMs ?? 0) - (last?.meta?.createdAtMs ?? 0), 5_000);
  });

  it("replaces what was lost with its node at once", async () => {
    await cluster.createService("web", 6);
    await cluster.pass(300);
    await cluster.setNode("n1", "down");
    await cluster.pass(200);
    assert.deepEqual(slots(cluster.runningTasks("web")), [1, 2, 3, 4, 5, 6]);
  });

  it("shuts down what a returned node still runs, and moves nothing back", async () => {
    await cluster.createService("web", 6);
    await cluster.pass(300);
    await cluster.setNode("n1", "down");
    await cluster.pass(300);
    await cluster.setNode("n1", "ready");
    await cluster.pass(300);
    const view = cluster.store.view();
    assert.equal(cluster.runningTasks("web").length, 6);
    assert.deepEqual(
      view.find("task", "node", "n1").filter((task) => task.status?.state === "running"),
      [],
    );
  });

  it("empties a drained node and leaves a paused one alone", async () => {
    await cluster.createService("web", 6);
    await cluster.pass(300);
    const paused = cluster.runningTasks("web").filter(({ nodeId }) => nodeId === "n2").length;
    await cluster.setAvailability("n2", "pause");
    await cluster.setAvailability("n1", "drain");
    await cluster.pass(400);
    const running = cluster.runningTasks("web");
    assert.equal(running.length, 6);
    assert.equal(running.filter(({ nodeId }) => nodeId === "n1").length, 0);
    assert.equal(running.filter(({ nodeId }) => nodeId === "n2").length, paused);
  });

  it("does not run a completed task again under on-failure, and counts its slot as held", async () => {
    cluster.command = () => ({ endsAfterMs: 100, exitCode: 0 });
    const restart = RestartPolicy.create({ condition: "on-failure", delayNs: 0 });
    await cluster.createService("web", 2, { restart });
    await cluster.pass(1_000);
    assert.deepEqual(
      cluster.tasks("web").map((task) => task.status?.state),
      ["complete", "complete"],
    );
    cluster.elect();
    await cluster.pass(1_000);
    assert.equal(cluster.tasks("web").length, 2);
  });

  it("keeps no more than the history limit of a task that fails all the time", async () => {
    cluster.command = () => ({ endsAfterMs: 10, exitCode: 1 });
    await cluster.createService("web", 1, {
      restart: RestartPolicy.create({ condition: "any", delayNs: 0 }),
    });
    await cluster.pass(3_000);
    cluster.command = () => ({});
    await cluster.pass(600);
    const tasks = cluster.tasks("web");
    assert.equal(tasks.length, 5);
    assert.equal(tasks.filter(({ desiredState }) => desiredState === "running").length, 1);
  });

  it("gives up after the attempts the user allowed, whoever leads", async () => {
    cluster.command = () => ({ endsAfterMs: 10, exitCode: 1 });
    const restart = RestartPolicy.create({ condition: "any", delayNs: 0, maxAttempts: 3 });
    await cluster.createService("web", 1, { restart });
    for (let i = 0; i < 20; i++) {
      await cluster.pass(50);
      cluster.elect();
    }
    await cluster.pass(2_000);
    assert.equal(cluster.tasks("web").length, 4);
    assert.deepEqual(cluster.runningTasks("web"), []);
  });

  it("goes on with a restart delay that began under another leader", async () => {
    await cluster.createService("web", 1);
    await cluster.pass(300);
    await cluster.fail(at(1)[0]?.id ?? "");
    await cluster.pass(3_000);
    cluster.elect();
    await cluster.pass(1_500);
    assert.equal(cluster.runningTasks("web").length, 0);
    await cluster.pass(700);
    assert.equal(cluster.runningTasks("web").length, 1);
  });
});
