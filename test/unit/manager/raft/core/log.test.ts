/** The log: appending, conflicts, commits, what is handed out, and what its end does while it is being stored. */
import assert from "node:assert/strict";
import { RaftLog } from "../../../../../manager/raft/core/log.ts";
import {
  type Entry,
  emptyConfState,
  entryOverheadBytes,
} from "../../../../../manager/raft/core/types.ts";
import { MemoryLog } from "../../../../support/raft/memory-log.ts";

describe("manager/raft/core/log", () => {
  it("takes a leader's entries only after one that matches", () => {
    const log = logOf([1, 1, 2]);
    assert.equal(log.appendAfter({ index: 3, term: 3 }, entriesOf(4, [3]), 0), undefined);
    assert.equal(log.appendAfter({ index: 4, term: 2 }, entriesOf(5, [3]), 0), undefined);
    assert.equal(log.appendAfter({ index: 3, term: 2 }, entriesOf(4, [3, 3]), 0), 5);
    assert.deepEqual(terms(log), [1, 1, 2, 3, 3]);
  });

  it("replaces a conflicting tail, and nothing else", () => {
    const log = logOf([1, 1, 2, 2, 2]);
    assert.equal(log.appendAfter({ index: 1, term: 1 }, entriesOf(2, [1, 2]), 0), 3);
    assert.deepEqual(terms(log), [1, 1, 2, 2, 2]);
    assert.equal(log.appendAfter({ index: 2, term: 1 }, entriesOf(3, [2, 3]), 0), 4);
    assert.deepEqual(terms(log), [1, 1, 2, 3]);
  });

  it("commits no further than the entries the leader vouched for", () => {
    const log = logOf([1, 1, 1, 1]);
    log.appendAfter({ index: 1, term: 1 }, entriesOf(2, [1]), 4);
    assert.equal(log.committed, 2);
    log.commitTo(1);
    assert.equal(log.committed, 2);
  });

  it("ends the process rather than replace a committed entry or commit what is not there", () => {
    const log = logOf([1, 1, 1]);
    log.commitTo(2);
    assert.throws(() => log.append(entriesOf(2, [2])), /committed/);
    assert.throws(() => log.commitTo(4), /was it lost/);
    assert.throws(() => log.append(entriesOf(5, [2])), /past the end/);
    assert.throws(() => log.appliedTo(3, 0), /applied index/);
  });

  it("commits an older term's entry only through one of the present term", () => {
    const log = logOf([1, 1, 2]);
    assert.equal(log.commitIfOfTerm(2, 2), false);
    assert.equal(log.commitIfOfTerm(3, 2), true);
    assert.equal(log.committed, 3);
  });

  const conflicts: readonly [number, number, number, number][] = [
    [6, 9, 6, 5],
    [6, 4, 3, 2],
    [6, 2, 3, 2],
    [6, 1, 1, 1],
    [8, 5, 8, 0],
  ];
  for (const [index, term, at, atTerm] of conflicts) {
    it(`guesses ${at} as meeting point with a log that has term ${term} at ${index}`, () => {
      const log = logOf([1, 2, 2, 5, 5, 5]);
      assert.deepEqual(log.findConflict(index, term), { index: at, term: atTerm });
    });
  }

  it("finds the log with the later last term, then the longer one, up to date", () => {
    const log = logOf([1, 2, 2]);
    assert.equal(log.isUpToDate({ index: 1, term: 3 }), true);
    assert.equal(log.isUpToDate({ index: 9, term: 1 }), false);
    assert.equal(log.isUpToDate({ index: 3, term: 2 }), true);
    assert.equal(log.isUpToDate({ index: 2, term: 2 }), false);
  });

  it("reads across the stable and the unstable part within a number of bytes", () => {
    const { log, storage } = halfStable();
    const two = (entryOverheadBytes + 1) * 2;
    assert.deepEqual(indexes(log.slice(2, 6, Number.POSITIVE_INFINITY)), [2, 3, 4, 5]);
    assert.deepEqual(indexes(log.slice(3, 6, two)), [3, 4]);
    assert.deepEqual(indexes(log.slice(4, 6, two - 1)), [4]);
    assert.deepEqual(indexes(log.slice(1, 6, 0)), [1]);
    storage.compact(2);
    assert.equal(log.slice(2, 6, two), undefined);
    assert.equal(log.term(1), undefined);
    assert.equal(log.term(2), 1);
  });

  it("hands out committed entries once, up to the limit, and goes on when some are applied", () => {
    const limit = (entryOverheadBytes + 1) * 2;
    const { log } = halfStable(limit);
    log.commitTo(5);
    assert.deepEqual(indexes(log.nextCommitted(true)), [1, 2]);
    log.acceptApplying(2, limit, true);
    assert.equal(log.hasNextCommitted(true), false);
    log.appliedTo(2, limit);
    assert.deepEqual(indexes(log.nextCommitted(true)), [3, 4]);
    assert.deepEqual(indexes(log.nextCommitted(false)), [3]);
  });

  it("hands out nothing while a snapshot waits to be installed", () => {
    const log = logOf([1, 1]);
    log.commitTo(1);
    log.restore({ index: 9, term: 3, confState: emptyConfState });
    assert.equal(log.hasNextCommitted(true), false);
    assert.deepEqual([log.firstIndex(), log.lastIndex(), log.committed], [10, 9, 9]);
    assert.deepEqual(log.last(), { index: 9, term: 3 });
    assert.throws(() => log.restore({ index: 9, term: 3, confState: emptyConfState }), /undo/);
  });
});

