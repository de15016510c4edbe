/**
 * Which statuses the leader writes, and which it refuses; and whose tasks it gives up.
 */
import { deepEqual, equal } from "node:assert/strict";
import {
  decideGivenUp,
  isToBeOrphaned,
  orphanedAfterMs,
} from "../../../../manager/dispatcher/orphans.ts";
import { taskAfterStatus } from "../../../../manager/dispatcher/task-statuses.ts";
import {
  ContainerStatus,
  Node,
  NodeStatus,
  Task,
  type TaskState,
  TaskStateValues,
  TaskStatus,
} from "../../../../src/common/api/generated/api.ts";

const task = (state: TaskState, fields: Partial<TaskStatus> = {}) =>
  Task.create({ id: "t", status: TaskStatus.create({ state, timestampMs: 5, ...fields }) });

describe("manager/dispatcher/task-statuses", () => {
  const rows: readonly (readonly [string, TaskState, Partial<TaskStatus>, boolean])[] = [
    ["a step forward", "assigned", { state: "accepted" }, true],
    ["many steps forward", "assigned", { state: "failed" }, true],
    ["a step back", "running", { state: "starting" }, false],
    ["what is said again", "running", { state: "running", timestampMs: 5 }, false],
    ["the same state, later", "running", { state: "running", timestampMs: 6 }, true],
    ["the same state, as of before", "running", { state: "running", timestampMs: 4 }, false],
    [
      "more of the same moment",
      "running",
      { state: "running", timestampMs: 5, container: ContainerStatus.create({ pid: 3 }) },
      true,
    ],
    ["another end", "complete", { state: "failed" }, false],
    ["word from the dead", "orphaned", { state: "rejected" }, false],
    ["ORPHANED, which only managers say", "running", { state: "orphaned" }, false],
    ["REMOVE, which only managers say", "running", { state: "remove" }, false],
    ["PENDING, which only managers say", "new", { state: "pending" }, false],
  ];
  for (const [what, state, fields, isTaken] of rows) {
    it(`${isTaken ? "takes" : "refuses"} ${what}`, () => {
      const before = task(state);
      const status = TaskStatus.create({ timestampMs: 1, ...fields });
      const after = taskAfterStatus(before, status);
      equal(after !== before, isTaken);
      if (isTaken) deepEqual(after, { ...before, status });
    });
  }

  it("knows a status again whoever brought it", () => {
    const before = task("running", { appliedBy: "m1", appliedAtMs: 1 });
    const again = TaskStatus.create({ ...before.status, appliedBy: "m2", appliedAtMs: 2 });
    equal(taskAfterStatus(before, again), before);
  });
});

describe("manager/dispatcher/orphans", () => {
  const node = (id: string, state: "down" | "ready", downSinceMs: number) =>
    Node.create({ id, status: NodeStatus.create({ state }), downSinceMs });

  it("gives up nodes that have been down for a day, and no others", () => {
    const now = 2 * orphanedAfterMs;
    const nodes = [
      node("a", "down", now - orphanedAfterMs),
      node("b", "down", now - orphanedAfterMs + 1),
      node("c", "ready", 0),
      node("d", "down", 0),
    ];
    deepEqual(decideGivenUp(nodes, now), ["a"]);
  });

  it("gives up what was assigned and has not ended", () => {
    deepEqual(
      TaskStateValues.filter((state) => isToBeOrphaned(task(state))),
      ["assigned", "accepted", "preparing", "ready", "starting", "running"],
    );
  });
});
