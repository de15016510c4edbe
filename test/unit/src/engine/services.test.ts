/** How many tasks of a service run and are wanted, as `docker service ls` shows it. */
import { deepEqual } from "node:assert/strict";
import {
  ReplicatedMode,
  Service,
  ServiceMode,
  ServiceSpec,
  Task,
  type TaskState,
  TaskStatus,
} from "../../../../src/common/api/generated/api.ts";
import { statusOf } from "../../../../src/engine/services.ts";

const replicated = Service.create({
  id: "s",
  spec: ServiceSpec.create({
    mode: ServiceMode.create({ replicated: ReplicatedMode.create({ replicas: 2 }) }),
  }),
});

const on = (nodeId: string, state: TaskState) =>
  Task.create({ id: `${nodeId}-${state}`, nodeId, status: TaskStatus.create({ state }) });

describe("src/engine/services", () => {
  it("does not count what last ran on a node that is lost", () => {
    const tasks = [on("lost", "running"), on("m1", "running"), on("m2", "running")];
    const isLost = (nodeId: string) => nodeId === "lost";
    deepEqual(statusOf(replicated, tasks, isLost), { running: 2, desired: 2, completed: 0 });
  });

  it("counts what runs, whatever it was told to do, and nothing that does not run yet", () => {
    const stopping = { ...on("m1", "running"), desiredState: "shutdown" as const };
    const tasks = [stopping, on("m1", "starting"), on("m2", "failed")];
    deepEqual(statusOf(replicated, tasks), { running: 1, desired: 2, completed: 0 });
  });
});
