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

  describe("told to go on alone", () => {
    const force: StartFacts = { ...whole, forceNewCluster: true };
    const pending = RaftSnapshotMeta.create({ index: 150, term: 4 });
    const cases: readonly (readonly [string, StartFacts, string])[] = [
      ["keeps a whole log", force, "force"],
      [
        "begins where the state ends with what a damaged log still has",
        { ...force, loss: "damaged" },
        "force-anew 150 log",
      ],
      [
        "begins where the state ends when the log is gone",
        { ...force, isNew: true, firstIndex: 1, lastIndex: 0 },
        "force-anew 150 log",
      ],
      [
        "takes nothing of a log that had gone another way than a received state",
        { ...force, pending, pendingTerm: 3 },
        "force-anew 150 none",
      ],
      [
        "takes nothing of it either when it is damaged, too",
        { ...force, pending, pendingTerm: undefined, loss: "damaged" },
        "force-anew 150 none",
      ],
      [
        "takes no notice of a state that was not received to its end",
        { ...force, pending: { ...pending, index: 300 } },
        "force",
      ],
      [
        "looks into the log that was set aside while the group was to send its state",
        { ...force, replacing: true, firstIndex: 1, lastIndex: 0 },
        "force-anew 150 log-lost",
      ],
      [
        "keeps a log that was begun anew and has come along",
        { ...force, replacing: true, appliedIndex: 120 },
        "force",
      ],
      [
        "begins at the very first entry without a checkpoint",
        { ...force, appliedIndex: 0, firstIndex: 2, loss: "damaged" },
        "force-anew 1 log",
      ],
    ];
    for (const [fact, facts, expected] of cases) {
      it(fact, () => {
        const plan = decideStart(facts);
        const words =
          plan.kind === "force-anew" ? [plan.kind, plan.anchor, plan.tail] : [plan.kind];
        assert.equal(words.join(" "), expected);
      });
    }
  });

  it("makes no empty cluster of a manager that lost everything, and recommends nothing that cannot help", () => {
    const lost: StartFacts[] = [
      fresh,
      { ...fresh, forceNewCluster: true },
      { ...fresh, forceNewCluster: true, joinMembers: [other] },
      { ...fresh, isNew: false, loss: "damaged" },
    ];
    for (const facts of lost) {
      assert.throws(
        () => kind(facts),
        (e) => hasCode(e, "failed-precondition") && /backup.*leave --force/.test(String(e)),
      );
    }
  });
});
