/**
 * The end of containers, over a containerd that answers when it is told to.
 */
import assert from "node:assert/strict";
import { Entry, freshState } from "../../../../../agent/exec/containerd/entry.ts";
import { Gate } from "../../../../../agent/exec/containerd/gate.ts";
import { Making } from "../../../../../agent/exec/containerd/making.ts";
import {
  type ContainerFacts,
  emptyContainerConfig,
} from "../../../../../agent/exec/containerd/record.ts";
import { Records } from "../../../../../agent/exec/containerd/records.ts";
import { Runner, type RunnerOptions } from "../../../../../agent/exec/containerd/runner.ts";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import type { ContainerConfig } from "../../../../../src/common/container/types.ts";
import { ClusterError } from "../../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";
import { settled } from "../../../../support/message-queue.ts";

const pid = 4_000_000;
const exit = { pid, exitCode: 137, atMs: 1_000 };

describe("agent/exec/containerd/runner", () => {
  let done: string[];
  let deletion: () => void;
  /** Whether a start is what is tested. */
  let creating: boolean;
  /** Of the deletion of its task. */
  let failure: Error | undefined;
  /** What the creation of a task comes to, one after the other; well when there is none. */
  let creations: Error[];
  /** When places in networks are given up. */
  let left: Promise<void>;
  let runner: Runner;

  beforeEach(() => {
    done = [];
    left = Promise.resolve();
    failure = undefined;
    creations = [];
    creating = false;
    const deleted = new Promise<void>((resolve) => {
      deletion = resolve;
    });
    const client = {
      call: async ({ path }: { path: string }) => {
        const name = path.split("/").at(-1) ?? "";
        done.push(name);
        const refusal = path.endsWith("Tasks/Create") ? creations.shift() : undefined;
        if (refusal !== undefined) throw refusal;
        if (path.endsWith("Tasks/Create")) return { pid };
        if (path.endsWith("Tasks/Get")) throw new ClusterError("not-found", "no such task");
        if (path.endsWith("Tasks/Delete") && creating) throw new ClusterError("not-found", "none");
        if (name === "Delete") await deleted;
        if (name === "Delete" && failure !== undefined) throw failure;
        return {};
      },
    };
    const nothing = () => undefined;
    const options = {
      client,
      records: new Records({ client, optionsOf: nothing, log: silentLog } as never),
      streams: {
        stopped: async () => done.push("log complete"),
        prepare: async () => ({ stdin: "", stdout: "", stderr: "", terminal: false }),
        started: nothing,
      },
      programs: { optionsOf: nothing },
      networks: { leave: () => left.then(() => done.push("places given up")) },
      specs: {
        removeReadSecrets: nothing,
        removeSecrets: () => done.push("secrets forgotten"),
        cgroupOf: () => "/none",
        userIn: nothing,
        build: async () => "{}",
        learn: async () => undefined,
        memoryForVariables: nothing,
      },
      layers: { rest: async () => undefined, boundedIn: async () => [] },
      node: { cgroups: { version: 2, trees: [], mountOf: new Map(), controllers: new Set() } },
      gate: new Gate(1),
      joining: new Gate(1),
      making: new Making(1),
      emit: (_: Entry, action: string) => done.push(action),
      stopping: new AbortController().signal,
      clock: new FakeClock(),
      log: silentLog,
    };
    runner = new Runner(options as unknown as RunnerOptions);
  });

  function running(config: Partial<ContainerConfig>, stopped: boolean): Entry {
    const facts = { id: "c1", name: "c1", config: { ...emptyContainerConfig, ...config } };
    const state = { ...freshState, phase: "running" as const, pid };
    return new Entry(
      facts as unknown as ContainerFacts,
      { state, stopped, lastExit: undefined },
      "{}",
    );
  }
  const task = { taskId: "t1" } as NonNullable<ContainerConfig["task"]>;

  it("tells the end of a task that was told to stop before what is left of it is removed", async () => {
    const entry = running({ task }, true);
    const told = entry.nextExit(new AbortController().signal);
    const whole = runner.exited(entry, exit);
    assert.deepEqual(await told, { exitCode: 137, error: "" });
    assert.equal(entry.state.phase, "exited");
    assert.equal(entry.state.finishedAtMs, 1_000);
    for (let turn = 0; turn < 10; turn++) await settled();
    // Its places are free for its successor, and its end is known to the next life of the daemon.
    assert.deepEqual(done, ["places given up", "Update", "die", "Delete"]);
    assert.ok(entry.isBusy);
    deletion();
    await whole;
    assert.deepEqual(done.slice(4), ["secrets forgotten", "log complete"]);
  });

  it("does not keep what such a task has read until its places are given up", async () => {
    let leave = () => {};
    left = new Promise((resolve) => {
      leave = resolve;
    });
    const entry = running({ task }, true);
    const whole = runner.exited(entry, exit);
    deletion();
    for (let turn = 0; turn < 10; turn++) await settled();
    assert.ok(entry.isRunning);
    assert.deepEqual(done, ["Update", "Delete", "secrets forgotten", "log complete"]);
    leave();
    await whole;
    assert.equal(entry.state.phase, "exited");
    assert.deepEqual(done.slice(4), ["places given up", "Update", "die"]);
  });

  it("forgets what such a task has read though containerd is away by then", async () => {
    failure = new ClusterError("unavailable", "containerd is away");
    const entry = running({ task }, true);
    deletion();
    await runner.exited(entry, exit);
    assert.equal(entry.state.phase, "exited");
    assert.deepEqual(done.slice(3), ["Delete", "secrets forgotten", "log complete"]);
  });

  it("does what an earlier life of the daemon has left of such an end, and only of one", async () => {
    await runner.finishEnd(running({ task }, true));
    const [made, other, ended] = [
      running({ task }, true),
      running({}, true),
      running({ task }, true),
    ];
    made.setState({ phase: "created", pid: 0 });
    for (const entry of [other, ended]) entry.setState({ phase: "exited", pid: 0 });
    // It may still be started.
    await runner.finishEnd(made);
    await runner.finishEnd(other);
    assert.deepEqual(done, []);
    await runner.finishEnd(ended);
    assert.deepEqual(done, ["secrets forgotten", "log complete"]);
  });

  for (const [what, config, stopped] of [
    ["a task that ends by itself", { task }, false],
    ["a container that was told to stop", {}, true],
    ["a task among processes of others", { task, pidMode: "host" }, true],
  ] as const)
    it(`tells the end of ${what} once its log is complete`, async () => {
      const entry = running(config, stopped);
      const whole = runner.exited(entry, exit);
      for (let turn = 0; turn < 10; turn++) await settled();
      assert.equal(done.at(-1), "Delete");
      assert.ok(entry.isRunning);
      deletion();
      await whole;
      const ends = done.slice(done.indexOf("log complete"), done.indexOf("die") + 1);
      assert.deepEqual(ends, ["log complete", "places given up", "Update", "die"]);
    });

  function fresh(): Entry {
    creating = true;
    const config = { ...emptyContainerConfig, networks: ["none"] };
    const facts = { id: "c1", name: "c1", config, shimGroup: "c0" };
    const life = { state: freshState, stopped: false, lastExit: undefined };
    const entry = new Entry(facts as unknown as ContainerFacts, life, "{}");
    entry.rootfs = [];
    return entry;
  }

  for (const text of [
    "failed to create shim task: ttrpc: closed",
    "failed to start shim: start failed: dial unix /run/containerd/s/ab: connect: connection refused",
  ])
    it(`starts again what met a shim that was about to end (${text.slice(0, 24)})`, async () => {
      creations = [new ClusterError("unknown", text)];
      const entry = fresh();
      await runner.start(entry, new AbortController().signal);
      assert.equal(entry.state.phase, "running");
      assert.deepEqual(
        done.filter((name) => ["Create", "Get", "Delete", "Start", "start"].includes(name)),
        ["Create", "Get", "Delete", "Create", "Start", "start"],
      );
    });

  it("does not start again what its program refuses", async () => {
    creations = [new ClusterError("unknown", "OCI runtime create failed: no")];
    await assert.rejects(runner.start(fresh(), new AbortController().signal), /no/);
    assert.deepEqual(done.filter((name) => name === "Create").length, 1);
  });
});
