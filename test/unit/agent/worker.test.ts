/**
 * The worker: what is assigned is done, what is not is removed, and both outlive managers and the daemon.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { Reporter } from "../../../agent/reporter.ts";
import { memoryStorage, type Storage, type StoredTask } from "../../../agent/storage.ts";
import { Worker } from "../../../agent/worker.ts";
import {
  Assignments,
  ContainerSpec,
  NetworkAttachmentSpec,
  Node,
  RestartPolicy,
  Secret,
  SecretReference,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { FakeExecutor, fakeExit } from "../../support/fake-executor.ts";
import { settled } from "../../support/message-queue.ts";

function task(id: string, desiredState: TaskState = "running", spec: Partial<TaskSpec> = {}): Task {
  return Task.create({
    id,
    nodeId: "n",
    desiredState,
    status: TaskStatus.create({ state: "assigned" }),
    spec: TaskSpec.create(spec),
  });
}

const withSecret: Partial<TaskSpec> = {
  container: ContainerSpec.create({
    secrets: [SecretReference.create({ secretId: "s", secretName: "key" })],
  }),
};

/** What a worker remembers, over several lives. */
class RememberingStorage implements Storage {
  readonly tasks = new Map<string, Task>();
  readonly statuses = new Map<string, TaskStatus>();
  readonly network = memoryStorage().network;
  seenIndex = 0;
  node: Node | undefined;

  async load() {
    const tasks: StoredTask[] = [...this.tasks.values()].map((one) => ({
      task: one,
      status: this.statuses.get(one.id),
    }));
    return { tasks, seenIndex: this.seenIndex, node: this.node };
  }

  write: Storage["write"] = async ({ tasks = [], removedTaskIds = [], seenIndex, node }) => {
    this.node = node ?? this.node;
    for (const one of tasks) this.tasks.set(one.id, one);
    for (const id of removedTaskIds) {
      this.tasks.delete(id);
      this.statuses.delete(id);
    }
    this.seenIndex = seenIndex ?? this.seenIndex;
  };

  async writeStatus(taskId: string, status: TaskStatus): Promise<void> {
    this.statuses.set(taskId, status);
  }

  async close(): Promise<void> {}
}

