/**
 * Each property of Raft against a planted violation.
 */
import assert from "node:assert/strict";
import { message } from "../../../../manager/raft/core/message.ts";
import type { ConfState, Entry } from "../../../../manager/raft/core/types.ts";
import { Safety } from "../../../sim/check/safety.ts";
import { type CheckName, Violation } from "../../../sim/check/violation.ts";

const conf: ConfState = {
  voters: [1, 2, 3],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

describe("test/sim/check/safety", () => {
  it("finds nothing wrong with a term in which all goes well", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1, 2]);
    safety.committed(1, 2);
    safety.applied(1, entry(2, 2), "nothing");
    assert.equal(safety.committedIndex, 2);
  });

  it("refuses two leaders of one term", () => {
    const safety = elected();
    breaks("election safety", () => safety.changed(2, leads(2)));
  });

  it("refuses a leader without a quorum of stored votes", () => {
    const safety = group();
    vote(safety, 1, 1);
    breaks("quorum of an election", () => safety.changed(1, leads(2)));
  });

  it("asks for a quorum of pre-votes, unless the leader wants the election", () => {
    const stands = { role: "candidate", hard: undefined } as const;
    const asks = (safety: Safety) => {
      safety.changed(1, { role: "pre-candidate", hard: undefined });
      safety.preVoteGranted(1, 1);
      safety.workTaken(1, false);
    };
    const safety = group();
    asks(safety);
    breaks("quorum of an election", () => safety.changed(1, stands));
    const other = group();
    asks(other);
    other.toldToLead(1);
    other.changed(1, stands);
    asks(other);
    breaks("quorum of an election", () => other.changed(1, stands));
  });

  it("asks for both majorities in a joint phase", () => {
    const safety = new Safety();
    const joint = { ...conf, voters: [1, 2, 3], votersOutgoing: [1, 4, 5] };
    begin(safety, joint, [1, 2, 3, 4, 5]);
    vote(safety, 1, 1);
    vote(safety, 2, 1);
    breaks("quorum of an election", () => safety.changed(1, leads(2)));
  });

  it("refuses a second vote in a term", () => {
    const safety = group();
    vote(safety, 1, 2);
    breaks("term and vote monotonic", () => vote(safety, 1, 3));
  });

  it("refuses a stored term that falls", () => {
    const safety = group();
    vote(safety, 1, 2, 5);
    breaks("term and vote monotonic", () => vote(safety, 1, 2, 4));
  });

  it("refuses a leader that replaces its own entries", () => {
    const safety = elected();
    safety.appended(1, [entry(2, 2), entry(3, 2)]);
    breaks("leader append-only", () => safety.appended(1, [entry(3, 2, "x")]));
  });

  it("refuses logs that differ below an equal entry", () => {
    const safety = elected();
    safety.appended(1, [entry(2, 2), entry(3, 2)]);
    breaks("log matching", () => safety.appended(2, [entry(2, 1), entry(3, 2)]));
  });

  it("refuses the same place with other data", () => {
    const safety = elected();
    safety.appended(1, [entry(2, 2)]);
    breaks("log matching", () => safety.appended(2, [entry(2, 2, "other")]));
  });

  it("refuses a commit that no quorum has stored", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1]);
    breaks("quorum of a commit", () => safety.committed(1, 2));
  });

  it("refuses the commit of an earlier term's entry by counting", () => {
    const safety = group();
    replicate(safety, [entry(2, 1)], [1, 2]);
    for (const id of [1, 2]) vote(safety, id, 1);
    safety.changed(1, leads(2));
    breaks("leader completeness", () => safety.committed(1, 2));
  });

  it("refuses a leader that lacks what is committed", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1, 2]);
    safety.committed(1, 2);
    for (const id of [2, 3]) vote(safety, id, 3, 3);
    breaks("leader completeness", () => safety.changed(3, leads(3)));
  });

  it("refuses a follower that commits what nobody has", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1, 2]);
    breaks("state-machine safety", () => safety.committed(2, 2));
  });

  it("refuses a commit index that falls", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1, 2]);
    safety.committed(1, 2);
    breaks("commit monotonic", () => safety.committed(1, 1));
  });

  it("refuses an acknowledgement ahead of the disk", () => {
    const safety = elected();
    vote(safety, 2, 1);
    safety.appended(2, [entry(2, 2)]);
    const answer = message({ type: "app-resp", from: 2, to: 1, term: 2, index: 2 });
    breaks("released before durable", () => safety.released(2, answer));
    replicate(safety, [entry(2, 2)], [2]);
    safety.released(2, answer);
  });

  it("refuses a vote that is told ahead of the disk", () => {
    const answer = message({ type: "vote-resp", from: 2, to: 3, term: 7 });
    breaks("released before durable", () => group().released(2, answer));
  });

  it("counts a vote that became durable in one write with a later term", () => {
    const safety = group();
    vote(safety, 1, 1);
    vote(safety, 2, 0, 3);
    safety.released(2, message({ type: "vote-resp", from: 2, to: 1, term: 2 }));
    safety.changed(1, leads(2));
    assert.equal(safety.leaderChanges, 1);
  });

  it("refuses a match beyond the disk, and next at match", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1]);
    const progress = { ...idle, match: 2, next: 3 };
    breaks("match beyond the durable log", () => safety.acknowledged(1, 2, progress));
    breaks("next beyond match", () => safety.acknowledged(1, 2, { ...progress, next: 2 }));
    const leak = { ...idle, inflightBytes: 5 };
    breaks("flow control", () => safety.acknowledged(1, 2, leak));
  });

  it("refuses a second change of members before the first is applied", () => {
    const safety = elected();
    safety.appended(1, [{ ...entry(2, 2), type: "conf-change" }]);
    breaks("one unapplied change of voters", () =>
      safety.appended(1, [{ ...entry(3, 2), type: "conf-change" }]),
    );
  });

  it("refuses an entry that does different things to two members", () => {
    const safety = elected();
    replicate(safety, [entry(2, 2)], [1, 2]);
    for (const id of [1, 2]) {
      safety.committed(id, 2);
    }
    safety.applied(1, entry(2, 2), "create a");
    breaks("state-machine safety", () => safety.applied(2, entry(2, 2), "create b"));
  });

  it("refuses another configuration than the changes lead to", () => {
    const change = { transition: "auto", steps: [{ kind: "remove", id: 3 }] } as const;
    const safety = elected();
    breaks("configuration", () => safety.reconfigured(1, 2, change, conf));
    safety.reconfigured(1, 2, change, { ...conf, voters: [1, 2] });
  });

  it("refuses a snapshot of what is not committed", () => {
    breaks("state-machine safety", () => elected().restored(2, { index: 9, term: 2 }));
  });
});

