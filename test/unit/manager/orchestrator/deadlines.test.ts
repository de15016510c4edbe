/**
 * Keys by time: order, replacement, removal.
 */
import assert from "node:assert/strict";
import { Deadlines } from "../../../../manager/orchestrator/deadlines.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";

describe("manager/orchestrator/deadlines", () => {
  it("gives what is due, earliest first, and keeps the rest", () => {
    const deadlines = new Deadlines();
    for (const [key, at] of [
      ["c", 30],
      ["a", 10],
      ["d", 40],
      ["b", 20],
    ] as const)
      deadlines.set(key, at);
    assert.equal(deadlines.nextMs(), 10);
    assert.deepEqual(deadlines.take(30), ["a", "b", "c"]);
    assert.equal(deadlines.nextMs(), 40);
    assert.deepEqual(deadlines.take(39), []);
  });

  it("has one time for a key, the last one", () => {
    const deadlines = new Deadlines();
    deadlines.set("a", 10);
    deadlines.set("a", 50);
    deadlines.set("b", 20);
    deadlines.set("b", 5);
    assert.deepEqual(deadlines.take(30), ["b"]);
    assert.deepEqual(deadlines.take(50), ["a"]);
    assert.equal(deadlines.nextMs(), Number.POSITIVE_INFINITY);
  });

  it("has what failed due again, and what did not come to it", async () => {
    const deadlines = new Deadlines();
    for (const [key, at] of Object.entries({ a: 10, b: 20, c: 30 })) deadlines.set(key, at);
    const fails = deadlines.drain(25, () => Promise.reject(new Error("no leader")));
    await assert.rejects(fails, /no leader/);
    const done: string[] = [];
    await deadlines.drain(25, async (due) => {
      done.push(...due);
    });
    assert.deepEqual(done.sort(), ["a", "b"]);
    assert.equal(deadlines.nextMs(), 30);
  });

  it("forgets what was deleted", () => {
    const deadlines = new Deadlines();
    deadlines.set("a", 10);
    deadlines.set("b", 20);
    deadlines.delete("a");
    assert.equal(deadlines.nextMs(), 20);
    assert.deepEqual(deadlines.take(100), ["b"]);
  });

  it("keeps order over many", () => {
    const random = seededRandom(7);
    const deadlines = new Deadlines();
    const times = new Map<string, number>();
    for (let i = 0; i < 2_000; i++) {
      const key = `k${random.int(500)}`;
      const at = random.int(1_000);
      deadlines.set(key, at);
      times.set(key, at);
    }
    const taken = deadlines.take(1_000).map((key) => times.get(key) ?? -1);
    assert.equal(taken.length, times.size);
    assert.deepEqual(
      taken,
      [...taken].sort((a, b) => a - b),
    );
  });
});
