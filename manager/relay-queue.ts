/**
 * Messages on their way into a stream: what is queued in one turn of the event loop, or while the stream is busy, travels
 * together. Used by both ends of the control relay.
 */

/** Encoded bytes of one message, about; far below what a message may have. */
const messageBytesMax = 1024 * 1024;

/** The writing half of a stream, with what waits for it. */
export class RelayQueue<T> {
  readonly #write: (items: readonly T[]) => Promise<void>;
  readonly #bytesOf: (item: T) => number;
  readonly #onFailed: (error: unknown) => void;
  #waiting: T[] = [];
  #busy = false;

  /** @param write Resolves when the stream can take more. */
  constructor(
    write: (items: readonly T[]) => Promise<void>,
    bytesOf: (item: T) => number,
    onFailed: (error: unknown) => void,
  ) {
    this.#write = write;
    this.#bytesOf = bytesOf;
    this.#onFailed = onFailed;
  }

  push(item: T): void {
    this.#waiting.push(item);
    if (this.#busy) return;
    this.#busy = true;
    setImmediate(() => {
      this.#drain().catch(this.#onFailed);
    });
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      let bytes = 0;
      let count = 0;
      for (const item of this.#waiting) {
        bytes += this.#bytesOf(item);
        if (count > 0 && bytes > messageBytesMax) break;
        count++;
      }
      await this.#write(this.#waiting.splice(0, count));
    }
    this.#busy = false;
  }
}
