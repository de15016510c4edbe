/**
 * Waiting for a promise until a signal aborts.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { aborting } from "../../../../../src/common/clock/aborting.ts";

describe("src/common/clock/aborting", () => {
  const reason = new Error("stopped");

  it("gives the result, or the failure, of the promise", async () => {
    const { signal } = new AbortController();
    assert.equal(await aborting(Promise.resolve(1), signal), 1);
    await assert.rejects(aborting(Promise.reject(new Error("bad")), signal), /bad/);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  it("gives the signal's reason when that comes first", async () => {
    const stop = new AbortController();
    const wait = aborting(new Promise(() => {}), stop.signal);
    stop.abort(reason);
    await assert.rejects(wait, reason);
    await assert.rejects(aborting(Promise.resolve(1), stop.signal), reason);
  });

  it("owns a failure that comes after the abort", async () => {
    const stop = new AbortController();
    let fail: (error: Error) => void = () => {};
    const late = new Promise((_, reject) => {
      fail = reject;
    });
    const wait = aborting(late, stop.signal);
    stop.abort(reason);
    await assert.rejects(wait, reason);
    fail(new Error("late"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
