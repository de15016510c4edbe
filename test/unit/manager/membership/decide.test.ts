/**
 * Steps towards the wanted roles, as a table.
 */
import assert from "node:assert/strict";
import {
  decideMembership,
  type GroupMember,
  wantedRole,
} from "../../../../manager/membership/decide.ts";
import {
  ManagerStatus,
  Node,
  type NodeRole,
  NodeSpec,
} from "../../../../src/common/api/generated/api.ts";

/** A node whose user wants `wanted` and which has `role`. */
function node(id: string, wanted: NodeRole, role: NodeRole): Node {
  const manager = ManagerStatus.create({ raftId: 1, address: `${id}:1` });
  return Node.create({ id, spec: NodeSpec.create({ desiredRole: wanted }), role, manager });
}

describe("manager/membership/decide", () => {
  const member = (nodeId: string, raftId: number, address = `${nodeId}:1`) => ({
    nodeId,
    raftId,
    address,
  });
  const cases: readonly (readonly [
    string,
    readonly Node[],
    readonly GroupMember[],
    readonly string[],
  ])[] = [
    ["does nothing in a cluster without nodes", [], [], []],
    [
      "leaves nodes as they are that are what they should be",
      [node("a", "manager", "manager"), node("b", "worker", "worker")],
      [member("a", 1)],
      [],
    ],
    ["promotes by the role alone", [node("a", "manager", "worker")], [], ["promote a"]],
    ["leaves it to a manager to join the group", [node("a", "manager", "manager")], [], []],
    [
      "takes a member out of the group before it changes its role",
      [node("a", "worker", "manager")],
      [member("a", 7)],
      ["remove-member a 7"],
    ],
    ["changes the role once it is out", [node("a", "worker", "manager")], [], ["demote a"]],
    [
      "takes a member out that never had the role",
      [node("a", "worker", "worker")],
      [member("a", 7)],
      ["remove-member a 7"],
    ],
    [
      "takes one member of a node at a time",
      [node("a", "worker", "manager")],
      [member("a", 7), member("a", 8)],
      ["remove-member a 7"],
    ],
    ["takes members out whose node is gone", [], [member("x", 9)], ["remove-member x 9"]],
    [
      "goes by node id, members without a node last",
      [
        node("c", "manager", "worker"),
        node("a", "manager", "worker"),
        node("b", "worker", "manager"),
      ],
      [member("0", 5), member("b", 6)],
      ["promote a", "remove-member b 6", "promote c", "remove-member 0 5"],
    ],
    [
      "notes where a manager is reached now",
      [node("a", "manager", "manager")],
      [member("a", 1, "a:2")],
      ["readdress a"],
    ],
    [
      "notes the id under which a manager came back",
      [node("a", "manager", "manager")],
      [member("a", 2)],
      ["readdress a"],
    ],
    [
      "does not note the place of one that is to go",
      [node("a", "worker", "manager")],
      [member("a", 1, "a:2")],
      ["remove-member a 1"],
    ],
    [
      "takes a node without a spec for a worker",
      [Node.create({ id: "a", role: "manager" })],
      [],
      ["demote a"],
    ],
  ];
  for (const [fact, nodes, members, expected] of cases) {
    it(fact, () => {
      const steps = decideMembership(nodes, members).map((step) =>
        step.kind === "remove-member"
          ? `${step.kind} ${step.nodeId} ${step.raftId}`
          : `${step.kind} ${step.nodeId}`,
      );
      assert.deepEqual(steps, expected);
    });
  }

  it("knows what a user wants", () => {
    assert.equal(wantedRole(node("a", "manager", "worker")), "manager");
    assert.equal(wantedRole(Node.create({ id: "a", role: "manager" })), "worker");
  });
});
