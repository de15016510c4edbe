/**
 * Which tasks move: tables of where they are and where they are to be.
 */
import assert from "node:assert/strict";
import { planMoves } from "../../../../../manager/orchestrator/rebalance/decide.ts";
import {
  Node,
  NodeSpec,
  Placement,
  Preference,
  ResourceRequirements,
  Resources,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";

/** Tasks on each node, `abc:2`; other tasks there, `abc:2+5`; of a zone, `abc@east:2`; that stay, `abc:2!`. */
function moves(text: string, options: { readonly reserves?: boolean } = {}): string {
  const nodes: Node[] = [];
  const tasks: Task[] = [];
  const staying = new Set<string>();
  const totals = new Map<string, number>();
  for (const word of text.split(" ").filter((one) => one !== "")) {
    const [, id = "", zone, count = "", others = "0", stays] =
      /^(\w+)(?:@(\w+))?:(\d+)(?:\+(\d+))?(!)?$/.exec(word) ?? [];
    const labels: Record<string, string> = zone === undefined ? {} : { zone };
    nodes.push(Node.create({ id, spec: NodeSpec.create({ annotations: { name: id, labels } }) }));
    totals.set(id, Number(count) + Number(others));
    for (let i = 0; i < Number(count); i++) {
      const task = Task.create({ id: `t${tasks.length + 1}`, slot: tasks.length + 1, nodeId: id });
      tasks.push(task);
      if (stays !== undefined) staying.add(task.id);
    }
  }
  const preferences = text.includes("@")
    ? [Preference.create({ spreadOver: "node.labels.zone" })]
    : [];
  const reservations = Resources.create({ nanoCpus: 1e9 });
  const spec = TaskSpec.create({
    placement: Placement.create({ preferences }),
    resources: options.reserves ? ResourceRequirements.create({ reservations }) : undefined,
  });
  const planned = planMoves({
    service: Service.create({ id: "web", spec: ServiceSpec.create({ task: spec }) }),
    nodes,
    tasks,
    isMovable: ({ id }) => !staying.has(id),
    totalOn: (id) => totals.get(id) ?? 0,
  });
  return planned.map(({ task, to }) => `${task.nodeId}>${to}`).join(" ");
}

describe("manager/orchestrator/rebalance/decide", () => {
  for (const [where, expected, what] of [
    ["a:3 b:3 c:0", "b>c a>c", "fills a node that joined"],
    ["a:2 b:2 c:2", "", "leaves what is even"],
    ["a:2 b:2 c:1", "", "leaves a difference of one"],
    ["a:2+4 b:2+4 c:1+0", "b>c", "evens out tasks at all where the service differs by one"],
    ["a:1+9 b:0+0", "a>b", "moves a single task from a full node"],
    ["a:1+1 b:0+1", "", "does not for one task less"],
    ["a:6 b:0", "a>b a>b a>b", "moves as many as it takes, and no more"],
    ["a:6! b:0", "", "leaves those that have something on their node"],
    ["a:4! b:4 c:0", "b>c b>c", "takes others then"],
    ["a@east:3 b@west:2 c@west:1", "", "goes by the spread preference first"],
    ["a@east:6 b@west:0 c@west:0", "a>b a>c a>b", "between branches"],
    ["a@east:4 b@west:4 c@west:0", "b>c b>c", "then within them"],
    ["", "", "has nothing to do without nodes"],
  ] as const) {
    it(`${what}: ${where}`, () => assert.equal(moves(where), expected));
  }

  it("goes by what nodes have left where the service reserves some: only to nodes without it", () => {
    assert.equal(moves("a:5 b:1 c:0", { reserves: true }), "a>c");
    assert.equal(moves("a:5+9 b:1 c:1", { reserves: true }), "");
  });

  it("ends after a hundred moves, however much there is to do", () => {
    assert.equal(moves("a:500 b:0").split(" ").length, 100);
  });
});
