/** How the tasks of a service are called in its picture. */
import { deepEqual } from "node:assert/strict";
import type { Task } from "../../../../../src/common/api/generated/api.ts";
import { pictureOf } from "../../../../../src/engine/explain/picture.ts";
import type { ObjectView } from "../../../../../src/engine/ports.ts";
import { node, service, task } from "../../../../support/store-objects.ts";

function namesOf(...parts: readonly Parameters<typeof task>[0][]): readonly string[] {
  const tasks: readonly Task[] = parts.map((one) => ({
    ...task({ serviceId: "s1", nodeId: "n1", ...one }),
    serviceAnnotations: { name: "web", labels: {} },
  }));
  const view = {
    get: (table: string, id: string) => (table === "node" && id === "n1" ? node("n1") : undefined),
    list: () => [],
    tasksOfService: () => tasks,
    tasksOfNode: () => tasks,
  } as unknown as ObjectView;
  const subject = { kind: "service", name: "web", id: "s1" } as const;
  const picture = pictureOf({ subject, service: service({ id: "s1", name: "web" }) }, view);
  return picture.tasks.map(({ name }) => name);
}

describe("src/engine/explain/picture", () => {
  it("calls tasks by their slots, those of jobs from 0, and those of global services by their node", () => {
    deepEqual(namesOf({ id: "t1", slot: 1 }, { id: "t2", slot: 2 }), ["web.1", "web.2"]);
    deepEqual(namesOf({ id: "t1", slot: 1, jobIteration: 3 }), ["web.0"]);
    deepEqual(namesOf({ id: "t1" }), ["web.n1"]);
  });
});
