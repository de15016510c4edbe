/** The door to the core: settings it refuses, messages it does not take, what proposals answer. */
import assert from "node:assert/strict";
import { message } from "../../../../../manager/raft/core/message.ts";
import { RawNode } from "../../../../../manager/raft/core/raw-node.ts";
import {
  type ConfState,
  emptyConfState,
  localApplyThread,
  type Snapshot,
} from "../../../../../manager/raft/core/types.ts";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import { encodeChange } from "../../../../support/raft/change-data.ts";
import { Group, type Member, type MemberOptions } from "../../../../support/raft/group.ts";
import { MemoryLog } from "../../../../support/raft/memory-log.ts";

describe("manager/raft/core/raw-node", () => {
  const wrong: readonly [string, MemberOptions][] = [
    ["a heartbeat of no ticks", { heartbeatTick: 0 }],
    ["an election as short as a heartbeat", { electionTick: 1 }],
    ["no message in flight", { maxInflightMsgs: 0 }],
    ["a window smaller than a message", { maxInflightBytes: 10, maxSizePerMsg: 11 }],
    ["no room to apply", { maxCommittedSizePerReady: 0 }],
    ["reads by lease without check-quorum", { readOnlyOption: "lease-based" }],
  ];
  for (const [what, options] of wrong) {
    it(`refuses ${what}`, () => {
      assert.throws(() => new Group().add(options), isCode("invalid-argument"));
    });
  }

  it("refuses reserved ids", () => {
    const { config } = new Group().add({});
    for (const id of [0, -1, 1.5, localApplyThread]) {
      assert.throws(() => new RawNode({ ...config, id }), isCode("invalid-argument"));
    }
  });

  it("ends the process when the stored commit index is past the log", () => {
    const { config } = new Group().add({});
    const storage = new MemoryLog();
    storage.hardState = { term: 1, vote: 0, commit: 5 };
    assert.throws(() => new RawNode({ ...config, storage }), /commit index 5 is outside the log/);
  });

  it("takes no messages from outside that only itself may send, nor answers of strangers", () => {
    const { node } = lone();
    assert.equal(node.step(message({ type: "hup", from: 1 })), "local-message");
    assert.equal(node.step(message({ type: "storage-append-resp", from: 2 })), "local-message");
    assert.equal(node.step(message({ type: "app-resp", from: 9, term: 1 })), "unknown-peer");
    assert.equal(node.status().role, "follower");
  });

  it("says where proposals were appended, several in a row for a batch", () => {
    const { member, settle } = leader();
    assert.deepEqual(member.node.propose(bytes("a")), { index: 12, term: 1 });
    assert.deepEqual(member.node.proposeBatch([bytes("b"), bytes("c")]), {
      firstIndex: 13,
      term: 1,
    });
    assert.equal(member.node.propose(bytes("d")).index, 15);
    settle();
    assert.equal(member.history.at(-1)?.data, "abcd");
  });

  it("refuses proposals without a leader, and beyond the limit", () => {
    assert.throws(() => lone().node.propose(bytes("a")), isCode("unavailable"));
    const { member } = leader({ maxUncommittedEntriesSize: 3 });
    member.node.propose(bytes("ab"));
    assert.throws(() => member.node.propose(bytes("cd")), isCode("resource-exhausted"));
    assert.throws(() => member.node.proposeConfChange(bytes("xx")), isCode("resource-exhausted"));
  });

  it("says why a configuration change was replaced by a no-op", () => {
    const { member, settle } = leader();
    const learner = encodeChange("l2", "auto");
    assert.match(member.node.proposeConfChange(new Uint8Array(0)).refused ?? "", /no joint phase/);
    assert.equal(member.node.proposeConfChange(learner).refused, undefined);
    assert.match(member.node.proposeConfChange(learner).refused ?? "", /pending/);
    settle();
    assert.deepEqual(member.node.status().confState.learners, [2]);
    assert.equal(member.node.proposeConfChange(encodeChange("r2", "auto")).refused, undefined);
  });

  it("leaves its configuration alone when a change does not fit", () => {
    const { node } = lone();
    const change = { transition: "auto", steps: [{ kind: "remove", id: 1 }] } as const;
    assert.throws(() => node.applyConfChange(change), isCode("failed-precondition"));
    assert.deepEqual(node.status().confState.voters, [1]);
  });

  it("learns what is committed from whoever knows, when the log holds that very entry", () => {
    const confState: ConfState = { ...emptyConfState, voters: [1, 2] };
    const group = new Group();
    const { node } = group.add({}, { index: 10, term: 1, confState, data: "" });
    const entry = (index: number) => ({
      index,
      term: 2,
      type: "normal" as const,
      data: bytes("x"),
    });
    const entries = [entry(11), entry(12)];
    node.step(
      message({ type: "app", from: 2, term: 2, index: 10, logTerm: 1, entries, commit: 10 }),
    );
    assert.deepEqual(node.commitPosition(), { index: 10, term: 1 });
    for (const other of [
      { index: 11, term: 3 },
      { index: 13, term: 2 },
      { index: 0, term: 0 },
    ]) {
      node.learnCommit(other);
      assert.deepEqual(node.commitPosition(), { index: 10, term: 1 });
    }
    node.learnCommit({ index: 11, term: 2 });
    assert.deepEqual(node.commitPosition(), { index: 11, term: 2 });
  });

  it("stands for election no longer when it learns of its own removal", () => {
    const confState: ConfState = { ...emptyConfState, voters: [1, 2, 3] };
    const group = new Group();
    const member = group.add({}, { index: 10, term: 1, confState, data: "" });
    const { node } = member;
    const work = () => {
      while (node.hasReady()) group.processReady(member);
    };
    const entries = ["r3", "r1"].map((text, at) => {
      const data = encodeChange(text, "auto");
      return { index: 11 + at, term: 2, type: "conf-change" as const, data };
    });
    node.step(
      message({ type: "app", from: 2, term: 2, index: 10, logTerm: 1, entries, commit: 10 }),
    );
    node.campaign();
    work();
    node.learnCommit({ index: 11, term: 2 });
    work();
    assert.deepEqual([node.status().role, node.status().confState.voters], ["candidate", [1, 2]]);
    node.learnCommit({ index: 12, term: 2 });
    work();
    node.step(message({ type: "vote-resp", from: 2, term: node.status().term }));
    assert.deepEqual([node.status().role, node.status().confState.voters], ["follower", [2]]);
  });

  it("has nothing ready when nothing has happened", () => {
    const { member, settle } = leader();
    settle();
    assert.equal(member.node.hasReady(), false);
    member.node.tick();
    assert.equal(member.node.hasReady(), false);
  });

  it("builds no text for a log nobody reads, and tells changes of state to one that is there", () => {
    const told: string[] = [];
    const note = (text: string) => void told.push(text);
    const logger = { debug: note, info: note, warn: note, error: note };
    const { member, settle } = leader({ logger });
    const before = told.length;
    assert.ok(told.some((text) => text.includes("became leader")));
    for (let at = 0; at < 10; at++) member.node.propose(bytes("x"));
    settle();
    assert.equal(told.length, before);
  });
});

function lone(options: MemberOptions = {}): Member {
  const confState: ConfState = { ...emptyConfState, voters: [1] };
  const start: Snapshot = { index: 10, term: 1, confState, data: "" };
  return new Group().add(options, start);
}

/** A lone voter that leads; `settle` does all work there is. */
function leader(options: MemberOptions = {}): { member: Member; settle: () => void } {
  const group = new Group();
  const confState: ConfState = { ...emptyConfState, voters: [1] };
  const member = group.add(options, { index: 10, term: 1, confState, data: "" });
  const settle = () => {
    while (member.node.hasReady()) group.processReady(member);
  };
  member.node.campaign();
  settle();
  return { member, settle };
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function isCode(code: Parameters<typeof hasCode>[1]): (error: unknown) => boolean {
  return (error) => hasCode(error, code);
}
