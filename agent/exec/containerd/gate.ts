/**
 * Lets a bounded number of things be done at once, in the order they were asked for.
 */

import { Queue } from "./queue.ts";

/** A gate with so many places. */
export class Gate {
  #free: number;
  readonly #queue = new Queue();

  constructor(places: number) {
    this.#free = places;
  }

  /** Runs the work once there is a place. @throws the signal's reason when it aborts before that. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#queue.wait(signal);
    try {
      return await work();
    } finally {
      // The place goes from hand to hand.
      if (!this.#queue.next()) this.#free++;
    }
  }
}
