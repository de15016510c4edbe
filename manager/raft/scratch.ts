/**
 * Memory that is used again and again for bytes that nobody keeps.
 *
 * V8 counts the memory behind buffers and collects for it; most of what a member of Raft encodes is written or sealed at once.
 */

/** One piece of memory, as long as the longest bytes so far, up to a limit. */
export class Scratch {
  readonly #keptMax: number;
  #kept: Buffer = Buffer.alloc(0);

  /** @param keptMax Bytes longer than this get memory of their own. */
  constructor(keptMax: number) {
    this.#keptMax = keptMax;
  }

  /** Bytes to write to, with anything in them, which are the caller's until the next call. */
  take(length: number): Buffer {
    if (length > this.#keptMax) return Buffer.allocUnsafeSlow(length);
    if (length > this.#kept.length) {
      // Twice as much as before, so that growing in small steps makes little garbage.
      const room = Math.min(Math.max(length, 2 * this.#kept.length), this.#keptMax);
      this.#kept = Buffer.allocUnsafeSlow(room);
    }
    return this.#kept.subarray(0, length);
  }
}
