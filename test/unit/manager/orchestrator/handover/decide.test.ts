/**
 * When a task on a drained node is let go of: a table of heirs and times, and what is handed over at all.
 */
import assert from "node:assert/strict";
import {
  planHandover,
  startsElsewhereFirst,
} from "../../../../../manager/orchestrator/handover/decide.ts";
import {
  ReplicatedMode,
  RestartPolicy,
  Service,
  ServiceMode,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskStatus,
  UpdateConfig,
} from "../../../../../src/common/api/generated/api.ts";

type Parts = {
  readonly order?: "stop-first" | "start-first";
  readonly condition?: "any" | "none";
  readonly labels?: Record<string, string>;
};

function service({ order = "start-first", condition = "any", labels = {} }: Parts = {}): Service {
  return Service.create({
    id: "web",
    spec: ServiceSpec.create({
      annotations: { name: "web", labels },
      mode: ServiceMode.create({ replicated: ReplicatedMode.create({ replicas: 1 }) }),
      task: TaskSpec.create({ restart: RestartPolicy.create({ condition, delayNs: 2e9 }) }),
      update: UpdateConfig.create({ order }),
    }),
  });
}

function heir(state: "pending" | "starting" | "running" | "failed", error = ""): Task {
  const status = TaskStatus.create({ state, error });
  return Task.create({ id: "new", slot: 1, serviceId: "web", desiredState: "running", status });
}

describe("manager/orchestrator/handover/decide", () => {
  const minute = 60_000;
  const first = { attempts: 0, triedMs: 0 };
  const second = { attempts: 1, triedMs: 0 };
  const deadline = { labels: { "skep.update.deadline": "20s" } };
  const rows: readonly {
    readonly what: string;
    readonly heirs: readonly Task[];
    readonly tried: { readonly attempts: number; readonly triedMs: number };
    readonly now: number;
    readonly service?: Parts;
    readonly step: string;
  }[] = [
    { what: "nothing was made yet", heirs: [], tried: first, now: 0, step: "start" },
    { what: "it starts", heirs: [heir("starting")], tried: second, now: 10, step: "wait 4990" },
    {
      what: "it starts slowly",
      heirs: [heir("starting")],
      tried: second,
      now: minute,
      step: "wait 240000",
    },
    { what: "it runs", heirs: [heir("running")], tried: second, now: 10, step: "done" },
    {
      what: "no node has room for it",
      heirs: [heir("pending", "no suitable node")],
      tried: second,
      now: 5_000,
      step: "give-up no suitable node",
    },
    {
      what: "the first node with room is looked for",
      heirs: [heir("pending", "no suitable node")],
      tried: second,
      now: 4_000,
      step: "wait 1000",
    },
    { what: "it failed", heirs: [heir("failed")], tried: second, now: 500, step: "wait 1500" },
    {
      what: "the delay is over",
      heirs: [heir("failed")],
      tried: second,
      now: 2_000,
      step: "start",
    },
    {
      what: "three failed",
      heirs: [],
      tried: { attempts: 3, triedMs: 0 },
      now: 2_000,
      step: "give-up new tasks end before they run",
    },
    {
      what: "it takes five minutes",
      heirs: [heir("starting")],
      tried: second,
      now: 5 * minute,
      step: "give-up no new task ran in time",
    },
    {
      what: "the user waits for no longer than this",
      heirs: [heir("starting")],
      tried: second,
      now: 20_000,
      service: deadline,
      step: "give-up no new task ran in time",
    },
  ];
  for (const row of rows) {
    it(`${row.step.split(" ")[0]}: ${row.what}`, () => {
      const handover = { taskId: "old", sinceMs: 0, ...row.tried };
      const { heirs, now } = row;
      const step = planHandover({ service: service(row.service), handover, heirs, now });
      const more =
        step.kind === "wait" ? ` ${step.lookInMs}` : step.kind === "give-up" ? ` ${step.why}` : "";
      assert.equal(`${step.kind}${more}`, row.step);
    });
  }

  const running = { ...heir("running"), nodeId: "n1" };
  for (const [what, expected, parts] of [
    ["a running task of a start-first service", true, {}],
    ["one of a stop-first service", false, { parts: { order: "stop-first" } }],
    ["one that gets no successor", false, { parts: { condition: "none" } }],
    ["one on a node that is lost", false, { fate: "lost" }],
    ["one on a node that is well", false, { fate: "up" }],
    ["one that does not run yet", false, { task: heir("starting") }],
    ["one that is told to go", false, { task: { ...running, desiredState: "shutdown" } }],
    ["one of a global service", false, { task: { ...running, slot: 0 } }],
  ] as const) {
    it(`${expected ? "hands over" : "stops first"}: ${what}`, () => {
      const given: { parts?: Parts; fate?: "up" | "lost" | "drained"; task?: Task } = parts;
      const { fate = "drained", task = running } = given;
      assert.equal(startsElsewhereFirst(service(given.parts), task, fate), expected);
    });
  }
});
