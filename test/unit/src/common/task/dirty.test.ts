/**
 * Whether a task is what its service wants now.
 */
import assert from "node:assert/strict";
import {
  ContainerSpec,
  EarlierImage,
  Node,
  NodeDescription,
  Placement,
  PullOptions,
  Service,
  ServiceImage,
  ServiceSpec,
  Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { parsePlatform } from "../../../../../src/common/platform/match.ts";
import { awaitsManifests, isTaskDirty } from "../../../../../src/common/task/dirty.ts";

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

  describe("of an image that was pushed again under its tag", () => {
    const [old = "", next = ""] = ["a", "b"].map((hex) => `app:1@sha256:${hex.repeat(64)}`);
    const platforms = ["linux/amd64", "linux/arm64"].map(parsePlatform);
    const earlier = [EarlierImage.create({ reference: old, platforms, manifests: ["x1", "a1"] })];
    const known = { reference: next, platforms, manifests: ["x1", "a2"], earlier };
    const wanted = (image: Partial<ServiceImage> = known) => ({
      ...service(spec(next), 2),
      image: ServiceImage.create(image),
    });
    const task = Task.create({ spec: spec(old), specVersion: 1 });
    const on = (platform: string) =>
      Node.create({
        description: NodeDescription.create({ platforms: [parsePlatform(platform)] }),
      });

    it("replaces tasks where another manifest runs by now", () => {
      assert.equal(isTaskDirty(wanted(), task, on("linux/amd64")), false);
      assert.equal(isTaskDirty(wanted(), task, on("linux/arm64")), true);
      assert.equal(isTaskDirty(wanted(), task), true, "nobody knows where");
    });

    it("replaces all where something else differs, or what was is not known", () => {
      const more = { ...wanted(), ...service(spec(next, { forceUpdate: 1 }), 2) };
      assert.equal(isTaskDirty(more, task, on("linux/amd64")), true);
      const unknown = wanted({ ...known, earlier: [] });
      assert.equal(isTaskDirty(unknown, task, on("linux/amd64")), true);
      const other = Task.create({ spec: spec(old.replace("app:1", "app:2")) });
      assert.equal(isTaskDirty(wanted(), other, on("linux/amd64")), true);
    });

    it("waits for the registry where its answer may spare tasks", () => {
      const before = { reference: old, platforms, manifests: ["x1", "a1"] };
      assert.equal(awaitsManifests(wanted(before)), true);
      assert.equal(awaitsManifests(wanted()), false, "it has answered");
      assert.equal(awaitsManifests(wanted({ ...before, manifests: [] })), false, "nothing known");
      const failed = { reference: next, error: "away", earlier };
      assert.equal(awaitsManifests(wanted(failed)), false, "it does not answer");
    });
  });
});
