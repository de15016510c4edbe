/**
 * A pause that can be cut short: what a loop waits with that looks now and then, and at once when something happened.
 *
 * `AbortSignal.any` is not used for it: in Node 20 every call leaves something behind in the signals it joins for as long
 * as they live (75 bytes; 6 MB a day for a loop that turns once a second).
 */
import type { Clock } from "./clock.ts";
import { LightSignal } from "./light-signal.ts";

/** Why a pause ended early; made once, as an abort without a reason makes an error with a stack each time. */
const rung = new Error("rung");

/** One sleeper and whoever wakes it. */
export class Alarm {
  readonly #clock: Clock;
  #ring: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the pause; nothing happens while there is none. */
  ring(): void {
    this.#ring?.();
  }

  /** Resolves after `ms`, at the next ring, or when the signal aborts; one at a time. Says whether the time is over. */
  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    const stop = new LightSignal();
    const end = () => stop.abort(rung);
    if (signal.aborted) return false;
    signal.addEventListener("abort", end, { once: true });
    this.#ring = end;
    try {
      await this.#clock.sleep(ms, stop);
      return true;
    } catch {
      // Rung, or stopped: the only ways in which a sleep fails.
      return false;
    } finally {
      this.#ring = undefined;
      signal.removeEventListener("abort", end);
    }
  }
}
