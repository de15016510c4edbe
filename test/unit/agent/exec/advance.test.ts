/**
 * The steps of a task on its node: from each state, for each wish of the managers, with each outcome of the container.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { advance, type Step } from "../../../../agent/exec/advance.ts";
import type { Controller, TaskExit } from "../../../../agent/exec/controller.ts";
import {
  ContainerStatus,
  PortConfig,
  Task,
  type TaskState,
  TaskStatus,
} from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";

const exit = (fields: Partial<TaskExit>): TaskExit => ({
  exitCode: 0,
  error: "",
  finishedAtMs: 0,
  lost: false,
  ...fields,
});

/** Does what the test says, and notes what was asked of it. */
class ScriptedController implements Controller {
  readonly calls: string[] = [];
  readonly #outcome: unknown;

  constructor(outcome: unknown) {
    this.#outcome = outcome;
  }

  async prepare(): Promise<void> {
    this.#play("prepare");
  }

  async start(): Promise<TaskExit | undefined> {
    return this.#play("start") as TaskExit | undefined;
  }

  async wait(): Promise<TaskExit> {
    return this.#play("wait") as TaskExit;
  }

  async shutdown(): Promise<void> {
    this.#play("shutdown");
  }

  async remove(): Promise<void> {
    this.#play("remove");
  }

  isSettled(): boolean {
    return true;
  }

  status(): ContainerStatus {
    return ContainerStatus.create({ containerId: "c", exitCode: 3 });
  }

  ports(): readonly PortConfig[] {
    return [PortConfig.create({ targetPort: 80, publishedPort: 8080, publishMode: "host" })];
  }

  #play(call: string): unknown {
    this.calls.push(call);
    if (this.#outcome instanceof Error) throw this.#outcome;
    return this.#outcome;
  }
}

interface Row {
  readonly from: TaskState;
  readonly wanted: TaskState;
  /** What the controller's step gives or throws. */
  readonly outcome?: unknown;
  /** The call that is made, if any, and what comes of it: `state: message: error`. */
  readonly gives: string;
}

const rows: readonly Row[] = [
  { from: "assigned", wanted: "running", gives: "-> accepted: accepted: " },
  { from: "assigned", wanted: "ready", gives: "-> accepted: accepted: " },
  { from: "accepted", wanted: "running", gives: "-> preparing: preparing: " },
  { from: "preparing", wanted: "ready", gives: "prepare -> ready: prepared: " },
  {
    from: "preparing",
    wanted: "running",
    outcome: new ClusterError("not-found", "No such image: x"),
    gives: "prepare -> rejected: preparing: No such image: x",
  },
  {
    from: "preparing",
    wanted: "running",
    outcome: new ClusterError("unavailable", "no route"),
    gives: "prepare -> rejected: preparing: no route",
  },
  { from: "ready", wanted: "ready", gives: "idle" },
  { from: "ready", wanted: "running", gives: "-> starting: starting: " },
  { from: "starting", wanted: "running", gives: "start -> running: started: " },
  { from: "starting", wanted: "ready", gives: "start -> running: started: " },
  {
    from: "starting",
    wanted: "running",
    outcome: exit({ exitCode: 3 }),
    gives: "start -> failed: started: task: non-zero exit (3)",
  },
  {
    from: "starting",
    wanted: "running",
    outcome: new ClusterError("invalid-argument", "x: not found in $PATH"),
    gives: "start -> failed: starting: starting container failed: x: not found in $PATH",
  },
  {
    from: "starting",
    wanted: "running",
    outcome: new ClusterError("internal", "no shim"),
    gives: "start -> failed: starting: starting container failed: no shim",
  },
  { from: "running", wanted: "running", outcome: exit({}), gives: "wait -> complete: finished: " },
  {
    from: "running",
    wanted: "complete",
    outcome: exit({ exitCode: 9 }),
    gives: "wait -> failed: started: task: non-zero exit (9)",
  },
  {
    from: "running",
    wanted: "running",
    outcome: exit({ exitCode: 137, error: "dockerexec: unhealthy container" }),
    gives: "wait -> failed: started: task: non-zero exit (137): dockerexec: unhealthy container",
  },
  {
    from: "running",
    wanted: "running",
    outcome: exit({ exitCode: 0, error: "dockerexec: unhealthy container" }),
    gives: "wait -> failed: started: task: non-zero exit (0): dockerexec: unhealthy container",
  },
  { from: "running", wanted: "running", outcome: exit({ lost: true }), gives: "wait -> lost" },
  { from: "assigned", wanted: "shutdown", gives: "shutdown -> shutdown: shutdown: " },
  { from: "preparing", wanted: "remove", gives: "shutdown -> shutdown: shutdown: " },
  { from: "running", wanted: "shutdown", gives: "shutdown -> shutdown: shutdown: " },
  { from: "complete", wanted: "shutdown", gives: "idle" },
  { from: "failed", wanted: "running", gives: "idle" },
  { from: "orphaned", wanted: "running", gives: "idle" },
];

