/**
 * How `skep stack` names the place of a task.
 */
import { equal } from "node:assert/strict";
import type { ApiObject } from "../../../../../src/cli/stack/client.ts";
import { taskPlace } from "../../../../../src/cli/stack/task-place.ts";

const service = (Mode: object): ApiObject => ({
  ...{ id: "s", name: "a", version: 1, labels: {}, spec: { Mode }, raw: {} },
});

describe("src/cli/stack/task-place", () => {
  it("knows the first slot of a job, which the API leaves out, from a place that is a node", () => {
    const task = { NodeID: "n1" };
    equal(taskPlace(task, service({ ReplicatedJob: {} })), "0");
    equal(taskPlace({ ...task, Slot: 1 }, service({ ReplicatedJob: {} })), "1");
    equal(taskPlace(task, service({ GlobalJob: {} })), "n1");
    equal(taskPlace(task, service({ Global: {} })), "n1");
    equal(taskPlace({ ...task, Slot: 3 }, service({ Replicated: {} })), "3");
  });
});
