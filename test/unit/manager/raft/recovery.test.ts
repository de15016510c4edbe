/** Facts about what a member does at its start. */
import assert from "node:assert/strict";
import { decideStart, type StartFacts } from "../../../../manager/raft/recovery.ts";
import { RaftSnapshotMeta } from "../../../../src/common/api/generated/api.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";

const self = { raftId: 1, nodeId: "self", address: "a:1" };
const other = { raftId: 2, nodeId: "other", address: "b:1" };
const whole: StartFacts = {
  isNew: false,
  loss: undefined,
  firstIndex: 100,
  lastIndex: 200,
  members: [self, other],
  pending: undefined,
  pendingTerm: undefined,
  replacing: false,
  appliedIndex: 150,
  self: "self",
  bootstrap: false,
  forceNewCluster: false,
  joinMembers: [],
};
const fresh: StartFacts = {
  ...whole,
  isNew: true,
  firstIndex: 1,
  lastIndex: 0,
  members: [],
  appliedIndex: 0,
};
const kind = (facts: StartFacts) => decideStart(facts).kind;

describe("manager/raft/recovery", () => {
  it("begins empty under the id the group has just taken it in under, whatever lies on its disk", () => {
    const loss = "the raft log is empty, but reached index 200";
    const plan = decideStart({ ...whole, loss, joinMembers: [other], admittedAnew: true });
    assert.deepEqual(plan, { kind: "join", members: [other] });
  });

  it("begins or joins with an empty disk, and refuses without either", () => {
    assert.equal(kind({ ...fresh, bootstrap: true }), "bootstrap");
    assert.equal(kind({ ...fresh, joinMembers: [other] }), "join");
    assert.throws(
      () => kind(fresh),
      (e) => hasCode(e, "failed-precondition"),
    );
  });

  it("goes on with a whole log, whatever else is offered", () => {
    assert.equal(kind(whole), "go-on");
    assert.equal(kind({ ...whole, bootstrap: true, joinMembers: [other] }), "go-on");
    assert.equal(kind({ ...whole, appliedIndex: 200 }), "go-on");
    assert.equal(kind({ ...whole, appliedIndex: 99 }), "go-on");
    assert.equal(kind({ ...whole, appliedIndex: 0, firstIndex: 2 }), "go-on");
  });

  it("comes back under a new id when anything is missing and others are known", () => {
    const missing: StartFacts[] = [
      { ...whole, loss: "damaged" },
      { ...whole, appliedIndex: 201 },
      { ...whole, appliedIndex: 98 },
      { ...fresh, appliedIndex: 5, joinMembers: [other] },
      { ...whole, loss: "unreadable", members: [], joinMembers: [other] },
    ];
    for (const facts of missing) {
      const plan = decideStart(facts);
      assert.equal(plan.kind, "replace");
      assert.deepEqual(plan.kind === "replace" && plan.members, [other]);
    }
  });

  it("refuses when there is nobody else to learn from, and says what can be done", () => {
    assert.throws(
      () => kind({ ...whole, loss: "the raft log is damaged", members: [self] }),
      (e) => hasCode(e, "failed-precondition") && /damaged.*--force-new-cluster/.test(String(e)),
    );
  });

  it("finishes a snapshot that the state machine had installed", () => {
    const pending = RaftSnapshotMeta.create({ index: 300, term: 4 });
    assert.equal(kind({ ...whole, pending, appliedIndex: 300 }), "finish-snapshot");
    assert.equal(kind({ ...whole, pending, appliedIndex: 150 }), "go-on");
    assert.equal(kind({ ...whole, pending, appliedIndex: 301 }), "replace");
  });

  it("finishes a snapshot whose place the log has filled with entries of another term", () => {
    const pending = RaftSnapshotMeta.create({ index: 150, term: 4 });
    assert.equal(kind({ ...whole, pending, pendingTerm: 3 }), "finish-snapshot");
    assert.equal(kind({ ...whole, pending, pendingTerm: 4 }), "go-on");
    assert.equal(kind({ ...whole, pending, pendingTerm: 3, appliedIndex: 140 }), "go-on");
  });

  it("does not change its id again while the group replaces it", () => {
    const begun = { ...whole, firstIndex: 1, lastIndex: 0 };
    assert.equal(kind({ ...begun, replacing: true }), "go-on");
    assert.equal(kind(begun), "replace");
  });

  it("makes a lone survivor of a whole log, or a new log where the state ends", () => {
    const force = { forceNewCluster: true };
    assert.deepEqual(decideStart({ ...whole, ...force }), { kind: "force", anchor: undefined });
    assert.deepEqual(decideStart({ ...whole, ...force, loss: "damaged" }), {
      kind: "force",
      anchor: 150,
    });
    assert.equal(kind({ ...fresh, ...force }), "bootstrap");
  });
});
