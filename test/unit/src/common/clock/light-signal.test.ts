/**
 * The signal that is cheap to make behaves as Node's own does.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { aborting } from "../../../../../src/common/clock/aborting.ts";
import { systemClock } from "../../../../../src/common/clock/clock.ts";
import { asAbortSignal, LightSignal } from "../../../../../src/common/clock/light-signal.ts";

describe("src/common/clock/light-signal", () => {
  const reason = new Error("stopped");

  it("tells each listener once, with the reason in place", () => {
    const signal = new LightSignal();
    const seen: unknown[] = [];
    const listener = () => seen.push(signal.reason);
    const gone = () => seen.push("gone");
    signal.addEventListener("abort", listener);
    signal.addEventListener("abort", listener);
    signal.addEventListener("abort", gone);
    signal.removeEventListener("abort", gone);
    signal.throwIfAborted();
    assert.equal(signal.aborted, false);
    signal.abort(reason);
    signal.abort(new Error("again"));
    assert.deepEqual(seen, [reason]);
    assert.equal(signal.aborted, true);
    assert.throws(() => signal.throwIfAborted(), reason);
    signal.addEventListener("abort", gone);
    assert.deepEqual(seen, [reason]);
  });

  it("tells a listener that takes another one away, and one that comes as an object", () => {
    const signal = new LightSignal();
    const seen: string[] = [];
    const late = () => seen.push("late");
    signal.addEventListener("abort", () => signal.removeEventListener("abort", late));
    signal.addEventListener("abort", late);
    signal.addEventListener("abort", { handleEvent: () => seen.push("object") });
    signal.abort(reason);
    assert.deepEqual(seen, ["object"]);
  });

  it("ends what Node and this project wait for with a signal", async () => {
    const signal = new LightSignal();
    const forever = new Promise(() => {});
    const waits = [
      aborting(forever, signal),
      systemClock.sleep(1e6, signal),
      sleep(1e6, undefined, { signal }),
      once(new EventTarget(), "never", { signal }),
    ];
    setImmediate(() => signal.abort(reason));
    const ends = await Promise.allSettled(waits);
    assert.deepEqual(
      ends.map(({ status }) => status),
      waits.map(() => "rejected"),
    );
  });

  it("is followed by one of Node's own", () => {
    const early = new LightSignal();
    const followed = asAbortSignal(early);
    assert.equal(AbortSignal.any([followed]).aborted, false);
    early.abort(reason);
    assert.equal(followed.reason, reason);
    assert.equal(asAbortSignal(early).reason, reason);
  });
});
