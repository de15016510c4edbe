/**
 * Tasks as users see them: slots of jobs, and what became of those the managers rejected.
 */
import { deepEqual, equal } from "node:assert/strict";
import { Task, TaskStatus } from "../../../../../src/common/api/generated/api.ts";
import { taskName, taskToJson } from "../../../../../src/engine/translate/task.ts";

const shown = (parts: Partial<Task>) => {
  const task = Task.create({ id: "t", nodeId: "n", serviceAnnotations, ...parts });
  return [taskToJson(task, () => undefined)["Slot"], taskName(task)];
};
const serviceAnnotations = { name: "web", labels: {} };

describe("src/engine/translate/task", () => {
  it("shows slots from 1, those of jobs from 0, for which the docker command waits", () => {
    deepEqual(shown({ slot: 1 }), [1, "web.1.t"]);
    deepEqual(shown({ slot: 1, jobIteration: 0 }), [undefined, "web.0.t"]);
    deepEqual(shown({ slot: 3, jobIteration: 2 }), [2, "web.2.t"]);
    deepEqual(shown({ jobIteration: 0 }), [undefined, "web.n.t"]);
  });

  it("shows a rejection in place of what the agent says, but for the container", () => {
    const container = { containerId: "c", pid: 1, exitCode: 0 };
    const status = TaskStatus.create({ state: "running", container });
    const rejection = TaskStatus.create({ state: "rejected", error: "why" });
    const { Status } = taskToJson(Task.create({ status, rejection }), () => undefined);
    const { State, Err, ContainerStatus } = Status as Readonly<Record<string, object>>;
    deepEqual([State, Err], ["rejected", "why"]);
    equal((ContainerStatus as { readonly ContainerID: string }).ContainerID, "c");
  });
});
