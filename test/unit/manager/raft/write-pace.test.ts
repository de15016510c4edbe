/** Facts about who writes the log: the Raft thread on a fast disk, the thread pool on a slow one. */
import assert from "node:assert/strict";
import {
  directBytesMax,
  directMsMax,
  hangMs,
  pauseWritesMax,
  pauseWritesMin,
  WritePace,
} from "../../../../manager/raft/write-pace.ts";

const slow = 20;

/** Writes that the pool makes before the next direct one. */
function pooled(pace: WritePace): number {
  let count = 0;
  while (!pace.isDirect(1)) count++;
  return count;
}

describe("manager/raft/write-pace", () => {
  it("writes directly while that is quick, a late one now and then included", () => {
    const pace = new WritePace();
    for (let n = 0; n < 10_000; n++) {
      assert.ok(pace.isDirect(300));
      pace.took(n % 100 === 50 ? slow : 0.06, 0);
    }
  });

  it("writes directly while most are quick: a disk has bad moments", () => {
    const pace = new WritePace();
    for (let n = 0; n < 10_000; n++) {
      assert.ok(pace.isDirect(300), `${n}`);
      pace.took(n % 4 === 0 ? slow : 0.06, 0);
    }
  });

  it("writes directly while the thread waits for the processor and not for the disk", () => {
    const pace = new WritePace();
    for (let n = 0; n < 10_000; n++) {
      assert.ok(pace.isDirect(300), `${n}`);
      pace.took(slow, slow - 0.3);
    }
    pace.took(3 * hangMs, 3 * hangMs - 1);
    assert.ok(pace.isDirect(300));
  });

  it("watches after a late write, which counts for nothing if it was not watched itself", () => {
    const pace = new WritePace();
    for (let n = 0; n < 100; n++) pace.took(0.06);
    assert.ok(!pace.isWatching);
    for (let n = 0; n < 100; n++) pace.took(slow);
    assert.ok(pace.isDirect(300));
    assert.ok(pace.isWatching);
  });

  it("leaves large writes to the pool", () => {
    const pace = new WritePace();
    assert.ok(!pace.isDirect(directBytesMax + 1));
    assert.ok(pace.isDirect(directBytesMax));
  });

  it("leaves a slow disk to the pool after three writes, and tries ever more rarely", () => {
    const pace = new WritePace();
    const pauses: number[] = [];
    for (let n = 0; n < 9; n++) {
      for (let tried = 0; tried < 3; tried++) {
        assert.ok(pace.isDirect(1));
        pace.took(slow, 0);
      }
      pauses.push(pooled(pace));
    }
    assert.deepEqual(pauses, [16, 32, 64, 128, 256, 512, 1_024, 1_024, 1_024]);
    assert.equal(pauses[0], pauseWritesMin);
    assert.equal(pauses.at(-1), pauseWritesMax);
  });

  it("leaves a disk that becomes slow to the pool within some writes", () => {
    const pace = new WritePace();
    for (let n = 0; n < 5_000; n++) pace.took(0.06);
    let count = 0;
    for (; pace.isDirect(1); count++) pace.took(2 * directMsMax, 0);
    assert.ok(count < 16, `${count}`);
  });

  it("leaves a disk to the pool that hangs once", () => {
    const pace = new WritePace();
    for (let n = 0; n < 100; n++) pace.took(0.06);
    pace.took(hangMs);
    assert.equal(pooled(pace), pauseWritesMin);
  });

  it("is soon tried again when it had been quick for long", () => {
    const pace = new WritePace();
    for (let n = 0; n < 3; n++) {
      pace.took(hangMs);
      pooled(pace);
    }
    for (let n = 0; n < 5_000; n++) pace.took(0.06);
    pace.took(hangMs);
    assert.equal(pooled(pace), pauseWritesMin);
  });
});
