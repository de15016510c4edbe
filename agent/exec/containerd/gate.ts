/**
 * Lets a bounded number of things be done at once, in the order they were asked for.
 */

/** A gate with so many places. */
export class Gate {
  #free: number;
  #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  /** Runs the work once there is a place. @throws the signal's reason when it aborts before that. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#place(signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The place goes from hand to hand.
      if (next === undefined) this.#free++;
      else next();
    }
  }

  #place(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== go);
        reject(signal.reason);
      };
      const go = () => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#waiting.push(go);
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}
