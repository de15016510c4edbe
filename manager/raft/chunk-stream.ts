/**
 * Byte streams between the main thread and the Raft worker: chunks are moved, not copied, and only a few are under way.
 *
 * The receiver gives a credit back for every chunk it has consumed; the sender waits when it has none left. Used for
 * snapshots in both directions.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** Chunks under way to a receiver that has not consumed them. */
const chunksInFlightMax = 8;

/** The sending end. */
export class ChunkSender {
  #credits = chunksInFlightMax;
  #wake: (() => void) | undefined;
  #cancelled: unknown;

  /** The receiver consumed a chunk. */
  credit(): void {
    this.#credits++;
    this.#wake?.();
  }

  /** The receiver wants no more. */
  cancel(reason: unknown): void {
    this.#cancelled ??= reason ?? new ClusterError("cancelled", "the receiver stopped");
    this.#wake?.();
  }

  /** Posts all chunks, as fast as they are consumed. */
  async send(chunks: AsyncIterable<Uint8Array>, post: (bytes: Uint8Array) => void): Promise<void> {
    for await (const chunk of chunks) {
      while (this.#credits === 0 && this.#cancelled === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#cancelled !== undefined) throw this.#cancelled;
      this.#credits--;
      // A copy of its own can be moved to the other thread whatever the chunk was a part of.
      post(new Uint8Array(chunk));
    }
  }
}

/** The receiving end: an async iterable over what is pushed. */
export class ChunkReceiver implements AsyncIterable<Uint8Array> {
  readonly #onConsumed: () => void;
  #chunks: Uint8Array[] = [];
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(onConsumed: () => void) {
    this.#onConsumed = onConsumed;
  }

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#wake?.();
  }

  /** No more chunks come; with `error`, because the sender failed. */
  end(error?: unknown): void {
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
        this.#onConsumed();
        continue;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
