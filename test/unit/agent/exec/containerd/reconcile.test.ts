/**
 * The comparison of what is known of containers with the tasks containerd has.
 */
import { deepEqual } from "node:assert/strict";
import {
  type FoundTask,
  type KnownContainer,
  reconcile,
} from "../../../../../agent/exec/containerd/reconcile.ts";
import { deadShimMs } from "../../../../../src/common/limits/runtime.ts";

const task = (fields: Partial<FoundTask>): FoundTask => ({
  id: "a",
  pid: 7,
  status: "running",
  exitCode: 0,
  exitedAtMs: 0,
  ...fields,
});
const container = (fields: Partial<KnownContainer>): KnownContainer => ({
  id: "a",
  isRunning: true,
  pid: 7,
  endedPid: undefined,
  ...fields,
});
const stopped = task({ status: "stopped", exitCode: 42, exitedAtMs: 5 });

describe("agent/exec/containerd/reconcile", () => {
  const cases: readonly {
    readonly it: string;
    readonly known?: readonly KnownContainer[];
    readonly tasks?: readonly FoundTask[];
    readonly busy?: boolean;
    readonly first?: boolean;
    readonly missingMs?: number;
    readonly steps: readonly object[];
  }[] = [
    {
      it: "leaves alone what is as it is known",
      known: [container({})],
      tasks: [task({})],
      steps: [],
    },
    {
      it: "takes over what runs when the daemon came",
      known: [container({})],
      tasks: [task({})],
      first: true,
      steps: [{ kind: "adopt", id: "a", pid: 7, paused: false }],
    },
    {
      it: "takes over what is not known to run",
      known: [container({ isRunning: false, pid: 0 })],
      tasks: [task({ status: "paused" })],
      steps: [{ kind: "adopt", id: "a", pid: 7, paused: true }],
    },
    {
      it: "takes in an end with its code and time",
      known: [container({})],
      tasks: [stopped],
      steps: [{ kind: "exited", id: "a", pid: 7, exitCode: 42, atMs: 5 }],
    },
    {
      it: "takes in a run that nobody saw begin",
      known: [container({ isRunning: false, pid: 0, endedPid: 6 })],
      tasks: [stopped],
      steps: [{ kind: "exited-unseen", id: "a", pid: 7, exitCode: 42, atMs: 5 }],
    },
    {
      it: "does not take an end in twice",
      known: [container({ isRunning: false, pid: 0, endedPid: 7 })],
      tasks: [stopped],
      steps: [{ kind: "drop", id: "a" }],
    },
    {
      it: "drops a task of nobody",
      tasks: [task({})],
      steps: [{ kind: "drop", id: "a" }],
    },
    {
      it: "drops a task that was made and never started",
      known: [container({ isRunning: false, pid: 0 })],
      tasks: [task({ status: "created" })],
      steps: [{ kind: "drop", id: "a" }],
    },
    {
      it: "finds what went down with the node",
      known: [container({})],
      steps: [{ kind: "lost", id: "a" }],
    },
    {
      it: "waits for the word of an end whose shim may have died just now",
      known: [container({})],
      missingMs: 0,
      steps: [{ kind: "missing", id: "a" }],
    },
    {
      it: "does not wait for that for ever",
      known: [container({})],
      missingMs: deadShimMs,
      steps: [{ kind: "lost", id: "a" }],
    },
    {
      it: "does not take over what ended since the list was made",
      known: [container({ isRunning: false, pid: 0, endedPid: 7 })],
      tasks: [task({})],
      steps: [],
    },
    {
      it: "leaves alone what is being changed",
      known: [container({})],
      tasks: [stopped],
      busy: true,
      steps: [],
    },
    {
      it: "does not take what is being started for lost",
      known: [container({})],
      busy: true,
      steps: [],
    },
  ];
  for (const { it: fact, known = [], tasks = [], steps, ...o } of cases) {
    const { busy = false, first = false, missingMs = Infinity } = o;
    it(fact, () =>
      deepEqual(
        reconcile({ known, tasks, isBusy: () => busy, first, missingMs: () => missingMs }),
        steps,
      ),
    );
  }
});
