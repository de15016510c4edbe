/** The window of messages in flight, and the moves of a member's progress. */
import assert from "node:assert/strict";
import { Inflights } from "../../../../../manager/raft/core/inflights.ts";
import { freshProgress, type Progress } from "../../../../../manager/raft/core/progress.ts";

describe("manager/raft/core/inflights", () => {
  it("is full by number and by bytes, the last message passing the limit", () => {
    const byNumber = new Inflights(2, Number.POSITIVE_INFINITY);
    byNumber.add(1, 100);
    assert.equal(byNumber.full, false);
    byNumber.add(2, 100);
    assert.equal(byNumber.full, true);
    const byBytes = new Inflights(100, 10);
    byBytes.add(1, 9);
    assert.equal(byBytes.full, false);
    byBytes.add(5, 9);
    assert.equal(byBytes.full, true);
    assert.throws(() => byBytes.add(6, 1), /full window/);
  });

  it("frees what an acknowledgement covers, with its bytes", () => {
    const window = new Inflights(100, Number.POSITIVE_INFINITY);
    for (let index = 10; index < 60; index += 10) window.add(index, index);
    window.freeTo(9);
    assert.deepEqual([window.count, window.bytes], [5, 150]);
    window.freeTo(35);
    assert.deepEqual([window.count, window.bytes], [2, 90]);
    window.add(60, 1);
    window.freeTo(60);
    assert.deepEqual([window.count, window.bytes], [0, 0]);
  });

  it("keeps its counts over many rounds", () => {
    const window = new Inflights(8, Number.POSITIVE_INFINITY);
    for (let index = 1; index <= 10_000; index++) {
      window.add(index, 3);
      if (window.count === 8) window.freeTo(index - 3);
    }
    assert.equal(window.bytes, window.count * 3);
  });

  it("forgets everything when reset", () => {
    const window = new Inflights(8, 10);
    window.add(1, 10);
    window.reset();
    assert.deepEqual([window.count, window.bytes, window.full], [0, 0, false]);
  });
});

describe("manager/raft/core/progress", () => {
  it("sends one probe at a time", () => {
    const one = progress(3, 6);
    one.sentEntries(0, 0);
    assert.equal(one.paused, false);
    one.sentEntries(2, 10);
    assert.deepEqual([one.paused, one.next], [true, 6]);
  });

  it("streams until the window is full", () => {
    const one = progress(3, 6);
    one.becomeReplicate();
    assert.equal(one.next, 4);
    one.sentEntries(2, 10);
    assert.deepEqual([one.paused, one.next], [false, 6]);
    one.sentEntries(1, 10);
    assert.deepEqual([one.paused, one.next], [true, 7]);
  });

  it("takes acknowledgements forward only", () => {
    const one = progress(3, 4);
    assert.equal(one.acknowledge(3), false);
    assert.equal(one.acknowledge(5), true);
    assert.deepEqual([one.match, one.next], [5, 6]);
    assert.equal(one.acknowledge(4), false);
    assert.deepEqual([one.match, one.next], [5, 6]);
  });

  const refusals: readonly [string, "probe" | "replicate", number, number, boolean, number][] = [
    ["a late one while streaming", "replicate", 5, 5, false, 6],
    ["one while streaming", "replicate", 9, 9, true, 6],
    ["one of another probe", "probe", 8, 8, false, 10],
    ["one of the last probe", "probe", 9, 7, true, 8],
    ["one with a hint beyond the refused index", "probe", 9, 20, true, 9],
    ["one with a hint below what matches", "probe", 9, 2, true, 6],
  ];
  for (const [what, state, rejected, hint, taken, next] of refusals) {
    it(`falls back right after refusal: ${what}`, () => {
      const one = progress(5, 10);
      if (state === "replicate") one.becomeReplicate();
      assert.equal(one.reject(rejected, hint), taken);
      assert.equal(one.next, next);
      assert.ok(one.match < one.next);
    });
  }

  it("probes after a snapshot from its index, and from the old match when it failed", () => {
    const arrived = progress(5, 6);
    arrived.becomeSnapshot(20);
    assert.deepEqual([arrived.paused, arrived.next, arrived.pendingSnapshot], [true, 21, 20]);
    arrived.becomeProbe();
    assert.deepEqual([arrived.next, arrived.pendingSnapshot], [21, 0]);
    const failed = progress(5, 6);
    failed.becomeSnapshot(20);
    failed.pendingSnapshot = 0;
    failed.becomeProbe();
    assert.equal(failed.next, 6);
  });

  it("tells the commit index only when that can move the member's own", () => {
    const one = progress(5, 6);
    one.becomeReplicate();
    one.sentEntries(2, 2);
    assert.equal(one.canBumpCommit(6), true);
    one.sentCommit = 6;
    assert.equal(one.canBumpCommit(6), false);
    one.sentCommit = 7;
    assert.equal(one.canBumpCommit(9), false);
  });

  it("stops the process when the next index would not be above the match", () => {
    assert.throws(() => progress(5, 5), /raft core/);
  });
});

function progress(match: number, next: number): Progress {
  const start = { match, next, isLearner: false, recentActive: true };
  return freshProgress(start, { maxInflightMsgs: 2, maxInflightBytes: 1000 });
}
