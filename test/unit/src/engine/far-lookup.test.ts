/**
 * Which task a name means, where several could be meant.
 */
import assert from "node:assert/strict";
import { Service, type Task, type TaskState } from "../../../../src/common/api/generated/api.ts";
import { findTask, looksLikeTask } from "../../../../src/engine/far-lookup.ts";
import type { ObjectView } from "../../../../src/engine/ports.ts";
import { testTask } from "../../../support/engine.ts";

const nodeId = "n".repeat(25);

function task(
  letter: string,
  o: { slot: number; state?: TaskState; container?: string; madeMs?: number },
): Task {
  const bare = testTask(letter.repeat(25), {
    serviceId: "service",
    slot: o.slot,
    nodeId,
    serviceAnnotations: { name: "my.web", labels: {} },
    meta: { version: 1, createdAtMs: o.madeMs ?? 0, updatedAtMs: 0 },
  });
  const container = { containerId: o.container ?? "", pid: 0, exitCode: 0 };
  return {
    ...bare,
    status: bare.status && { ...bare.status, state: o.state ?? "running", container },
  };
}

function view(...tasks: readonly Task[]): ObjectView {
  return {
    get: (_table: string, id: string) => tasks.find((one) => one.id === id),
    byName: (_table: string, name: string) =>
      name === "my.web" ? [Service.create({ id: "service" })] : [],
    list: () => tasks,
    tasksOfService: () => tasks,
    tasksOfNode: () => tasks,
    lookup: () => assert.fail("not looked up here"),
  } as unknown as ObjectView;
}

describe("src/engine/far-lookup", () => {
  const found = (v: ObjectView, reference: string) => findTask(v, reference)?.task.id[0];

  it("takes the task of a slot that runs, not a newer one that is being made", () => {
    const tasks = [
      task("a", { slot: 1, state: "shutdown", container: "c1", madeMs: 1 }),
      task("b", { slot: 1, container: "c2", madeMs: 2 }),
      task("c", { slot: 1, state: "preparing", madeMs: 3 }),
      task("d", { slot: 2, container: "c4", madeMs: 4 }),
    ];
    assert.equal(found(view(...tasks), "my.web.1"), "b");
  });

  it("takes the newest that has a container where none runs", () => {
    const tasks = [
      task("a", { slot: 1, state: "shutdown", container: "c1", madeMs: 1 }),
      task("b", { slot: 1, state: "failed", container: "c2", madeMs: 2 }),
      task("c", { slot: 1, state: "pending", madeMs: 3 }),
    ];
    assert.equal(found(view(...tasks), "my.web.1"), "b");
  });

  it("knows tasks of global services by their node", () => {
    assert.equal(found(view(task("a", { slot: 0, container: "c1" })), `my.web.${nodeId}`), "a");
  });

  it("knows the first task of a job by its slot, and as the docker command calls it", () => {
    const jobs = [1, 2].map((slot) => ({ ...task(`${slot}`, { slot }), jobIteration: 0 }));
    assert.equal(found(view(...jobs), "my.web.0"), "1");
    assert.equal(found(view(...jobs), `my.web.${nodeId}`), "1");
    assert.equal(found(view(...jobs), "my.web.1"), "2");
  });

  it("takes the name of a container for what it says only", () => {
    const tasks = view(task("a", { slot: 1, container: "c1" }));
    assert.equal(found(tasks, `my.web.1.${"a".repeat(25)}`), "a");
    assert.equal(found(tasks, `other.1.${"a".repeat(25)}`), undefined);
    assert.equal(found(tasks, "my.web"), undefined);
    assert.equal(found(tasks, "my.web.9"), undefined);
  });

  it("counts a container and a task that begin alike as two", () => {
    const tasks = view(
      task("a", { slot: 1, container: "b".repeat(64) }),
      task("b", { slot: 2, container: "c".repeat(64) }),
    );
    assert.throws(() => findTask(tasks, "bbbbbbb"), /ambiguous in the cluster \(2 matches found\)/);
    assert.equal(found(tasks, "ccccccc"), "b");
    assert.equal(found(tasks, "bbbbb"), undefined);
  });

  it("knows what can only be a task", () => {
    assert.equal(looksLikeTask(`web.1.${"a".repeat(25)}`), true);
    assert.equal(looksLikeTask("a".repeat(25)), true);
    assert.equal(looksLikeTask("web.1"), false);
    assert.equal(looksLikeTask("c".repeat(64)), false);
  });
});
