/**
 * The scheduler's loop over a real store.
 */
import assert from "node:assert/strict";
import { SchedulerLoop } from "../../../../manager/scheduler/loop.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  type Node,
  type Service,
  ServiceSpec,
  type Task,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type LocalLog, localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";
import { aNode, aService, aTask, aTaskSpec } from "../../../support/scheduler.ts";

describe("manager/scheduler/loop", () => {
  let clock: FakeClock;
  let store: Store;
  let log: LocalLog;
  let stop: AbortController;
  let run: Promise<void>;

  beforeEach(() => {
    clock = new FakeClock();
    ({ store, log } = localStore({ clock }));
    stop = new AbortController();
    run = Promise.resolve();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  async function start(): Promise<void> {
    run = new SchedulerLoop(store, 1, { clock, log: silentLog }).run(stop.signal);
    await pass(100);
  }

  /** Lets time pass in steps that leave the store its turns of the event loop. */
  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 10) {
      await clock.advance(Math.min(10, left));
      for (let turn = 0; turn < 6; turn++) await settled();
    }
  }

  function add(objects: { nodes?: Node[]; services?: Service[]; tasks?: Task[] }): Promise<void> {
    return store.update((tx) => {
      for (const node of objects.nodes ?? []) tx.create("node", node);
      for (const service of objects.services ?? []) tx.create("service", service);
      for (const task of objects.tasks ?? []) tx.create("task", task);
    });
  }

  function change(id: string, fields: Partial<Task>): Promise<void> {
    return store.update((tx) => {
      const task = tx.get("task", id);
      if (task !== undefined) tx.update("task", { ...task, ...fields });
    });
  }

  function changeNode(id: string, node: Node): Promise<void> {
    return store.update((tx) => tx.update("node", { ...node, id }));
  }

  function task(id: string): Task | undefined {
    return store.view().get("task", id);
  }

  /** `task>node` of all tasks that are assigned. */
  function assigned(): string[] {
    return store
      .view()
      .list("task")
      .filter(({ status }) => status?.state === "assigned")
      .map(({ id, nodeId }) => `${id}>${nodeId}`)
      .sort();
  }

  const web = aService("web");

  it("assigns what waits at its start and what comes later", async () => {
    await add({
      nodes: [aNode({ id: "a" }), aNode({ id: "b" })],
      services: [web],
      tasks: [aTask({ id: "t1", service: web, slot: 1 })],
    });
    await start();
    assert.deepEqual(assigned(), ["t1>a"]);
    await add({ tasks: [aTask({ id: "t2", service: web, slot: 2 })] });
    await pass(100);
    assert.deepEqual(assigned(), ["t1>a", "t2>b"]);
    const { status } = task("t2") ?? {};
    assert.equal(status?.message, "scheduler assigned task to node");
    assert.ok((status?.timestampMs ?? 0) > 1_700_000_000_000);
  });

  it("lets changes settle for 10 ms, and not longer than 200 ms", async () => {
    await add({ nodes: [aNode({ id: "a" })], services: [web] });
    await start();
    const come = (n: number) => add({ tasks: [aTask({ id: `t${n}`, service: web, slot: n })] });
    await come(1);
    await pass(8);
    assert.deepEqual(assigned(), []);
    await pass(10);
    assert.deepEqual(assigned(), ["t1>a"]);
    for (let n = 2; n <= 40; n++) {
      await come(n);
      await pass(8);
      if (n === 20) assert.equal(assigned().length, 1);
    }
    assert.ok(assigned().length > 20, `${assigned().length} are assigned`);
  });

  it("says why a task waits, and assigns it when a node comes that will do", async () => {
    const big = aService("big", { cpus: 8 });
    await add({
      nodes: [aNode({ id: "a" })],
      services: [big],
      tasks: [aTask({ id: "t1", service: big, slot: 1 })],
    });
    await start();
    assert.equal(task("t1")?.status?.state, "pending");
    assert.equal(
      task("t1")?.status?.error,
      "no suitable node (insufficient resources on 1 node: cpu (8 wanted, it has 4))",
    );
    await add({ nodes: [aNode({ id: "b", cpus: 8 })] });
    await pass(100);
    assert.deepEqual(assigned(), ["t1>b"]);
    assert.equal(task("t1")?.status?.error, "");
  });

  it("assigns a waiting task when another one has ended", async () => {
    const half = aService("half", { cpus: 3 });
    await add({
      nodes: [aNode({ id: "a" })],
      services: [half],
      tasks: [1, 2].map((n) => aTask({ id: `t${n}`, service: half, slot: n })),
    });
    await start();
    assert.deepEqual(assigned(), ["t1>a"]);
    await change("t1", { desiredState: "shutdown" });
    await pass(200);
    assert.equal(task("t2")?.nodeId, "", "it still runs");
    const { status } = task("t1") ?? {};
    assert.ok(status !== undefined);
    await change("t1", { status: { ...status, state: "shutdown" } });
    await pass(100);
    assert.equal(task("t2")?.nodeId, "a");
  });

  it("assigns a waiting task when a node becomes available, ready or is labelled", async () => {
    const picky = aService("picky", { constraints: ["node.labels.disk==ssd"] });
    await add({
      nodes: [aNode({ id: "a", availability: "drain", state: "down" })],
      services: [picky],
      tasks: [aTask({ id: "t1", service: picky, slot: 1 })],
    });
    await start();
    assert.equal(
      task("t1")?.status?.error,
      "no suitable node (1 node not available for new tasks)",
    );
    await changeNode("a", aNode({ id: "a", state: "down" }));
    await pass(100);
    await changeNode("a", aNode({ id: "a" }));
    await pass(6_000);
    assert.equal(
      task("t1")?.status?.error,
      "no suitable node (scheduling constraints not satisfied on 1 node)",
    );
    await changeNode("a", aNode({ id: "a", labels: { disk: "ssd" } }));
    await pass(100);
    assert.deepEqual(assigned(), ["t1>a"]);
  });

  it("only checks the node of a task that has one", async () => {
    const all = aService("all", { cpus: 2 });
    await add({
      nodes: [aNode({ id: "a", cpus: 1 }), aNode({ id: "b" })],
      services: [all],
      tasks: [
        aTask({ id: "t1", service: all, nodeId: "a" }),
        aTask({ id: "t2", service: all, nodeId: "b" }),
      ],
    });
    await start();
    assert.deepEqual(assigned(), ["t2>b"]);
    assert.equal(
      task("t2")?.status?.message,
      "scheduler confirmed task can run on preassigned node",
    );
    assert.equal(
      task("t1")?.status?.error,
      "no suitable node (insufficient resources on 1 node: cpu (2 wanted, it has 1))",
    );
    await changeNode("a", aNode({ id: "a" }));
    await pass(100);
    assert.deepEqual(assigned(), ["t1>a", "t2>b"]);
  });

  it("leaves tasks alone that are not wanted any more or not allocated yet", async () => {
    await add({
      nodes: [aNode({ id: "a" })],
      services: [web],
      tasks: [
        aTask({ id: "t1", service: web, slot: 1, desired: "shutdown" }),
        aTask({ id: "t2", service: web, slot: 2, state: "new" }),
      ],
    });
    await start();
    assert.deepEqual(assigned(), []);
    assert.equal(task("t1")?.status?.error, "");
  });

  it("waits for what the registry says of the image, but not for ever", async () => {
    const arm = { ...aService("arm"), image: undefined };
    await add({
      nodes: [aNode({ id: "a" }), aNode({ id: "pi", platforms: ["linux/arm/v7"] })],
      services: [arm],
      tasks: [aTask({ id: "t1", service: arm, slot: 1 })],
    });
    await start();
    await pass(5_000);
    assert.deepEqual(assigned(), []);
    const { image } = aService("arm", { platforms: ["linux/arm/v7"] });
    await store.update((tx) => tx.update("service", { ...arm, image }));
    await pass(100);
    assert.deepEqual(assigned(), ["t1>pi"]);
    const silent = { ...aService("silent", { image: "other" }), image: undefined };
    await add({ services: [silent], tasks: [aTask({ id: "t2", service: silent, slot: 1 })] });
    await pass(9_000);
    assert.equal(task("t2")?.nodeId, "");
    await pass(1_200);
    assert.equal(task("t2")?.nodeId, "a");
  });

  it("waits shortly where all nodes run the same images, whatever their level of amd64", async () => {
    const service = { ...aService("silent"), image: undefined };
    await add({
      nodes: [
        aNode({ id: "a", platforms: ["linux/amd64/v3", "linux/amd64/v2"] }),
        aNode({ id: "b", platforms: ["linux/amd64/v1"] }),
      ],
      services: [service],
      tasks: [aTask({ id: "t1", service, slot: 1 })],
    });
    await start();
    await pass(700);
    assert.deepEqual(assigned(), []);
    await pass(500);
    assert.deepEqual(assigned(), ["t1>a"]);
    await add({
      nodes: [aNode({ id: "pi", platforms: ["linux/arm/v7"] })],
      tasks: [aTask({ id: "t2", service, slot: 2 })],
    });
    await pass(5_000);
    assert.deepEqual(assigned(), ["t1>a"]);
  });

  it("does not wait again for a forced update where all nodes run the same images", async () => {
    const before = aService("silent");
    const { spec } = before;
    const task = { ...aTaskSpec({}), forceUpdate: 1 };
    const service = { ...before, spec: ServiceSpec.create({ ...spec, task }) };
    await add({
      nodes: [aNode({ id: "a" })],
      services: [service],
      tasks: [aTask({ id: "t1", service, slot: 1 })],
    });
    await start();
    assert.deepEqual(assigned(), ["t1>a"]);
    await add({
      nodes: [aNode({ id: "pi", platforms: ["linux/arm/v7"] })],
      tasks: [aTask({ id: "t2", service, slot: 2 })],
    });
    await pass(5_000);
    assert.deepEqual(assigned(), ["t1>a"]);
  });

  it("goes by the refusals of agents where the registry does not answer", async () => {
    const arm = aService("arm");
    await add({
      nodes: [aNode({ id: "a" }), aNode({ id: "b", platforms: ["linux/arm/v7"] })],
      services: [arm],
      tasks: [aTask({ id: "t1", service: arm, slot: 1 })],
    });
    await start();
    assert.deepEqual(assigned(), ["t1>a"]);
    const error = "no matching manifest for linux/amd64/v3 in the manifest list entries";
    const rejected = aTask({ id: "t1", service: arm, state: "rejected", error });
    await change("t1", { status: rejected.status, desiredState: "shutdown" });
    await add({ tasks: [2, 3].map((n) => aTask({ id: `t${n}`, service: arm, slot: n })) });
    await pass(100);
    assert.deepEqual(assigned(), ["t2>b", "t3>b"]);
  });

  it("counts what is on the nodes already when it starts", async () => {
    const two = aService("two", { cpus: 2 });
    await add({
      nodes: [aNode({ id: "a" })],
      services: [two],
      tasks: [
        aTask({ id: "t1", service: two, slot: 1, nodeId: "a", state: "running" }),
        aTask({ id: "t2", service: two, slot: 2, nodeId: "a", state: "failed" }),
        aTask({ id: "t3", service: two, slot: 3 }),
        aTask({ id: "t4", service: two, slot: 4 }),
      ],
    });
    await start();
    assert.deepEqual(assigned(), ["t3>a"]);
  });

  it("does not assign a task that changed while its placement was under way", async () => {
    await add({ nodes: [aNode({ id: "a" })], services: [web] });
    await start();
    await add({ tasks: [aTask({ id: "t1", service: web, slot: 1 })] });
    log.automatic = false;
    const changed = change("t1", { desiredState: "shutdown" });
    await pass(100);
    log.commit();
    await changed;
    await pass(100);
    log.commit();
    await pass(100);
    log.commit();
    assert.equal(task("t1")?.nodeId, "");
    assert.equal(task("t1")?.status?.state, "pending");
  });

  it("chooses anew when the node changed while the placement was under way", async () => {
    await add({ nodes: [aNode({ id: "a" }), aNode({ id: "b" })], services: [web] });
    await start();
    await add({ tasks: [aTask({ id: "t1", service: web, slot: 1 })] });
    log.automatic = false;
    const changed = changeNode("a", aNode({ id: "a", availability: "drain" }));
    await pass(60);
    log.commit();
    await changed;
    log.automatic = true;
    await pass(200);
    assert.deepEqual(assigned(), ["t1>b"]);
  });

  it("tries again what could not be committed", async () => {
    await add({ nodes: [aNode({ id: "a" })], services: [web] });
    await start();
    await add({ tasks: [aTask({ id: "t1", service: web, slot: 1 })] });
    log.refusal = new ClusterError("unavailable", "the disk is full");
    await pass(500);
    assert.deepEqual(assigned(), []);
    log.refusal = undefined;
    await pass(1_500);
    assert.deepEqual(assigned(), ["t1>a"]);
  });

  it("commits what else is in a batch with a task that cannot be committed", async () => {
    const job = aService("job");
    await add({
      nodes: [aNode({ id: "a" })],
      services: [job, web],
      tasks: [aTask({ id: "t0", service: job, nodeId: "a", state: "running" })],
    });
    await start();
    // Without a slot its claim is the node, which another task of the same version has.
    const slotless = aTask({ id: "t1", service: job });
    const others = [2, 3, 4].map((n) => aTask({ id: `t${n}`, service: web, slot: n }));
    await add({ tasks: [slotless, ...others] });
    await pass(200);
    assert.deepEqual(assigned(), ["t2>a", "t3>a", "t4>a"]);
    await store.update((tx) => tx.remove("task", "t0"));
    await pass(1_500);
    assert.equal(task("t1")?.nodeId, "a");
  });

  it("writes nothing while nothing changes", async () => {
    const big = aService("big", { cpus: 8 });
    await add({
      nodes: [aNode({ id: "a" })],
      services: [big],
      tasks: [aTask({ id: "t1", service: big, slot: 1 })],
    });
    await start();
    const { length } = log.entries;
    await pass(20_000);
    assert.equal(log.entries.length, length);
  });

  it("reads everything anew when it has lost track", async () => {
    await add({ nodes: [aNode({ id: "a" })], services: [web] });
    await start();
    const chunks = store.snapshot(store.freeze());
    await store.restore(chunks, store.appliedIndex(), store.appliedTerm());
    await add({ tasks: [aTask({ id: "t1", service: web, slot: 1 })] });
    await pass(200);
    assert.deepEqual(assigned(), ["t1>a"]);
  });

  it("assigns thousands of tasks, and each node its share", async () => {
    const nodes = Array.from({ length: 10 }, (_, n) => aNode({ id: `n${n}` }));
    const tasks = Array.from({ length: 2_000 }, (_, n) =>
      aTask({ id: `t${n}`, service: web, slot: n + 1 }),
    );
    await add({ nodes, services: [web] });
    await store.batch(tasks, (tx, one) => tx.create("task", one));
    await start();
    await pass(300);
    const counts = nodes.map(({ id }) => store.view().countOf("task", "node", id));
    assert.deepEqual(counts, Array(10).fill(200));
  });

  for (const nodeId of ["", "a"]) {
    const kind = nodeId === "" ? "any node" : "one node";
    it(`explains thousands of tasks for ${kind} bit by bit, and others go on meanwhile`, async () => {
      const big = aService("big", { cpus: 8 });
      const count = 3_000;
      const tasks = Array.from({ length: count }, (_, n) =>
        aTask({ id: `t${n}`, service: big, slot: n + 1, nodeId }),
      );
      await add({ nodes: [aNode({ id: "a" })], services: [big, web] });
      await store.batch(tasks, (tx, one) => tx.create("task", one));
      let [now, most] = [0, 0];
      const update = store.update.bind(store);
      store.update = async (decide, options) => {
        most = Math.max(most, ++now);
        return await update(decide, options).finally(() => now--);
      };
      await start();
      await add({ tasks: [aTask({ id: "small", service: web, slot: 1 })] });
      await pass(200);
      assert.equal(task("small")?.nodeId, "a");
      await pass(1_000);
      const error = "no suitable node (insufficient resources on 1 node: cpu (8 wanted, it has 4))";
      assert.ok(tasks.every(({ id }) => task(id)?.status?.error === error));
      assert.ok(most <= 24, `${most} batches were under way`);
      const { length } = log.entries;
      await pass(6_000);
      assert.equal(log.entries.length, length, "nothing is written twice");
    });
  }

  it("ends while it waits", async () => {
    await start();
    stop.abort();
    await run;
  });
});
