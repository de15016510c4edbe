/**
 * The filters, one table each, and what users read of them.
 */
import assert from "node:assert/strict";
import { explainNodes, filtersOf, passesAll } from "../../../../manager/scheduler/filters.ts";
import { type Group, groupOf, type Surroundings } from "../../../../manager/scheduler/group.ts";
import { NodeSet } from "../../../../manager/scheduler/node-set.ts";
import { Volume, VolumeSpec } from "../../../../src/common/api/generated/api.ts";
import {
  aNode,
  aPlatform,
  aService,
  aTask,
  aTaskSpec,
  type NodeParts,
  type TaskParts,
  type WorkParts,
} from "../../../support/scheduler.ts";

/** Nodes, and the tasks that are on them already. */
function nodesOf(nodes: readonly NodeParts[], tasks: readonly TaskParts[] = []): NodeSet {
  const set = new NodeSet();
  for (const parts of nodes) set.put(aNode(parts));
  for (const parts of tasks) set.charge(aTask({ state: "running", ...parts }));
  return set;
}

interface Case {
  readonly work?: WorkParts & { readonly platforms?: readonly string[] };
  readonly hostPorts?: readonly number[];
  readonly surroundings?: Partial<Surroundings>;
}

function group({ work = {}, hostPorts = [], surroundings = {} }: Case): Group {
  const service = aService("web", work);
  const task = aTask({ id: "t", service, hostPorts });
  const { reference = "", digest = "", platforms = [] } = service.image ?? {};
  return groupOf(task, {
    service,
    image: { reference, digest, platforms },
    networkDrivers: [],
    volumes: [],
    ...surroundings,
  });
}

/** Names of the nodes that pass, and why the others do not. */
function outcome(nodes: NodeSet, of: Group): readonly [string, string] {
  const filters = filtersOf(of, nodes);
  const passing = nodes.list().filter((info) => passesAll(filters, info));
  const others = nodes.list().filter((info) => !passing.includes(info));
  return [passing.map(({ id }) => id).join(" "), explainNodes(filters, others)];
}

