/** Facts about the time of direct writes of the log: what is measured, and what the pace is told. */
import assert from "node:assert/strict";
import { timedWrite } from "../../../../manager/raft/log-files.ts";

describe("manager/raft/log-files", () => {
  /** A write that takes so long, in which the thread waits as told; gives what the pace heard and how often was read. */
  function timed(o: { isWatching: boolean; ms: number; waitedMs: number; fails?: boolean }) {
    let now = 1_000;
    let waited = 50;
    let readings = 0;
    const heard: (number | undefined)[][] = [];
    const timing = {
      pace: {
        isWatching: o.isWatching,
        isDirect: () => true,
        took: (ms: number, waitedMs?: number) => void heard.push([ms, waitedMs]),
      },
      wait: {
        readMs: () => {
          readings++;
          return waited;
        },
        close: () => {},
      },
      nowMs: () => now,
    };
    const write = () => {
      now += o.ms;
      waited += o.waitedMs;
      if (o.fails === true) throw new Error("no space");
      return 300;
    };
    if (o.fails === true) assert.throws(() => timedWrite(timing, write), /no space/);
    else assert.equal(timedWrite(timing, write), 300);
    return { heard, readings };
  }

  it("says of a late write how long the thread waited for the processor in it", () => {
    const { heard } = timed({ isWatching: true, ms: 20, waitedMs: 19 });
    assert.deepEqual(heard, [[20, 19]]);
  });

  it("reads that once for a quick write that is watched, and never for another one", () => {
    const watched = timed({ isWatching: true, ms: 1, waitedMs: 0 });
    assert.deepEqual(watched, { heard: [[1, undefined]], readings: 1 });
    const others = timed({ isWatching: false, ms: 20, waitedMs: 19 });
    assert.deepEqual(others, { heard: [[20, undefined]], readings: 0 });
  });

  it("tells the time of a write that failed", () => {
    const { heard } = timed({ isWatching: true, ms: 5, waitedMs: 1, fails: true });
    assert.deepEqual(heard, [[5, 1]]);
  });
});