describe("manager/raft/core/unstable", () => {
  it("hands each entry out once and drops it when it is stored", () => {
    const { unstable } = logOf([1, 1]);
    assert.deepEqual(indexes(unstable.nextEntries()), [1, 2]);
    unstable.acceptInProgress();
    assert.equal(unstable.hasNextEntries(), false);
    unstable.truncateAndAppend(entriesOf(3, [1]));
    assert.deepEqual(indexes(unstable.nextEntries()), [3]);
    unstable.stableTo({ index: 1, term: 1 });
    assert.deepEqual([unstable.offset, unstable.length], [2, 2]);
  });

  it("does not believe that an entry is stored which was replaced meanwhile", () => {
    const { unstable } = logOf([1, 1, 1]);
    unstable.acceptInProgress();
    unstable.truncateAndAppend(entriesOf(2, [2]));
    unstable.stableTo({ index: 3, term: 1 });
    unstable.stableTo({ index: 2, term: 1 });
    assert.deepEqual([unstable.offset, unstable.length], [1, 2]);
    assert.deepEqual(indexes(unstable.nextEntries()), [2]);
  });

  it("begins anew when replaced from before its start", () => {
    const { unstable } = logOf([1, 1, 1, 1]);
    unstable.stableTo({ index: 3, term: 1 });
    unstable.truncateAndAppend(entriesOf(2, [2, 2]));
    assert.deepEqual([unstable.offset, indexes(unstable.nextEntries())], [2, [2, 3]]);
  });

  it("keeps its place over many appends", () => {
    const { unstable } = logOf([1]);
    for (let index = 2; index <= 5000; index++) {
      unstable.truncateAndAppend(entriesOf(index, [1]));
      if (index % 7 === 0) unstable.stableTo({ index: index - 3, term: 1 });
    }
    assert.equal(unstable.lastIndex(), 5000);
    assert.equal(unstable.entry(unstable.offset).index, unstable.offset);
  });
});

function entriesOf(first: number, list: readonly number[]): Entry[] {
  const data = Uint8Array.of(1);
  return list.map((term, at) => ({ term, index: first + at, type: "normal", data }));
}

function logOf(list: readonly number[]): RaftLog {
  const log = newLog(new MemoryLog(), Number.POSITIVE_INFINITY);
  log.append(entriesOf(1, list));
  return log;
}

/** Five entries, the first three stored. */
function halfStable(maxApplyingBytes = Number.POSITIVE_INFINITY) {
  const storage = new MemoryLog();
  storage.append(entriesOf(1, [1, 1, 1]));
  const log = newLog(storage, maxApplyingBytes);
  log.append(entriesOf(4, [1, 2]));
  return { log, storage };
}

function newLog(storage: MemoryLog, maxApplyingBytes: number): RaftLog {
  return new RaftLog({ storage, maxApplyingBytes, logger: undefined });
}

function terms(log: RaftLog): (number | undefined)[] {
  return Array.from({ length: log.lastIndex() }, (_, at) => log.term(at + 1));
}

function indexes(entries: readonly Entry[] | undefined): number[] | undefined {
  return entries?.map(({ index }) => index);
}