describe("agent/exec/advance", () => {
  for (const { from, wanted, outcome, gives } of rows) {
    const how = outcome instanceof Error ? outcome.message : JSON.stringify(outcome ?? "done");
    it(`${from}, wanted ${wanted}, ${how}: ${gives}`, async () => {
      const controller = new ScriptedController(outcome);
      const step = await advance(standing(from, wanted), controller, tools());
      equal(shown(controller.calls, step), gives);
    });
  }

  it("dates an end by when it was, all else by now", async () => {
    const ended = new ScriptedController(exit({ exitCode: 1, finishedAtMs: 5 }));
    const step = await advance(standing("running", "running"), ended, tools());
    equal(step.kind === "moved" && step.status.timestampMs, 5);
    const other = await advance(standing("ready", "running"), ended, tools());
    equal(other.kind === "moved" && other.status.timestampMs, 42);
  });

  it("tells of the container", async () => {
    const step = await advance(
      standing("starting", "running"),
      new ScriptedController(undefined),
      tools(),
    );
    deepEqual(step.kind === "moved" && step.status.container, {
      containerId: "c",
      pid: 0,
      exitCode: 3,
    });
  });

  it("tells of its ports while it runs, and not of those it had", async () => {
    const up = await advance(
      standing("starting", "running"),
      new ScriptedController(undefined),
      tools(),
    );
    deepEqual(up.kind === "moved" && up.status.portStatus?.ports[0]?.publishedPort, 8080);
    const ended = new ScriptedController(exit({ exitCode: 1 }));
    const before = up.kind === "moved" ? up.status : TaskStatus.create();
    const over = await advance(
      { ...standing("running", "running"), status: before },
      ended,
      tools(),
    );
    deepEqual(over.kind === "moved" && over.status.portStatus, undefined);
  });

  it("takes for stopped only what was stopped", async () => {
    const failing = new ScriptedController(new Error("no answer"));
    await rejects(advance(standing("running", "shutdown"), failing, tools()), /no answer/);
  });

  for (const state of ["preparing", "starting"] as const) {
    it(`rejects with the signal's reason when cut off while ${state}`, async () => {
      const stop = new AbortController();
      stop.abort(new Error("cut off"));
      const failing = new ScriptedController(new Error("pull broke"));
      const step = advance(standing(state, "running"), failing, {
        ...tools(),
        signal: stop.signal,
      });
      await rejects(step, /cut off/);
    });
  }
});

function standing(state: TaskState, desiredState: TaskState) {
  return { task: Task.create({ id: "t", desiredState }), status: TaskStatus.create({ state }) };
}

function tools() {
  return { now: () => 42, signal: new AbortController().signal };
}

function shown(calls: readonly string[], step: Step): string {
  const call = calls.length === 0 ? "" : `${calls.join()} `;
  switch (step.kind) {
    case "idle":
      return `${call}idle`;
    case "lost":
      return `${call}-> lost`;
    case "moved":
      return `${call}-> ${step.status.state}: ${step.status.message}: ${step.status.error}`;
  }
}
