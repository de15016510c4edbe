/** Tests of src/stack/plan.ts: what differs between two specs, and what an update does to tasks. */
import { deepEqual } from "node:assert/strict";
import { effectsOf, serviceDifferences } from "../../../../src/stack/plan.ts";
import type { Body } from "../../../../src/stack/translate/context.ts";

const spec = (container: Body, rest: Body = {}): Body => ({
  Name: "s",
  TaskTemplate: { ContainerSpec: { Image: "i", ...container } },
  ...rest,
});
const nameOf = (id: string) => (id === "id1" ? "net" : id);

describe("src/stack/plan", () => {
  for (const [name, before, after] of [
    ["what is empty is nothing", spec({ Env: [], TTY: false, Labels: {} }), spec({})],
    [
      "defaults say nothing",
      spec({ Isolation: "default" }, { EndpointSpec: { Mode: "vip" } }),
      spec({}),
    ],
    [
      "one replica",
      spec({}, { Mode: { Replicated: { Replicas: 1 } } }),
      spec({}, { Mode: { Replicated: {} } }),
    ],
    [
      "one completion",
      spec({}, { Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } } }),
      spec({}, { Mode: { ReplicatedJob: {} } }),
    ],
    [
      "completions that follow",
      spec({}, { Mode: { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } } }),
      spec({}, { Mode: { ReplicatedJob: { MaxConcurrent: 3 } } }),
    ],
    ["the order of fields", spec({ A: { x: 1, y: 2 } }), spec({ A: { y: 2, x: 1 } })],
    [
      "ids of secrets",
      spec({ Secrets: [{ SecretID: "1", SecretName: "n" }] }),
      spec({ Secrets: [{ SecretID: "2", SecretName: "n" }] }),
    ],
    [
      "ids of networks",
      { TaskTemplate: { Networks: [{ Target: "id1" }] } },
      { TaskTemplate: { Networks: [{ Target: "net" }] } },
    ],
  ] as const)
    it(`sees no difference: ${name}`, () =>
      deepEqual(serviceDifferences(before, after, nameOf), []));

  for (const [before, after, expected] of [
    [spec({}), spec({ Image: "j" }), ["TaskTemplate.ContainerSpec.Image i j"]],
    [spec({}), spec({ TTY: true }), ["TaskTemplate.ContainerSpec.TTY undefined true"]],
    [
      spec({ Env: ["A=1", "B=2"] }),
      spec({ Env: ["A=2", "C=3"] }),
      [
        "TaskTemplate.ContainerSpec.Env.A (a value) (another value)",
        "TaskTemplate.ContainerSpec.Env.B (a value) undefined",
        "TaskTemplate.ContainerSpec.Env.C undefined (another value)",
      ],
    ],
    [
      spec({ Mounts: [{ a: 1 }, { b: 1 }] }),
      spec({ Mounts: [{ b: 1 }, { c: 1 }] }),
      [
        'TaskTemplate.ContainerSpec.Mounts {"a":1} undefined',
        'TaskTemplate.ContainerSpec.Mounts undefined {"c":1}',
      ],
    ],
    [
      spec({ Args: ["a", "b"] }),
      spec({ Args: ["b", "a"] }),
      ['TaskTemplate.ContainerSpec.Args ["a","b"] ["b","a"]'],
    ],
    [spec({}, { Labels: { a: "1" } }), spec({}), ["Labels.a 1 undefined"]],
  ] as const)
    it(`sees ${expected[0]}`, () => {
      const found = serviceDifferences(before, after, nameOf);
      deepEqual(
        found.map((one) => `${one.path} ${one.before} ${one.after}`),
        expected,
      );
    });

  const replicas = (count: number, rest: Body = {}) => ({
    Mode: { Replicated: { Replicas: count } },
    ...rest,
  });
  for (const [before, after, expected] of [
    [spec({}, replicas(1)), spec({}, replicas(3)), ["starts 2 more tasks"]],
    [spec({}, replicas(3)), spec({}, replicas(2)), ["stops 1 task"]],
    [
      spec({}, replicas(3)),
      spec({ Image: "j" }, replicas(3)),
      ["replaces 3 tasks, 1 at a time, stop-first", "up to 1 of them is away meanwhile"],
    ],
    [
      spec({}, replicas(2)),
      spec({ Image: "j" }, replicas(2, { UpdateConfig: { Parallelism: 0 } })),
      ["replaces 2 tasks, all at once, stop-first", "the service is away meanwhile"],
    ],
    [
      spec({}, replicas(2)),
      spec({ Image: "j" }, replicas(2, { UpdateConfig: { Parallelism: 1, Order: "start-first" } })),
      ["replaces 2 tasks, 1 at a time, start-first"],
    ],
    [
      spec({}, { Mode: { Global: {} } }),
      spec({ Image: "j" }, { Mode: { Global: {} } }),
      [
        "replaces the task of every node, 1 at a time, stop-first",
        "up to 1 of them is away meanwhile",
      ],
    ],
    [spec({}), spec({}, { Labels: { a: "b" } }), ["touches no task"]],
    [spec({}), spec({}), []],
  ] as const)
    it(`says ${JSON.stringify(expected)}`, () => {
      deepEqual(effectsOf(serviceDifferences(before, after, nameOf), before, after), expected);
    });
});
