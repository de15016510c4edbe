/**
 * Hands the output of one process on to whoever is attached to it.
 *
 * A reader that is slow fills its own queue; the source then waits for `onDrained` for as long as it can afford to, and
 * cuts the slow ones off when it cannot any more.
 */
import type { OutputChunk } from "../../../src/common/container/containers.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** What may wait for one reader before the source is asked to pause. */
const waitingBytesMax = 1024 * 1024;

interface Reader {
  readonly wants: (chunk: OutputChunk) => boolean;
  readonly chunks: OutputChunk[];
  bytes: number;
  ended: boolean;
  error: ClusterError | undefined;
  wake: (() => void) | undefined;
}

/** One source, many readers. */
export class OutputHub {
  readonly #readers = new Set<Reader>();
  #drained: (() => void) | undefined;

  /** Whether anybody listens. */
  get isHeard(): boolean {
    return this.#readers.size > 0;
  }

  /** Whether a reader has more waiting than it should. */
  get isFull(): boolean {
    for (const reader of this.#readers) if (reader.bytes > waitingBytesMax) return true;
    return false;
  }

  /**
   * Everything from now on; ends with the source, or when `close` is called.
   *
   * @param first Chunks that come before.
   */
  subscribe(
    o: { stdout: boolean; stderr: boolean },
    first: readonly OutputChunk[] = [],
  ): { output: AsyncGenerator<OutputChunk, void, void>; close: () => void } {
    const wants = (chunk: OutputChunk) => (chunk.stream === "stdout" ? o.stdout : o.stderr);
    const reader: Reader = {
      wants,
      chunks: first.filter(wants),
      bytes: 0,
      ended: false,
      error: undefined,
      wake: undefined,
    };
    this.#readers.add(reader);
    return { output: this.#read(reader), close: () => this.#drop(reader, undefined) };
  }

  /** Gives a chunk to all readers; it must not change any more. */
  publish(chunk: OutputChunk): void {
    for (const reader of this.#readers) {
      if (!reader.wants(chunk)) continue;
      reader.chunks.push(chunk);
      reader.bytes += chunk.data.length;
      reader.wake?.();
    }
  }

  /** Calls `drained` whenever no reader has too much waiting any more, and when the last one goes; one source only. */
  onDrained(drained: () => void): void {
    this.#drained = drained;
  }

  /** Lets go of the readers that keep the source waiting. */
  cutSlow(): void {
    for (const reader of [...this.#readers]) {
      if (reader.bytes <= waitingBytesMax) continue;
      const text =
        "the output was taken too slowly: what waited for it filled the disk of the node";
      this.#drop(reader, new ClusterError("resource-exhausted", text));
    }
  }

  /** The source is at its end; readers get what waits for them, and end. */
  end(): void {
    for (const reader of [...this.#readers]) this.#drop(reader, undefined);
  }

  async *#read(reader: Reader): AsyncGenerator<OutputChunk, void, void> {
    try {
      for (;;) {
        const chunk = reader.chunks.shift();
        if (chunk !== undefined) {
          const wasFull = reader.bytes > waitingBytesMax;
          reader.bytes -= chunk.data.length;
          if (wasFull && !this.isFull) this.#drained?.();
          yield chunk;
          continue;
        }
        if (reader.error !== undefined) throw reader.error;
        if (reader.ended) return;
        await new Promise<void>((resolve) => {
          reader.wake = resolve;
        });
        reader.wake = undefined;
      }
    } finally {
      reader.chunks.length = 0;
      this.#drop(reader, undefined);
    }
  }

  #drop(reader: Reader, error: ClusterError | undefined): void {
    reader.ended = true;
    reader.error ??= error;
    reader.wake?.();
    if (this.#readers.delete(reader)) this.#drained?.();
  }
}
