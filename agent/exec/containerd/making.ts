/**
 * Keeps the making of containers from running far ahead of their starts: the making keeps one processor busy, and the starts,
 * which are mostly the work of other programs, the others. Done one after the other, each would leave processors idle.
 */

import { Queue } from "./queue.ts";

/** Makings wait while more starts than this are asked for and not done; starts never wait for makings. */
export class Making {
  readonly #startsMax: number;
  #starts = 0;
  readonly #queue = new Queue();

  constructor(startsMax: number) {
    this.#startsMax = startsMax;
  }

  /** Counts a start from when it is asked for to its end. */
  async start<T>(work: () => Promise<T>): Promise<T> {
    this.#starts++;
    try {
      return await work();
    } finally {
      this.#starts--;
      // One more start comes of each of them.
      this.#queue.next();
    }
  }

  /** Resolves when another container may be made, in the order of the calls. @throws the signal's reason. */
  async mayMake(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#starts < this.#startsMax) return;
    await this.#queue.wait(signal);
  }
}