describe("manager/scheduler/filters", () => {
  it("wants nodes that are ready and active", () => {
    const nodes = nodesOf([
      { id: "a" },
      { id: "b", state: "down" },
      { id: "c", availability: "pause" },
      { id: "d", availability: "drain" },
      { id: "e", state: "unknown" },
      { id: "f", state: "disconnected" },
    ]);
    assert.deepEqual(outcome(nodes, group({})), [
      "a",
      "no suitable node (5 nodes not available for new tasks)",
    ]);
  });

  it("wants what is reserved to be free", () => {
    const busy = (id: string, cpus: number, memoryMb: number, nodeId: string) => ({
      id,
      nodeId,
      spec: aTaskSpec({ cpus, memoryMb }),
    });
    const nodes = nodesOf(
      [{ id: "a" }, { id: "b", cpus: 2 }, { id: "c" }, { id: "d" }],
      [busy("t1", 2, 0, "c"), busy("t2", 2, 3_584, "d")],
    );
    const table: readonly (readonly [WorkParts, string])[] = [
      [{}, "a b c d"],
      [{ cpus: 2 }, "a b c d"],
      [{ cpus: 2.001 }, "a"],
      [{ cpus: 4 }, "a"],
      [{ cpus: 4.1 }, ""],
      [{ memoryMb: 512 }, "a b c d"],
      [{ memoryMb: 513 }, "a b c"],
      [{ cpus: 2, memoryMb: 4_096 }, "a b c"],
    ];
    for (const [work, passing] of table)
      assert.equal(outcome(nodes, group({ work }))[0], passing, JSON.stringify(work));
    assert.equal(
      outcome(nodes, group({ work: { cpus: 4.1 } }))[1],
      "no suitable node (insufficient resources on 4 nodes: cpu (4.1 wanted, none has more than 4))",
    );
  });

  it("says of which resource there is not enough, on how many nodes, and whether it is only reserved", () => {
    const busy = { id: "t1", nodeId: "c", spec: aTaskSpec({ cpus: 3.5, memoryMb: 0 }) };
    const gpu = [{ kind: "GPU", named: "", count: 1 }];
    const nodes = nodesOf(
      [{ id: "a", cpus: 1, generic: gpu }, { id: "b", cpus: 0.5 }, { id: "c" }],
      [busy],
    );
    const two = [{ kind: "GPU", named: "", count: 2 }];
    const named = [...gpu, { kind: "GPU", named: "x", count: 0 }];
    const table: readonly (readonly [WorkParts, string])[] = [
      [{ cpus: 2 }, "3 nodes: cpu (2 wanted, too much is reserved)"],
      [
        { cpus: 1, memoryMb: 5_000, generic: gpu },
        "3 nodes: memory (4.883GiB wanted, none has more than 4GiB), cpu on 2 (1 wanted, too much is reserved), GPU on 2 (1 wanted)",
      ],
      [{ generic: two }, "3 nodes: GPU (2 wanted)"],
      [{ generic: named }, "3 nodes: GPU (1, x wanted)"],
    ];
    for (const [work, text] of table)
      assert.equal(
        outcome(nodes, group({ work }))[1],
        `no suitable node (insufficient resources on ${text})`,
      );
    const one = nodesOf([{ id: "a" }]);
    assert.equal(
      outcome(one, group({ work: { memoryMb: 8_192 } }))[1],
      "no suitable node (insufficient resources on 1 node: memory (8GiB wanted, it has 4GiB))",
    );
  });

  it("wants enough generic resources, counted or by name", () => {
    const gpu = (count: number) => [{ kind: "GPU", named: "", count }];
    const named = (...names: string[]) => names.map((n) => ({ kind: "GPU", named: n, count: 0 }));
    const nodes = nodesOf(
      [
        { id: "a" },
        { id: "b", generic: gpu(2) },
        { id: "c", generic: named("x", "y") },
        { id: "d", generic: named("x", "y") },
      ],
      [{ id: "t1", nodeId: "d", generic: named("x") }],
    );
    const table = [
      [0, "a b c d"],
      [1, "b c d"],
      [2, "b c"],
      [3, ""],
    ] as const;
    for (const [count, passing] of table)
      assert.equal(outcome(nodes, group({ work: { generic: gpu(count) } }))[0], passing);
    const twice = group({ work: { generic: [...gpu(1), ...gpu(2)] } });
    assert.equal(outcome(nodes, twice)[0], "", "both count");
  });

  it("wants drivers of networks where nodes say which they have", () => {
    const nodes = nodesOf([
      { id: "a", plugins: [{ type: "Network", name: "weave" }] },
      { id: "b", plugins: [{ type: "Network", name: "other" }] },
      { id: "c" },
    ]);
    const surroundings = { networkDrivers: ["weave"] };
    assert.deepEqual(outcome(nodes, group({ surroundings })), [
      "a c",
      "no suitable node (missing plugin on 1 node)",
    ]);
  });

  it("wants constraints met, and takes one that cannot be read for one that is not met", () => {
    const nodes = nodesOf([{ id: "a", labels: { zone: "x" } }, { id: "b" }]);
    const met = group({ work: { constraints: ["node.labels.zone==x"] } });
    assert.deepEqual(outcome(nodes, met), [
      "a",
      "no suitable node (scheduling constraints not satisfied on 1 node)",
    ]);
    assert.equal(outcome(nodes, group({ work: { constraints: ["nonsense"] } }))[0], "");
  });

  describe("by platform", () => {
    const nodes = () =>
      nodesOf([
        { id: "box", platforms: ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1"] },
        { id: "pi4", platforms: ["linux/arm64/v8", "linux/arm/v7"] },
        { id: "pi2", platforms: ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"] },
        { id: "pi0", platforms: ["linux/arm/v6", "linux/arm/v5"] },
      ]);
    const table: readonly (readonly [platforms: readonly string[], passing: string])[] = [
      [["linux/amd64"], "box"],
      [["linux/amd64/v3"], "box"],
      [["linux/amd64/v4"], ""],
      [["linux/arm64"], "pi4"],
      [["linux/arm/v7"], "pi4 pi2"],
      [["linux/arm/v6"], "pi4 pi2 pi0"],
      [["linux/amd64", "linux/arm64", "linux/arm/v7"], "box pi4 pi2"],
      [["windows/amd64"], ""],
    ];
    for (const [platforms, passing] of table) {
      it(`lets ${passing || "none"} run an image for ${platforms.join(" ")}`, () =>
        assert.equal(outcome(nodes(), group({ work: { platforms } }))[0], passing));
    }

    it("names the nodes, what they run and what the image is for", () => {
      assert.equal(
        outcome(nodes(), group({ work: { platforms: ["linux/arm64", "linux/arm/v7"] } }))[1],
        "no suitable node (unsupported platform on 2 nodes: the image is for linux/arm64/v8 linux/arm/v7, " +
          "box runs linux/amd64/v3, pi0 runs linux/arm/v6)",
      );
    });

    it("names five nodes at most", () => {
      const many = nodesOf(Array.from({ length: 8 }, (_, n) => ({ id: `n${n}` })));
      const [, text] = outcome(many, group({ work: { platforms: ["linux/arm64"] } }));
      assert.match(text, /on 8 nodes: .* n4 runs linux\/amd64\/v3, 3 more\)$/);
    });

    it("says once that emulation would do, and only where it would", () => {
      const emulating = nodesOf(
        ["a", "b"].map((id) => ({ id, platforms: ["linux/amd64/v3", "linux/arm64*"] })),
      );
      const textFor = (platform: string) =>
        outcome(emulating, group({ work: { platforms: [platform] } }))[1];
      assert.match(
        textFor("linux/arm64"),
        /: the image is for linux\/arm64\/v8, a runs linux\/amd64\/v3, b runs linux\/amd64\/v3 \(by emulation only, if the node or the service has the label skep\.emulation=allow\)\)$/,
      );
      assert.match(textFor("linux/riscv64"), /b runs linux\/amd64\/v3\)$/);
    });

    it("lets any node try an image that is not known", () => {
      assert.equal(outcome(nodes(), group({}))[0], "box pi4 pi2 pi0");
    });

    it("wants the platforms of the spec, too, which may leave the architecture out", () => {
      const spec = (...specPlatforms: string[]) =>
        outcome(nodes(), group({ work: { specPlatforms } }))[0];
      assert.equal(spec("linux/amd64"), "box");
      assert.equal(spec("linux/arm64", "linux/amd64"), "box pi4");
      const blank = { ...aPlatform("linux/arm"), architecture: "" };
      const of = group({ work: { platforms: ["linux/arm/v7"] } });
      const placement = { constraints: [], preferences: [], maxReplicas: 0, platforms: [blank] };
      assert.equal(outcome(nodes(), { ...of, spec: { ...of.spec, placement } })[0], "pi4 pi2");
    });

    it("uses emulated platforms only where the node or the service allows it", () => {
      const platforms = ["linux/amd64/v3", "linux/arm/v7*"];
      const set = nodesOf([
        { id: "a", platforms },
        { id: "b", platforms, labels: { "skep.emulation": "allow" } },
        { id: "c", platforms: ["linux/amd64/v3"], labels: { "skep.emulation": "allow" } },
      ]);
      const work = { platforms: ["linux/arm/v7"] };
      const [passing, text] = outcome(set, group({ work }));
      assert.equal(passing, "b");
      assert.match(
        text,
        /a runs linux\/amd64\/v3, c runs linux\/amd64\/v3 \(on a by emulation only, if /,
      );
      const allowed = group({ work: { ...work, labels: { "skep.emulation": "allow" } } });
      assert.equal(outcome(set, allowed)[0], "a b");
    });

    it("leaves a node out whose agent refused the image, until more is known of it", () => {
      const set = nodes();
      const refused = aTask({
        id: "t1",
        service: aService("web"),
        nodeId: "box",
        state: "rejected",
        error: "unsupported platform: the image is for linux/arm64",
      });
      set.taskChanged({ old: undefined, next: refused }, 1_000, () => "");
      const [passing, text] = outcome(set, group({}));
      assert.equal(passing, "pi4 pi2 pi0");
      assert.match(text, /on 1 node: box runs linux\/amd64\/v3 and refused the image\)$/);
      assert.equal(outcome(set, group({ work: { image: "other" } }))[0], "box pi4 pi2 pi0");
      assert.equal(outcome(set, group({ work: { platforms: ["linux/amd64"] } }))[0], "box");
      set.put(aNode({ id: "box", platforms: ["linux/amd64/v2"] }));
      assert.equal(outcome(set, group({}))[0], "box pi4 pi2 pi0", "the node is another one now");
    });
  });

  it("wants host ports to be free, per protocol", () => {
    const nodes = nodesOf(
      [{ id: "a" }, { id: "b" }],
      [{ id: "t1", nodeId: "a", hostPorts: [80, 443] }],
    );
    assert.deepEqual(outcome(nodes, group({ hostPorts: [8_080, 80] })), [
      "b",
      "no suitable node (host-mode port already in use on 1 node)",
    ]);
    nodes.release(aTask({ id: "t1", nodeId: "a", hostPorts: [80, 443] }));
    assert.equal(outcome(nodes, group({ hostPorts: [80] }))[0], "a b");
  });

  it("keeps to the replicas per node", () => {
    const web = aService("web");
    const nodes = nodesOf(
      [{ id: "a" }, { id: "b" }],
      [
        { id: "t1", service: web, nodeId: "a" },
        { id: "t2", service: web, nodeId: "a" },
        { id: "t3", service: web, nodeId: "b" },
        { id: "t4", service: web, nodeId: "b", desired: "shutdown" },
      ],
    );
    assert.deepEqual(outcome(nodes, group({ work: { maxReplicas: 2 } })), [
      "b",
      "no suitable node (max replicas per node limit exceed)",
    ]);
  });

  it("wants every cluster volume to be on the node", () => {
    const volume = (id: string, ...nodeIds: string[]) => Volume.create({ id, nodeIds });
    const nodes = nodesOf([{ id: "a" }, { id: "b" }]);
    const passing = (...volumes: (readonly Volume[])[]) =>
      outcome(nodes, group({ surroundings: { volumes } }));
    assert.equal(passing([volume("v", "a", "b")])[0], "a b");
    assert.deepEqual(passing([volume("v", "a")], [volume("w", "a", "b")]), [
      "a",
      "no suitable node (cannot fulfill requested CSI volume mounts on 1 node)",
    ]);
    assert.equal(passing([volume("v", "a"), volume("w", "b")])[0], "a b", "either will do");
    assert.equal(passing([])[0], "", "there is none of that name");
    const drained = { ...volume("v", "a"), spec: VolumeSpec.create({ availability: "drain" }) };
    assert.equal(passing([drained])[0], "");
  });

  it("counts a node under the first filter it fails, and names the most frequent reasons first", () => {
    const nodes = nodesOf([
      { id: "a", state: "down", cpus: 1 },
      { id: "b", cpus: 1 },
      { id: "c", cpus: 1 },
      { id: "d", platforms: ["linux/arm64"] },
    ]);
    const work = { cpus: 2, constraints: ["node.id!=d"] };
    assert.equal(
      outcome(nodes, group({ work }))[1],
      "no suitable node (insufficient resources on 2 nodes: cpu (2 wanted, none has more than 1); 1 node not available for new tasks; " +
        "scheduling constraints not satisfied on 1 node)",
    );
  });

  it("has nothing to say of no nodes", () => {
    assert.deepEqual(outcome(nodesOf([]), group({})), ["", "no suitable node"]);
  });
});
