/**
 * Pauses that end by time, by a ring, or by their signal.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { Alarm } from "../../../../../src/common/clock/alarm.ts";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";

describe("src/common/clock/alarm", () => {
  let clock: FakeClock;
  let alarm: Alarm;
  let stop: AbortController;
  beforeEach(() => {
    clock = new FakeClock();
    alarm = new Alarm(clock);
    stop = new AbortController();
  });

  it("pauses for the whole time, and says so", async () => {
    const pause = alarm.pause(100, stop.signal);
    await clock.advance(99);
    assert.equal(await Promise.race([pause, "still"]), "still");
    await clock.advance(1);
    assert.equal(await pause, true);
  });

  it("ends at a ring", async () => {
    const pause = alarm.pause(100, stop.signal);
    alarm.ring();
    assert.equal(await pause, false);
  });

  it("ends when its signal aborts, and does not begin after that", async () => {
    const pause = alarm.pause(100, stop.signal);
    stop.abort();
    assert.equal(await pause, false);
    assert.equal(await alarm.pause(100, stop.signal), false);
  });

  it("forgets a ring that nobody waits for", async () => {
    alarm.ring();
    const pause = alarm.pause(100, stop.signal);
    await clock.advance(100);
    assert.equal(await pause, true);
  });

  it("leaves nothing behind in the signal", async () => {
    for (let i = 0; i < 10; i++) {
      const pause = alarm.pause(1, stop.signal);
      if (i % 2 === 0) alarm.ring();
      await clock.advance(1);
      await pause;
    }
    assert.equal(getEventListeners(stop.signal, "abort").length, 0);
  });
});
