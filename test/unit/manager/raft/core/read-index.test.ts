/** The queue of reads that wait for proof of leadership. */
import assert from "node:assert/strict";
import { ReadQueue } from "../../../../../manager/raft/core/read-index.ts";
import { emptyConfState } from "../../../../../manager/raft/core/types.ts";

describe("manager/raft/core/read-index", () => {
  const conf = { ...emptyConfState, voters: [1, 2, 3] };

  it("releases reads in order once a majority has confirmed their position", () => {
    const reads = queueOf("a", "b", "c");
    reads.acknowledge(1, 3);
    assert.deepEqual(take(reads), []);
    reads.acknowledge(2, 2);
    assert.deepEqual(take(reads), ["a", "b"]);
    assert.equal(reads.position(), 3);
    reads.acknowledge(3, 3);
    assert.deepEqual(take(reads), ["c"]);
    assert.equal(reads.position(), 0);
  });

  it("goes on counting, so that no later read has the position of an earlier one", () => {
    const reads = queueOf("a");
    reads.acknowledge(1, 1);
    reads.acknowledge(2, 1);
    assert.deepEqual(take(reads), ["a"]);
    reads.add({ from: 1, context: new TextEncoder().encode("b"), index: 5 });
    assert.equal(reads.position(), 2);
    assert.deepEqual(take(reads), []);
  });

  it("keeps a confirmation when a late one for less arrives", () => {
    const reads = queueOf("a", "b");
    reads.acknowledge(2, 2);
    reads.acknowledge(2, 1);
    reads.acknowledge(1, 2);
    assert.deepEqual(take(reads), ["a", "b"]);
  });

  it("asks both halves in the joint phase, and counts no learner", () => {
    const reads = queueOf("a");
    const joint = { ...conf, votersOutgoing: [3, 4, 5], learners: [6] };
    for (const id of [1, 2, 6]) reads.acknowledge(id, 1);
    assert.deepEqual(reads.takeConfirmed(joint), []);
    reads.acknowledge(4, 1);
    reads.acknowledge(5, 1);
    assert.equal(reads.takeConfirmed(joint).length, 1);
  });

  function take(reads: ReadQueue): string[] {
    return reads.takeConfirmed(conf).map(({ context }) => Buffer.from(context).toString("utf8"));
  }
});

function queueOf(...names: string[]): ReadQueue {
  const reads = new ReadQueue();
  for (const name of names) {
    reads.add({ from: 1, context: new TextEncoder().encode(name), index: 5 });
  }
  return reads;
}
