/**
 * Loops of one leadership at a time.
 */
import assert from "node:assert/strict";
import { type LeaderLoop, LeaderLoops } from "../../../manager/leader-loops.ts";
import { hasCode } from "../../../src/common/errors/cluster-error.ts";
import { newLog } from "../../../src/common/log/log.ts";
import { settled } from "../../support/message-queue.ts";

describe("manager/leader-loops", () => {
  let lines: string[];
  let loops: LeaderLoops;
  let events: string[];
  beforeEach(() => {
    [lines, events] = [[], []];
    loops = new LeaderLoops(newLog((line) => lines.push(line), { level: "error", now: () => 0 }));
  });
  afterEach(() => loops.stopped());

  /** A loop that waits for its signal, and then for `cleanup`. */
  function loop(name: string, cleanup: Promise<void> = Promise.resolve()): LeaderLoop {
    return async (signal) => {
      events.push(`${name} begins`);
      if (!signal.aborted) {
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      }
      await cleanup;
      events.push(`${name} ends`);
    };
  }

  it("runs all loops of a term until it is told to stop", async () => {
    loops.start(1, { a: loop("a"), b: loop("b") });
    await settled();
    assert.deepEqual(events, ["a begins", "b begins"]);
    await loops.stopped();
    assert.deepEqual(events, ["a begins", "b begins", "a ends", "b ends"]);
  });

  it("starts those of the next term when those of the last have cleaned up", async () => {
    let cleaned: () => void = () => {};
    const cleanup = new Promise<void>((resolve) => {
      cleaned = resolve;
    });
    loops.start(1, { a: loop("first", cleanup) });
    await settled();
    loops.start(2, { a: loop("second") });
    await settled();
    assert.deepEqual(events, ["first begins"]);
    cleaned();
    await settled();
    assert.deepEqual(events, ["first begins", "first ends", "second begins"]);
  });

  it("does not begin the loops of a term that was over before its turn", async () => {
    loops.start(1, { a: loop("first") });
    loops.start(2, { a: loop("second") });
    loops.stop();
    loops.start(3, { a: loop("third") });
    await settled();
    assert.deepEqual(events, ["third begins"]);
  });

  it("tells loops why they stop", async () => {
    let reason: unknown;
    loops.start(1, {
      a: async (signal) => {
        await settled();
        reason = signal.reason;
      },
    });
    await Promise.resolve();
    await Promise.resolve();
    await loops.stopped();
    assert.ok(hasCode(reason, "aborted"));
  });

  it("logs a loop that fails, and lets the others run on", async () => {
    loops.start(7, {
      a: async () => {
        throw new Error("broken");
      },
      b: loop("b"),
    });
    await settled();
    assert.deepEqual(lines, [
      "1970-01-01T00:00:00.000Z error leader loop ended component=a raft.term=7 err=broken",
    ]);
    assert.deepEqual(events, ["b begins"]);
  });

  it("does not log what a loop throws because it was stopped", async () => {
    loops.start(1, {
      a: async (signal) => {
        await settled();
        signal.throwIfAborted();
      },
    });
    await Promise.resolve();
    await Promise.resolve();
    await loops.stopped();
    assert.deepEqual(lines, []);
  });

  it("has nothing to stop before it has started", async () => {
    loops.stop();
    await loops.stopped();
  });
});
