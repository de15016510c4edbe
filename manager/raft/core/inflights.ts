/**
 * The window of `app` messages on their way to one member, bounded in number and in bytes.
 *
 * The bound in bytes is soft: the message that passes it still goes out, the next one waits.
 */
import { assert } from "./assert.ts";

/** A queue of (last index, bytes) of sent and unacknowledged messages, in order of index. */
export class Inflights {
  readonly #countMax: number;
  readonly #bytesMax: number;
  #indexes: number[] = [];
  #sizes: number[] = [];
  /** Position of the oldest message; everything before it is acknowledged and waits to be cut off. */
  #head = 0;
  #bytes = 0;

  /** @param countMax Most messages. @param bytesMax Bytes at which the window counts as full; Infinity for no limit. */
  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  /** Messages in the window. */
  get count(): number {
    return this.#indexes.length - this.#head;
  }

  /** Bytes of entries in the window. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether nothing more may be sent. */
  get full(): boolean {
    return this.count >= this.#countMax || this.#bytes >= this.#bytesMax;
  }

  /** Adds a message whose last entry has `index`; the window must not be full and indexes must not fall. */
  add(index: number, bytes: number): void {
    assert(!this.full, "a message was sent into a full window");
    this.#indexes.push(index);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** Takes out all messages that `index` acknowledges. */
  freeTo(index: number): void {
    let head = this.#head;
    while (head < this.#indexes.length && (this.#indexes[head] ?? 0) <= index) {
      this.#bytes -= this.#sizes[head] ?? 0;
      head++;
    }
    this.#head = head;
    // Cutting only when half is dead makes the cost per message constant.
    if (head * 2 < this.#indexes.length) return;
    this.#indexes = this.#indexes.slice(head);
    this.#sizes = this.#sizes.slice(head);
    this.#head = 0;
  }

  /** Forgets all messages. */
  reset(): void {
    this.#indexes = [];
    this.#sizes = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}
