/**
 * Nodes against placement constraints.
 */
import assert from "node:assert/strict";
import { labelReader, nodeMatcher } from "../../../../manager/constraint/match.ts";
import { parseConstraints } from "../../../../manager/constraint/parse.ts";
import {
  EngineDescription,
  Node,
  NodeDescription,
  NodeSpec,
  NodeStatus,
  Platform,
} from "../../../../src/common/api/generated/api.ts";

const node = Node.create({
  id: "k3x9",
  role: "worker",
  spec: NodeSpec.create({
    annotations: { name: "", labels: { zone: "East 1", empty: "", Rack: "r1" } },
  }),
  description: NodeDescription.create({
    hostname: "Pi-4",
    platform: Platform.create({ architecture: "x86_64", os: "linux", variant: "v3" }),
    engine: EngineDescription.create({ engineVersion: "1", labels: { disk: "ssd" }, plugins: [] }),
  }),
  status: NodeStatus.create({ state: "ready", address: "10.1.2.3" }),
});

function meets(text: string, of = node): boolean {
  return nodeMatcher(parseConstraints([text]))(of);
}

describe("manager/constraint/match", () => {
  const cases: readonly (readonly [constraint: string, met: boolean])[] = [
    ["node.id==K3X9", true],
    ["node.id!=k3x9", false],
    ["node.id==k3", false],
    ["node.hostname==pi-4", true],
    ["NODE.HostName==pi-4", true],
    ["node.hostname!=pi", true],
    ["node.role==worker", true],
    ["node.role == Manager", false],
    ["node.role!=manager", true],
    ["node.platform.os==Linux", true],
    ["node.platform.os==windows", false],
    ["node.platform.arch==x86_64", true],
    ["node.platform.arch==AMD64", true],
    ["node.platform.arch!=amd64", false],
    ["node.platform.arch==arm64", false],
    ["node.labels.zone==east 1", true],
    ["node.labels.zone==east", false],
    ["node.Labels.zone==east 1", true],
    ["node.labels.ZONE==east 1", false],
    ["node.labels.rack!=r1", true],
    ["node.labels.Rack==r1", true],
    ["node.labels.missing==x", false],
    ["node.labels.missing!=x", true],
    ["node.labels.empty!=x", true],
    ["node.labels.toString!=x", true],
    ["engine.labels.disk==SSD", true],
    ["engine.labels.disk!=ssd", false],
    ["engine.labels.zone!=x", true],
    ["node.ip==10.1.2.3", true],
    ["node.ip!=10.1.2.3", false],
    ["node.ip==10.1.2.4", false],
    ["node.ip==10.1.0.0/16", true],
    ["node.ip==10.2.0.0/16", false],
    ["node.ip!=10.2.0.0/16", true],
    ["node.ip==fd00:0:0::/16", false],
    ["node.ip==nowhere", false],
    ["node.ip!=nowhere", true],
    ["node.labels==x", false],
    ["node.colour==red", false],
    ["node.colour!=red", false],
    ["zone!=red", false],
  ];
  for (const [text, met] of cases) {
    it(`${met ? "meets" : "does not meet"} ${text}`, () => assert.equal(meets(text), met));
  }

  it("wants all of several met", () => {
    const constraints = ["node.role==worker", "engine.labels.disk==ssd"];
    assert.equal(nodeMatcher(parseConstraints(constraints))(node), true);
    const more = parseConstraints([...constraints, "node.id==other"]);
    assert.equal(nodeMatcher(more)(node), false);
    assert.equal(nodeMatcher([])(node), true);
  });

  it("knows architectures by all their names, and levels of 32-bit ARM by the words for them", () => {
    const on = (architecture: string, variant: string) =>
      Node.create({
        id: "n",
        description: NodeDescription.create({
          platform: Platform.create({ architecture, os: "linux", variant }),
        }),
      });
    const table = [
      ["aarch64", "v8", "node.platform.arch==arm64", true],
      ["arm64", "v8", "node.platform.arch==aarch64", true],
      ["aarch64", "v8", "node.platform.arch==arm", false],
      ["armv7l", "v7", "node.platform.arch==arm", true],
      ["armv6l", "v6", "node.platform.arch==arm", true],
      ["arm", "v6", "node.platform.arch==armv6l", true],
      ["arm", "v6", "node.platform.arch==armv7l", false],
      ["arm", "v7", "node.platform.arch==armhf", true],
      ["arm", "v7", "node.platform.arch!=armv7l", false],
    ] as const;
    for (const [architecture, variant, text, met] of table)
      assert.equal(meets(text, on(architecture, variant)), met, `${architecture} ${text}`);
  });

  it("takes a node that has not said anything of itself yet for one with nothing", () => {
    const bare = Node.create({ id: "b" });
    assert.equal(meets("node.hostname!=x", bare), true);
    assert.equal(meets("node.hostname==x", bare), false);
    assert.equal(meets("node.ip!=10.0.0.0/8", bare), true);
    assert.equal(meets("engine.labels.disk==ssd", bare), false);
    assert.equal(meets("node.platform.arch==amd64", bare), false);
  });

  it("reads labels for spread preferences, and nothing else", () => {
    assert.equal(labelReader("node.labels.zone")?.(node), "East 1");
    assert.equal(labelReader("engine.labels.disk")?.(node), "ssd");
    assert.equal(labelReader("node.labels.none")?.(node), "");
    assert.equal(labelReader("node.hostname"), undefined);
    assert.equal(labelReader("node.labels."), undefined);
  });
});
