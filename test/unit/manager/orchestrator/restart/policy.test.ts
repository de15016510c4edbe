/**
 * What the restart policy decides about one place: tables of what ended how, and what comes after it.
 */
import assert from "node:assert/strict";
import {
  heldFor,
  isFinished,
  type PlaceInput,
  ranFor,
  repairPlace,
  startsIn,
} from "../../../../../manager/orchestrator/restart/policy.ts";
import type { NodeFate } from "../../../../../manager/orchestrator/slot.ts";
import {
  Meta,
  Restart,
  type RestartCondition,
  RestartPolicy,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../../../../src/common/api/generated/api.ts";

const now = 1_000_000;

function serviceWith(policy: Partial<RestartPolicy> | undefined): Service {
  const restart = policy === undefined ? undefined : RestartPolicy.create(policy);
  const spec = ServiceSpec.create({ task: TaskSpec.create({ restart }) });
  return Service.create({ id: "s", specVersion: 7, spec });
}

function taskIn(
  state: TaskState,
  parts: Partial<Task> & { readonly createdAtMs?: number; readonly endedAtMs?: number } = {},
): Task {
  const { createdAtMs = now - 1_000, endedAtMs = now, ...fields } = parts;
  return Task.create({
    id: "t",
    serviceId: "s",
    slot: 1,
    nodeId: "n",
    specVersion: 7,
    spec: TaskSpec.create(),
    desiredState: "running",
    status: TaskStatus.create({ state, timestampMs: endedAtMs }),
    meta: Meta.create({ createdAtMs }),
    ...fields,
  });
}

function repair(
  policy: Partial<RestartPolicy> | undefined,
  tasks: readonly Task[],
  options: { readonly fate?: NodeFate; readonly ranMs?: number } = {},
): string {
  const input: PlaceInput = {
    service: serviceWith(policy),
    tasks,
    fateOf: () => options.fate ?? "up",
    ranMs: () => options.ranMs ?? 0,
    now,
  };
  const { stop, successor } = repairPlace(input);
  const stopped = stop.map(({ id }) => id).join(",");
  if (successor === undefined) return `stop [${stopped}]`;
  const { count, failures, startAtMs, timesMs } = successor.restart;
  const delay = startAtMs === 0 ? 0 : startAtMs - now;
  const times = timesMs.length === 0 ? "" : `, times ${timesMs.map((t) => now - t).join(" ")}`;
  return `stop [${stopped}], ${successor.desiredState} in ${delay}, restart ${count}, failures ${failures}${times}`;
}

describe("manager/orchestrator/restart/policy", () => {
  const conditions: readonly (readonly [RestartCondition, TaskState, boolean])[] = [
    ["any", "complete", true],
    ["any", "failed", true],
    ["any", "rejected", true],
    ["on-failure", "complete", false],
    ["on-failure", "failed", true],
    ["on-failure", "rejected", true],
    ["none", "complete", false],
    ["none", "failed", false],
  ];
  for (const [condition, state, isReplaced] of conditions) {
    it(`${isReplaced ? "replaces" : "does not replace"} a task that is ${state} under ${condition}`, () => {
      const text = repair({ condition, delayNs: 2e9 }, [taskIn(state)]);
      assert.equal(
        text,
        isReplaced ? "stop [t], ready in 2000, restart 1, failures 1" : "stop [t]",
      );
    });
  }

  it("leaves a task alone that is well", () => {
    for (const state of ["new", "pending", "assigned", "running"] as const)
      assert.equal(repair({}, [taskIn(state)]), "stop []");
  });

  it("replaces what was lost with its node at once, and counts no attempt", () => {
    const restart = Restart.create({ count: 2, failures: 2 });
    assert.equal(
      repair({ maxAttempts: 2 }, [taskIn("running", { restart })], { fate: "lost" }),
      "stop [t], running in 0, restart 2, failures 2",
    );
    assert.equal(
      repair(undefined, [taskIn("orphaned")]),
      "stop [t], running in 0, restart 0, failures 0",
    );
    assert.equal(repair({ condition: "none" }, [taskIn("running")], { fate: "lost" }), "stop [t]");
  });

  it("has the successor of a drained task wait for its end alone", () => {
    assert.equal(
      repair(undefined, [taskIn("running")], { fate: "drained" }),
      "stop [t], ready in 0, restart 0, failures 0",
    );
  });

  it("doubles the wait up to five minutes where the user set none", () => {
    const waits = Array.from({ length: 9 }, (_, failures) => {
      const restart = failures === 0 ? undefined : Restart.create({ count: failures, failures });
      return /in (\d+)/.exec(repair({}, [taskIn("failed", { restart })]))?.[1];
    });
    assert.deepEqual(
      waits.map(Number),
      [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000],
    );
  });

  it("keeps to the user's delay however often a task fails, none included", () => {
    const restart = Restart.create({ count: 50, failures: 50 });
    assert.match(repair({ delayNs: 3e9 }, [taskIn("failed", { restart })]), /ready in 3000,/);
    assert.match(repair({ delayNs: 0 }, [taskIn("failed", { restart })]), /running in 0,/);
  });

  it("begins the waits anew after a long run, but not after one shorter than the wait before it", () => {
    const restart = Restart.create({ count: 4, failures: 4, startAtMs: now });
    const task = taskIn("failed", { restart, createdAtMs: now - 80_000 });
    assert.match(repair({}, [task], { ranMs: 79_000 }), /ready in 80000, .* failures 5/);
    assert.match(repair({}, [task], { ranMs: 81_000 }), /ready in 5000, .* failures 1/);
  });

  it("stops at the attempts the user allowed, within the window if there is one", () => {
    const counted = (count: number, timesMs: number[] = []) => [
      taskIn("failed", { restart: Restart.create({ count, timesMs, failures: 1 }) }),
    ];
    const policy = { maxAttempts: 3, delayNs: 0 };
    assert.match(repair(policy, counted(2)), /restart 3/);
    assert.equal(repair(policy, counted(3)), "stop [t]");
    const window = { ...policy, windowNs: 10e9 };
    const times = (...ages: number[]) => ages.map((age) => now - age);
    assert.equal(repair(window, counted(3, times(9_000, 5_000, 1_000))), "stop [t]");
    assert.match(
      repair(window, counted(3, times(11_000, 5_000, 1_000))),
      /restart 4, .*times 5000 1000 0$/,
    );
  });

  it("counts anew under another version of the spec", () => {
    const restart = Restart.create({ count: 3, failures: 3 });
    const old = taskIn("failed", { restart, specVersion: 6 });
    assert.match(repair({ maxAttempts: 3 }, [old]), /ready in 5000, restart 1, failures 1/);
  });

  it("does not look at a task that ended while it was held back before its time has come", () => {
    const held = taskIn("rejected", {
      desiredState: "ready",
      restart: Restart.create({ count: 1, failures: 1, startAtMs: now + 100 }),
    });
    assert.equal(repair({}, [held]), "stop []");
    assert.match(repair({}, [{ ...held, desiredState: "running" }]), /ready in 10000/);
  });

  it("makes no second successor beside one that an update made", () => {
    const old = taskIn("failed", {
      id: "old",
      specVersion: 6,
      spec: TaskSpec.create({ runtime: "x" }),
    });
    assert.equal(repair({}, [old, taskIn("starting", { id: "new" })]), "stop [old]");
    // The other way round the old one stays until the next one runs.
    const running = taskIn("running", {
      id: "old",
      specVersion: 6,
      spec: TaskSpec.create({ runtime: "x" }),
    });
    assert.match(repair({}, [running, taskIn("failed", { id: "new" })]), /^stop \[new\], ready/);
  });

  it("tells places that had their last task from those that wait for one", () => {
    const ended = (state: TaskState, parts: Partial<Task> = {}) =>
      taskIn(state, { desiredState: "shutdown", ...parts });
    const finished = (policy: Partial<RestartPolicy>, ...tasks: Task[]) =>
      isFinished(serviceWith(policy), tasks, now);
    assert.equal(finished({ condition: "none" }, ended("complete")), true);
    assert.equal(finished({ condition: "on-failure" }, ended("complete")), true);
    assert.equal(finished({ condition: "any" }, ended("complete")), false);
    assert.equal(finished({ condition: "none" }, taskIn("running")), false);
    assert.equal(finished({ condition: "none" }, ended("running")), false);
    assert.equal(
      finished({ condition: "none" }, ended("complete", { desiredState: "remove" })),
      false,
    );
    assert.equal(finished({ condition: "none" }), false);
  });

  it("waits for a stopping predecessor for a minute, unless its node is lost", () => {
    const task = taskIn("ready", { id: "next", desiredState: "ready" });
    const wait = (
      other: Task,
      parts: {
        readonly heldMs?: number;
        readonly waitedMs?: number;
        readonly fate?: NodeFate;
      } = {},
    ) => {
      const { heldMs = 0, waitedMs = 0, fate = "up" } = parts;
      return startsIn({ task, tasks: [other, task], fateOf: () => fate, heldMs, waitedMs });
    };
    const stopping = taskIn("running", { desiredState: "shutdown" });
    assert.equal(wait(stopping), 60_000);
    assert.equal(wait(stopping, { waitedMs: 59_000 }), 1_000);
    assert.equal(wait(stopping, { waitedMs: 60_000 }), 0);
    assert.equal(wait(stopping, { fate: "lost" }), 0);
    assert.equal(wait(taskIn("shutdown", { desiredState: "shutdown" })), 0);
    assert.equal(wait(taskIn("shutdown", { desiredState: "shutdown" }), { heldMs: 300 }), 300);
    // Nobody was ever told of it.
    assert.equal(wait(taskIn("pending", { desiredState: "shutdown" })), 0);
    // One that goes on beside it is none it waits for.
    assert.equal(wait(taskIn("running")), 0);
  });

  it("holds a task back no longer than it says, whatever the leader's clock shows", () => {
    const restart = Restart.create({ startAtMs: now + 5_000 });
    const task = taskIn("ready", { restart, createdAtMs: now });
    assert.equal(heldFor(task, now + 2_000), 3_000);
    assert.equal(heldFor(task, now - 3_600_000), 5_000);
    assert.equal(heldFor(task, now + 3_600_000), 0);
    assert.equal(heldFor(taskIn("ready"), now), 0);
  });

  it("knows how long a task ran from what was seen of it, else from its making", () => {
    assert.equal(ranFor(taskIn("failed"), now - 300), 300);
    assert.equal(ranFor(taskIn("failed", { createdAtMs: now - 9_000 }), undefined), 9_000);
    const restart = Restart.create({ startAtMs: now - 4_000 });
    assert.equal(ranFor(taskIn("failed", { createdAtMs: now - 9_000, restart }), undefined), 4_000);
    assert.equal(ranFor(taskIn("rejected", { createdAtMs: now - 9_000 }), undefined), 0);
  });
});
