/**
 * Whether a task is what its service wants now.
 */
import assert from "node:assert/strict";
import {
  ContainerSpec,
  Placement,
  PullOptions,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { isTaskDirty } from "../../../../../src/common/task/dirty.ts";

const spec = (image: string, extra: Partial<TaskSpec> = {}) =>
  TaskSpec.create({ container: ContainerSpec.create({ image }), ...extra });
const service = (task: TaskSpec, specVersion: number) =>
  Service.create({ spec: ServiceSpec.create({ task }), specVersion });

describe("src/common/task/dirty", () => {
  it("trusts an equal version of the spec", () => {
    const task = Task.create({ spec: spec("a"), specVersion: 3 });
    assert.equal(isTaskDirty(service(spec("a"), 3), task), false);
  });

  it("compares what runs when versions differ", () => {
    const task = Task.create({ spec: spec("a"), specVersion: 1 });
    assert.equal(isTaskDirty(service(spec("a"), 2), task), false);
    assert.equal(isTaskDirty(service(spec("b"), 2), task), true);
    assert.equal(isTaskDirty(service(spec("a", { forceUpdate: 1 }), 2), task), true);
  });

  it("does not mind placement and credentials", () => {
    const task = Task.create({ spec: spec("a"), specVersion: 1 });
    const placement = Placement.create({ constraints: ["node.role==worker"] });
    assert.equal(isTaskDirty(service(spec("a", { placement }), 2), task), false);
    const pull = PullOptions.create({ registryAuth: "x" });
    const container = ContainerSpec.create({ image: "a", pull });
    assert.equal(isTaskDirty(service(spec("a", { container }), 2), task), false);
  });

  it("minds published ports", () => {
    const task = Task.create({ spec: spec("a"), specVersion: 1 });
    const changed = service(spec("a"), 2);
    const ports = [
      { name: "", protocol: "tcp", targetPort: 80, publishedPort: 80, publishMode: "ingress" },
    ] as const;
    const withPort = { ...changed.spec, endpoint: { mode: "vip", ports } } as ServiceSpec;
    assert.equal(isTaskDirty({ ...changed, spec: withPort }, task), true);
  });
});
