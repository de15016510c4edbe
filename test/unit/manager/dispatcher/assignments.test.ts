/**
 * What the agent of a node is told: the node's tasks and what they read, in messages of bounded size.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import {
  type AssignmentSource,
  changesFor,
  concernsAgent,
  fullMessagesOf,
  messagesOf,
  nothingTold,
  type Told,
} from "../../../../manager/dispatcher/assignments.ts";
import {
  Assignments,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  Secret,
  SecretReference,
  SecretSpec,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../../../src/common/api/generated/api.ts";
import { assignmentBytesMax, assignmentObjectsMax } from "../../../../src/common/limits/agent.ts";
import { payloadKey } from "../../../../src/common/spec/payload-revision.ts";

const none: ReadonlySet<string> = new Set();

function task(
  id: string,
  states: readonly [state: TaskState, desired?: TaskState],
  reads: readonly string[] = [],
): Task {
  const secrets = reads.filter((name) => name.startsWith("s"));
  const configs = reads.filter((name) => name.startsWith("c"));
  return Task.create({
    id,
    nodeId: "n",
    status: TaskStatus.create({ state: states[0] }),
    desiredState: states[1] ?? "running",
    spec: TaskSpec.create({
      container: ContainerSpec.create({
        secrets: secrets.map((secretId) => SecretReference.create({ secretId })),
        configs: configs.map((configId) => ConfigReference.create({ configId })),
      }),
    }),
  });
}

function source(tasks: readonly Task[], gone: readonly string[] = []): AssignmentSource {
  return {
    tasksOfNode: (nodeId) => tasks.filter((one) => one.nodeId === nodeId),
    secret: ({ id, revision }) =>
      gone.includes(id) ? undefined : Secret.create({ id: payloadKey(id, revision), revision }),
    config: ({ id, revision }) =>
      gone.includes(id) ? undefined : Config.create({ id: payloadKey(id, revision), revision }),
  };
}

function said(from: AssignmentSource, told: Told = nothingTold, changed = none): string[] {
  const changes = changesFor("n", told, changed, from);
  return [
    ...[...changes.secrets, ...changes.configs, ...changes.tasks].map(({ id }) => `+${id}`),
    ...changes.removedTaskIds.map((id) => `-${id}`),
    ...changes.removedSecretIds.map((id) => `-${id}`),
    ...changes.removedConfigIds.map((id) => `-${id}`),
  ];
}

function told(from: AssignmentSource): Told {
  return changesFor("n", nothingTold, none, from).told;
}

describe("manager/dispatcher/assignments", () => {
  it("gives each task the revision it names, of one config several at a time", () => {
    const reading = (id: string, revision: number): Task => {
      const configs = [ConfigReference.create({ configId: "c1", revision })];
      const spec = TaskSpec.create({ container: ContainerSpec.create({ configs }) });
      return { ...task(id, ["running"]), spec };
    };
    const both = source([reading("a", 0), reading("b", 2)]);
    deepEqual(said(both), ["+c1", "+c1.2", "+a", "+b"]);
    deepEqual(said(source([reading("b", 2)]), told(both)), ["-a", "-c1"]);
  });

  it("has the tasks of the node from ASSIGNED on, ended ones too, but none that is given up", () => {
    const tasks = [
      task("a", ["pending"]),
      task("b", ["assigned"]),
      task("c", ["running"]),
      task("d", ["failed", "shutdown"]),
      task("e", ["orphaned"]),
      { ...task("f", ["running"]), nodeId: "other" },
    ];
    deepEqual(said(source(tasks)), ["+b", "+c", "+d"]);
  });

  it("says nothing twice unless it changed", () => {
    const from = source([task("a", ["running"], ["s1"]), task("b", ["running"])]);
    deepEqual(said(from, told(from)), []);
    deepEqual(said(from, told(from), new Set(["b"])), ["+b"]);
    deepEqual(said(from, told(from), new Set(["s1"])), ["+s1"]);
  });

  it("sends what tasks read while one of them is to run, and takes it away after", () => {
    const [first, second] = [task("a", ["running"], ["s1", "c1"]), task("b", ["assigned"], ["s1"])];
    const both = source([first, second]);
    deepEqual(said(both), ["+s1", "+c1", "+a", "+b"]);
    const ending = source([{ ...first, desiredState: "shutdown" }, second]);
    deepEqual(said(ending, told(both), new Set(["a"])), ["+a", "-c1"]);
    const ended = source([task("a", ["failed"], ["s1", "c1"])]);
    deepEqual(said(ended, told(both)), ["-b", "-s1", "-c1"]);
  });

  it("sends a task whose secret is gone: its node says so", () => {
    deepEqual(said(source([task("a", ["assigned"], ["s1"])], ["s1"])), ["+a"]);
  });

  it("takes away what left the node", () => {
    const before = source([task("a", ["running"]), task("b", ["running"])]);
    deepEqual(said(source([task("b", ["running"])]), told(before)), ["-a"]);
  });

  const rows: readonly (readonly [string, Partial<Task>, boolean])[] = [
    ["a status within a life", { status: TaskStatus.create({ state: "running" }) }, false],
    ["an end", { status: TaskStatus.create({ state: "failed" }) }, true],
    ["a wish", { desiredState: "shutdown" }, true],
    ["another node", { nodeId: "m" }, true],
    ["addresses", { networks: [] }, true],
  ];
  for (const [what, change, expected] of rows) {
    it(`${what} ${expected ? "concerns" : "does not concern"} the agent`, () => {
      const before = task("a", ["starting"]);
      equal(concernsAgent(before, { ...before, ...change }), expected);
    });
  }

  describe("as messages", () => {
    it("has no increment for nothing, and one piece of an empty full set", () => {
      const nothing = changesFor("n", nothingTold, none, source([]));
      deepEqual(messagesOf(nothing, 1), []);
      deepEqual(fullMessagesOf(nothing, 4), [
        Assignments.create({ number: 4, full: true, first: true, last: true }),
      ]);
    });

    it("cuts by number, counts on, and says where a full set begins and ends", () => {
      const tasks = Array.from({ length: 2 * assignmentObjectsMax + 1 }, (_, i) =>
        task(`t${i}`, ["assigned"]),
      );
      const changes = changesFor("n", nothingTold, none, source(tasks));
      const pieces = fullMessagesOf(changes, 7);
      deepEqual(
        pieces.map(({ number, full, first, last, tasks: some }) => [
          number,
          full,
          first,
          last,
          some.length,
        ]),
        [
          [7, true, true, false, assignmentObjectsMax],
          [8, true, false, false, assignmentObjectsMax],
          [9, true, false, true, 1],
        ],
      );
      deepEqual(
        messagesOf(changes, 2).map(({ number, full }) => [number, full]),
        [
          [2, false],
          [3, false],
          [4, false],
        ],
      );
    });

    it("cuts by bytes, what is read before those who read it", () => {
      const data = new Uint8Array(assignmentBytesMax / 2);
      const tasks = [task("a", ["assigned"], ["s1", "s2", "c1"])];
      const from: AssignmentSource = {
        ...source(tasks),
        secret: ({ id }) => Secret.create({ id, spec: SecretSpec.create({ data }) }),
        config: ({ id }) => Config.create({ id, spec: ConfigSpec.create({ data }) }),
      };
      const pieces = messagesOf(changesFor("n", nothingTold, none, from), 1);
      deepEqual(
        pieces.map(({ secrets, configs, tasks: some }) =>
          [...secrets, ...configs, ...some].map(({ id }) => id),
        ),
        [["s1"], ["s2"], ["c1", "a"]],
      );
      for (const piece of pieces) ok(Assignments.encode(piece).length <= assignmentBytesMax);
    });

    it("measures specs: tasks with large ones share no message", () => {
      const spec = TaskSpec.create({
        container: ContainerSpec.create({ env: ["x".repeat(assignmentBytesMax / 2)] }),
      });
      const tasks = ["a", "b", "c"].map((id) => ({ ...task(id, ["assigned"]), spec }));
      equal(messagesOf(changesFor("n", nothingTold, none, source(tasks)), 1).length, 3);
    });
  });
});