const idle = {
  match: 0,
  next: 1,
  state: "replicate",
  paused: false,
  pendingSnapshot: 0,
  recentActive: true,
  isLearner: false,
  inflightMsgs: 0,
  inflightBytes: 0,
  inflightFull: false,
} as const;

/** Three members behind the first entry, all followers of term 1. */
function group(): Safety {
  const safety = new Safety();
  begin(safety, conf, [1, 2, 3]);
  return safety;
}

function begin(safety: Safety, beginning: ConfState, ids: readonly number[]): void {
  safety.bootstrapped(beginning, { index: 1, term: 1 });
  for (const id of ids) {
    const hard = { term: 1, vote: 0, commit: 1 };
    safety.started(id, { hard, conf: beginning, changedTo: 1, applied: 1 });
  }
}

/** The group with member 1 as the leader of term 2. */
function elected(): Safety {
  const safety = group();
  for (const id of [1, 2]) vote(safety, id, 1);
  safety.changed(1, leads(2));
  return safety;
}

function leads(term: number) {
  return { role: "leader", hard: { term, vote: 1, commit: 1 } } as const;
}

function vote(safety: Safety, id: number, candidate: number, term = 2): void {
  const hard = { term, vote: candidate, commit: 1 };
  safety.stored(id, { hard, snapshot: undefined, entries: [] });
}

function replicate(safety: Safety, entries: readonly Entry[], ids: readonly number[]): void {
  for (const id of ids) {
    safety.appended(id, entries);
    safety.stored(id, { hard: undefined, snapshot: undefined, entries });
  }
}

function entry(index: number, term: number, text = "data"): Entry {
  return { index, term, type: "normal", data: Buffer.from(text) };
}

function breaks(check: CheckName, run: () => void): void {
  assert.throws(run, (error: unknown) => {
    assert(error instanceof Violation, String(error));
    assert.equal(error.check, check);
    return true;
  });
}