describe("agent/worker", () => {
  let clock: FakeClock;
  let executor: FakeExecutor;
  let storage: RememberingStorage;
  let worker: Worker;
  const never = new AbortController().signal;

  beforeEach(async () => {
    [clock, executor, storage] = [new FakeClock(), new FakeExecutor(), new RememberingStorage()];
    worker = await started();
  });
  afterEach(() => worker.close());

  async function started(from: Storage = storage): Promise<Worker> {
    const next = new Worker({
      nodeId: "n",
      executor,
      storage: from,
      reporter: new Reporter(),
      clock,
      log: silentLog,
    });
    await next.start(never);
    return next;
  }

  /** The next life of the daemon; with `rebooted` its containers ended with the machine. */
  async function restarted(rebooted = false): Promise<void> {
    await worker.close();
    if (rebooted) {
      for (const { end } of executor.containers.values()) end({ lost: true, error: "rebooted" });
    }
    worker = await started();
    await settled();
  }

  async function full(...tasks: readonly Task[]): Promise<void> {
    worker.sessionBegan();
    await take({ number: 1, full: true, first: true, last: true, tasks });
  }

  async function take(fields: Partial<Assignments>, seenIndex = 7): Promise<boolean> {
    const follows = await worker.take(Assignments.create(fields), seenIndex);
    await settled();
    return follows;
  }

  function states(): Record<string, string> {
    return Object.fromEntries([...worker.tasks()].map(([id, { state }]) => [id, state]));
  }

  it("runs what is assigned, and remembers it", async () => {
    await full(task("a"), task("b", "ready"));
    deepEqual(states(), { a: "running", b: "ready" });
    deepEqual([...storage.tasks.keys()], ["a", "b"]);
    equal(storage.statuses.get("a")?.state, "running");
    equal(storage.seenIndex, 7);
  });

  it("follows what changes", async () => {
    await full(task("a", "ready"));
    await take({ number: 2, tasks: [task("a", "running"), task("b")] });
    deepEqual(states(), { a: "running", b: "running" });
    await take({ number: 3, tasks: [task("a", "shutdown")] });
    deepEqual(states(), { a: "shutdown", b: "running" });
    deepEqual(executor.removed, []);
    await take({ number: 4, removedTaskIds: ["a"] });
    deepEqual(states(), { b: "running" });
    deepEqual(executor.removed, ["a"]);
    deepEqual([...storage.tasks.keys()], ["b"]);
  });

  it("cuts a preparation off when the task is to stop, and when it is taken away", async () => {
    const cut: string[] = [];
    executor.behaviour = {
      prepare: ({ id }, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            cut.push(id);
            reject(signal.reason);
          });
        }),
    };
    await full(task("a"), task("b"));
    deepEqual(states(), { a: "preparing", b: "preparing" });
    await take({ number: 2, tasks: [task("a", "shutdown")], removedTaskIds: ["b"] });
    deepEqual(cut, ["a", "b"]);
    deepEqual(states(), { a: "shutdown" });
  });

  it("removes what a full set in pieces does not have, once its last piece is there", async () => {
    await full(task("a"), task("b"));
    worker.sessionBegan();
    await take({ number: 1, full: true, first: true, tasks: [task("c")] });
    deepEqual(states(), { a: "running", b: "running", c: "running" });
    await take({ number: 2, full: true, last: true, tasks: [task("a")] });
    deepEqual(states(), { a: "running", c: "running" });
    deepEqual(executor.removed, ["b"]);
  });

  it("stops in its own way what runs and was taken away", async () => {
    const stopped: string[] = [];
    executor.behaviour = { shutdown: async ({ id }) => void stopped.push(id) };
    await full(task("a"), task("b"));
    await full(task("b"));
    deepEqual([stopped, executor.removed], [["a"], ["a"]]);
  });

  it("removes containers of tasks it does not have, after a full set", async () => {
    executor.make(task("old"));
    await restarted();
    deepEqual(executor.removed, [], "it knows nothing yet");
    await full(task("a"));
    deepEqual(executor.removed, ["old"]);
  });

  it("removes them at the start when it knows what is assigned", async () => {
    await full(task("a"));
    executor.make(task("old"));
    await restarted();
    deepEqual(executor.removed, ["old"]);
    deepEqual(states(), { a: "running" });
  });

  it("asks for the full set once when a message was missed, and takes nothing until then", async () => {
    await full(task("a"));
    equal(await take({ number: 3, tasks: [task("b")] }), false);
    equal(await take({ number: 4, tasks: [task("c")] }), true);
    deepEqual(states(), { a: "running" });
    equal(await take({ number: 9, full: true, first: true, last: true, tasks: [task("b")] }), true);
    deepEqual(states(), { b: "running" });
    equal(await take({ number: 10, tasks: [task("c")] }), true);
    deepEqual(states(), { b: "running", c: "running" });
  });

  it("adopts what runs after a restart of the daemon, without a manager", async () => {
    await full(task("a"), task("b", "running", withSecret));
    await restarted();
    deepEqual(states(), { a: "running", b: "running" });
    executor.containers.get("a")?.end({ exitCode: 5 });
    await settled();
    equal(worker.tasks().get("a")?.error, "task: non-zero exit (5)");
  });

  it("tells the true end of what ended in between", async () => {
    await full(task("a"));
    await worker.close();
    executor.containers.get("a")?.end({ exitCode: 42, finishedAtMs: 99 });
    worker = await started();
    await settled();
    const status = worker.tasks().get("a");
    deepEqual([status?.state, status?.timestampMs], ["failed", 99]);
    ok(status?.error.includes("(42)"));
  });

  it("starts nothing anew before a manager was heard, or could not be for 20 s", async () => {
    await full(task("a"));
    await restarted(true);
    await clock.advance(19_000);
    equal(executor.containers.get("a")?.isRunning, false);
    deepEqual(states(), { a: "running" });
    await clock.advance(1_000);
    await settled();
    equal(executor.containers.get("a")?.isRunning, true);
    deepEqual(states(), { a: "running" });
  });

  it("leaves it to the managers what becomes of what ended with the machine", async () => {
    await full(task("a"));
    await restarted(true);
    await full(task("a"));
    deepEqual(states(), { a: "failed" });
    equal(worker.tasks().get("a")?.error, "rebooted");
  });

  it("tells that a task failed with the machine, though it is to stop by now", async () => {
    await full(task("a"));
    await restarted(true);
    await full(task("a", "shutdown"));
    deepEqual(states(), { a: "failed" });
    equal(worker.tasks().get("a")?.error, "rebooted");
  });

  it("does not run again alone what is not to be restarted", async () => {
    await full(task("a", "running", { restart: RestartPolicy.create({ condition: "none" }) }));
    await restarted(true);
    await clock.advance(20_000);
    deepEqual(states(), { a: "failed" });
  });

  it("knows its node again after a restart, as tasks may ask what that allows", async () => {
    const node = Node.create({ id: "n", number: 5 });
    await worker.nodeChanged(node);
    executor.nodes.length = 0;
    await restarted();
    deepEqual(executor.nodes, [node]);
  });

  it("keeps a task with secrets waiting after a reboot until a manager brings them", async () => {
    const secrets = [Secret.create({ id: "s" })];
    const first = { number: 1, full: true, first: true, last: true, secrets };
    const b = task("b", "running", withSecret);
    await take({ ...first, tasks: [b] });
    deepEqual(states(), { b: "running" });
    await restarted(true);
    await clock.advance(20_000);
    const waiting = worker.tasks().get("b");
    deepEqual(
      [waiting?.state, waiting?.message],
      ["accepted", "waits for a manager: its secret key is kept in memory only"],
    );
    await take({ ...first, tasks: [b] });
    deepEqual(states(), { b: "running" });
  });

  it("tries again to stop what could not be stopped", async () => {
    let refusals = 1;
    executor.behaviour = {
      shutdown: async () => {
        if (refusals-- > 0) throw new Error("containerd is away");
      },
    };
    await full(task("a"));
    await take({ number: 2, tasks: [task("a", "shutdown")] });
    deepEqual(states(), { a: "running" });
    await clock.advance(1_000);
    deepEqual(states(), { a: "shutdown" });
  });

  it("works on when nothing can be stored", async () => {
    await worker.close();
    const failing: Storage = {
      ...memoryStorage(),
      write: () => Promise.reject(new Error("disk full")),
      writeStatus: () => Promise.reject(new Error("disk full")),
    };
    worker = await started(failing);
    await full(task("a"));
    deepEqual(states(), { a: "running" });
  });

  it("ends at once what ends in its start", async () => {
    executor.behaviour = { start: async () => fakeExit({ exitCode: 1 }) };
    await full(task("a"));
    deepEqual(states(), { a: "failed" });
  });

  describe("of attachments", () => {
    const attachment = (desired: TaskState = "running") =>
      task("x", desired, { attachment: NetworkAttachmentSpec.create({ containerId: "c" }) });

    it("calls them running without running anything, in its next life as well", async () => {
      await full(attachment());
      equal(worker.tasks().get("x")?.state, "running");
      await restarted(true);
      equal(worker.tasks().get("x")?.state, "running");
      deepEqual([...executor.containers.keys()], []);
    });

    it("lets go of them when they are taken away, and ends those that are to stop", async () => {
      await full(attachment());
      await take({ number: 2, tasks: [attachment("shutdown")] });
      equal(worker.tasks().get("x")?.state, "shutdown");
      await take({ number: 3, removedTaskIds: ["x"] });
      equal(worker.tasks().size, 0);
    });
  });
});
