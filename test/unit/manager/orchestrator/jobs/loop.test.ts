/**
 * Jobs over a real store, with played agents: completions, concurrency, failures, lost nodes, further runs, leader changes.
 */
import assert from "node:assert/strict";
import {
  GlobalJobMode,
  JobStatus,
  ReplicatedJobMode,
  RestartPolicy,
  Service,
  ServiceMode,
  ServiceSpec,
  type Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/jobs/loop", () => {
  let cluster: FakeCluster;
  /** Most tasks of the job that were alive at a time. */
  let aliveMax: number;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(3);
    cluster.command = () => ({ endsAfterMs: 100 });
    aliveMax = 0;
    cluster.onChange.push(() => {
      const alive = cluster
        .tasks("job")
        .filter(({ status }) => ["starting", "running"].includes(status?.state ?? "new"));
      aliveMax = Math.max(aliveMax, alive.length);
    });
  });
  afterEach(() => cluster.end());

  function create(mode: Partial<ServiceMode>, restart?: RestartPolicy): Promise<void> {
    const spec = ServiceSpec.create({
      annotations: { name: "job", labels: {} },
      task: TaskSpec.create({ runtime: "app", restart }),
      mode: ServiceMode.create(mode),
    });
    const jobStatus = JobStatus.create({ lastExecutionMs: cluster.clock.now() });
    return cluster.store.update((tx) =>
      tx.create("service", Service.create({ id: "job", spec, jobStatus })),
    );
  }

  const replicated = (totalCompletions: number, maxConcurrent: number) => ({
    replicatedJob: ReplicatedJobMode.create({ totalCompletions, maxConcurrent }),
  });
  const globalMode = { globalJob: GlobalJobMode.create() };

  /** As control does for every update. */
  async function runAgain(): Promise<void> {
    await cluster.store.update((tx) => {
      const service = cluster.service("job");
      const { jobIteration = 0 } = service.jobStatus ?? {};
      const jobStatus = JobStatus.create({
        jobIteration: jobIteration + 1,
        lastExecutionMs: cluster.clock.now(),
      });
      tx.update("service", { ...service, jobStatus });
    });
  }

  const inState = (...states: readonly string[]) =>
    cluster.tasks("job").filter(({ status }) => states.includes(status?.state ?? "new"));
  const slots = (tasks: readonly Task[]) => tasks.map(({ slot }) => slot).sort((a, b) => a - b);

  it("completes every slot once, so many at a time", async () => {
    await create(replicated(5, 2));
    await cluster.pass(2_000);
    assert.deepEqual(slots(inState("complete")), [1, 2, 3, 4, 5]);
    assert.equal(cluster.tasks("job").length, 5);
    assert.equal(aliveMax, 2);
    assert.ok(cluster.tasks("job").every(({ desiredState }) => desiredState === "complete"));
    assert.ok(cluster.tasks("job").every(({ jobIteration }) => jobIteration === 0));
  });

  it("tries a slot again that failed, whatever the condition, and never one that completed", async () => {
    for (const condition of ["any", "on-failure"] as const) {
      const seen = new Set<number>();
      cluster.command = ({ slot }) => {
        const isFirst = !seen.has(slot);
        return { endsAfterMs: 50, exitCode: isFirst && slot === 2 ? 1 : 0 };
      };
      cluster.onChange.push((change) => {
        if (change.table === "task" && change.object.status?.state === "failed")
          seen.add(change.object.slot);
      });
      await create(replicated(3, 3), RestartPolicy.create({ condition, delayNs: 1e9 }));
      await cluster.pass(900);
      assert.deepEqual(slots(inState("complete")), [1, 3], condition);
      await cluster.pass(1_000);
      assert.deepEqual(slots(inState("complete")), [1, 2, 3], condition);
      assert.deepEqual(slots(inState("failed")), [2], condition);
      await cluster.pass(20_000);
      assert.equal(cluster.tasks("job").length, 4, condition);
      await cluster.removeService("job");
      await cluster.pass(2_000);
    }
  });

  it("gives up a slot after its attempts, and does the others", async () => {
    cluster.command = ({ slot }) => ({ endsAfterMs: 50, exitCode: slot === 1 ? 1 : 0 });
    const restart = RestartPolicy.create({ condition: "any", delayNs: 0, maxAttempts: 2 });
    await create(replicated(4, 1), restart);
    await cluster.pass(5_000);
    assert.deepEqual(slots(inState("failed")), [1, 1, 1]);
    assert.deepEqual(slots(inState("complete")), [2, 3, 4]);
    cluster.elect();
    await cluster.pass(5_000);
    assert.equal(cluster.tasks("job").length, 6);
  });

  it("never runs a slot twice whose policy is none, even when its node is lost", async () => {
    cluster.command = () => ({});
    await create(replicated(2, 2), RestartPolicy.create({ condition: "none" }));
    await cluster.pass(300);
    const [task] = inState("running");
    await cluster.setNode(task?.nodeId ?? "", "down");
    await cluster.pass(1_000);
    cluster.elect();
    await cluster.pass(1_000);
    assert.deepEqual(slots(cluster.tasks("job")), [1, 2]);
  });

  it("does elsewhere what was under way on a lost or drained node", async () => {
    for (const how of ["lost", "drained"]) {
      cluster.command = () => ({});
      await create(replicated(3, 3));
      await cluster.pass(300);
      const [task] = inState("running");
      const node = task?.nodeId ?? "";
      if (how === "lost") await cluster.setNode(node, "down");
      else await cluster.setAvailability(node, "drain");
      await cluster.pass(500);
      cluster.command = () => ({ endsAfterMs: 50 });
      await cluster.pass(2_000);
      const complete = inState("complete").filter(({ nodeId }) => nodeId !== node);
      assert.deepEqual(slots(complete), [1, 2, 3], how);
      await cluster.setNode(node, "ready");
      await cluster.setAvailability(node, "active");
      await cluster.removeService("job");
      await cluster.pass(2_000);
    }
  });

  it("runs again when it is updated, and takes away what the run before still has", async () => {
    cluster.command = ({ slot }) => (slot === 2 ? { stopsAfterMs: 300 } : { endsAfterMs: 50 });
    await create(replicated(2, 2));
    await cluster.pass(500);
    assert.deepEqual(slots(inState("complete")), [1]);
    const before = inState("running");
    cluster.command = ({ id }) =>
      id === before[0]?.id ? { stopsAfterMs: 300 } : { endsAfterMs: 50 };
    await runAgain();
    await cluster.pass(200);
    // Slot 2 is not begun anew before its old task has stopped.
    assert.deepEqual(slots(inState("complete")), [1, 1]);
    await cluster.pass(2_000);
    const second = cluster.tasks("job").filter(({ jobIteration }) => jobIteration === 1);
    assert.deepEqual(slots(second), [1, 2]);
    assert.ok(second.every(({ status }) => status?.state === "complete"));
    assert.equal(
      cluster.tasks("job").find(({ id }) => id === before[0]?.id),
      undefined,
    );
  });

  it("goes on after a change of the leader at any time, with no completion doubled or missed", async () => {
    await create(replicated(12, 3));
    for (let i = 0; i < 60; i++) {
      await cluster.pass(30);
      cluster.elect();
    }
    await cluster.pass(2_000);
    assert.deepEqual(slots(inState("complete")), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert.equal(cluster.tasks("job").length, 12);
    assert.equal(aliveMax, 3);
  });

  describe("global", () => {
    const nodes = (tasks: readonly Task[]) => tasks.map(({ nodeId }) => nodeId).sort();

    it("completes once on every node that was there, and not on one that joins", async () => {
      await create(globalMode);
      await cluster.pass(500);
      assert.deepEqual(nodes(inState("complete")), ["n1", "n2", "n3"]);
      await cluster.addNode("n4");
      await cluster.pass(500);
      assert.equal(cluster.tasks("job").length, 3);
      await runAgain();
      await cluster.pass(1_000);
      const second = cluster.tasks("job").filter(({ jobIteration }) => jobIteration === 1);
      assert.deepEqual(nodes(second), ["n1", "n2", "n3", "n4"]);
    });

    it("is shut down on a drained node, and done there once it is active again", async () => {
      cluster.command = () => ({});
      await create(globalMode);
      await cluster.pass(300);
      await cluster.setAvailability("n2", "drain");
      await cluster.pass(500);
      assert.deepEqual(nodes(inState("running")), ["n1", "n3"]);
      await cluster.setAvailability("n2", "active");
      cluster.command = () => ({ endsAfterMs: 50 });
      await cluster.pass(1_000);
      assert.deepEqual(nodes(inState("complete")), ["n1", "n2", "n3"]);
    });

    it("tries again on a node where it failed", async () => {
      cluster.command = ({ nodeId, restart }) => ({
        endsAfterMs: 50,
        exitCode: nodeId === "n2" && restart === undefined ? 1 : 0,
      });
      await create(globalMode, RestartPolicy.create({ condition: "any", delayNs: 5e8 }));
      await cluster.pass(2_000);
      assert.deepEqual(nodes(inState("complete")), ["n1", "n2", "n3"]);
      assert.deepEqual(nodes(inState("failed")), ["n2"]);
    });
  });
});
