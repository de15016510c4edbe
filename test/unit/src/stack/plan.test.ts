/** Tests of src/stack/plan.ts: what differs between two specs. */
import { deepEqual } from "node:assert/strict";
import { serviceDifferences } from "../../../../src/stack/plan.ts";
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
    [
      spec({ Args: ["sleep", "1"] }),
      spec({ Args: ["sleep", "2"] }),
      ['TaskTemplate.ContainerSpec.Args ["sleep","1"] ["sleep","2"]'],
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
});
