/**
 * Lets code that uses promises, `setImmediate` and `setTimeout` run in the virtual time of one history.
 *
 * While a history runs, the timer functions of the process are replaced: turns of the event loop run right after the
 * event that asked for them, timers go to the event queue. One history runs at a time, so the result depends on nothing
 * but the seed.
 */
import { type EventQueue, milliseconds } from "./queue.ts";

const real = {
  setImmediate: globalThis.setImmediate,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
};

/** Most turns that may follow one event; more means that something waits for itself. */
const turnsMax = 10_000;

/** The event loop of a history. */
export class VirtualLoop {
  readonly #queue: EventQueue;
  #turns: (() => void)[] = [];
  #cancelled = new Set<object>();

  constructor(queue: EventQueue) {
    this.#queue = queue;
  }

  /** Replaces the process's timers; `restore` puts them back. */
  install(): void {
    const replaced = {
      setImmediate: (run: () => void) => {
        this.#turns.push(run);
      },
      setTimeout: (run: () => void, ms = 0) => {
        const timer = {};
        this.#queue.after(milliseconds(ms), () => {
          if (!this.#cancelled.delete(timer)) run();
        });
        return timer;
      },
      clearTimeout: (timer: object | undefined) => {
        if (timer !== undefined) this.#cancelled.add(timer);
      },
    };
    Object.assign(globalThis, replaced);
  }

  restore(): void {
    Object.assign(globalThis, real);
  }

  /** Runs the next event and everything that follows from it at once; false when there is none. */
  async step(): Promise<boolean> {
    if (!this.#queue.step()) return false;
    await this.settle();
    return true;
  }

  /** Lets promise reactions and turns run until there are none left. */
  async settle(): Promise<void> {
    for (let count = 0; count < turnsMax; count++) {
      // A tick asked for by a promise reaction comes once none is left; a turn of the real event loop takes much longer.
      await new Promise<void>((resolve) => queueMicrotask(() => process.nextTick(resolve)));
      if (this.#turns.length === 0) return;
      const turns = this.#turns;
      this.#turns = [];
      for (const run of turns) run();
    }
    throw new Error("the event loop does not come to rest");
  }
}
