/**
 * Events of one kind for any number of readers, each of which gets those that come after it began. A reader that falls far
 * behind is cut off, so that it cannot hold memory without end.
 */
import { ClusterError } from "../errors/cluster-error.ts";
import { containerEventsWaitingMax } from "../limits/runtime.ts";

/** Hands events on to its readers. */
export class EventHub<T> {
  #readers = new Set<Reader<T>>();

  emit(event: T): void {
    for (const reader of this.#readers) reader.push(event);
  }

  /** Events from this call on until the signal aborts. @throws ClusterError resource-exhausted for a reader too slow. */
  read(signal: AbortSignal): AsyncIterable<T> {
    const reader = new Reader<T>();
    this.#readers.add(reader);
    return this.#drain(reader, signal);
  }

  async *#drain(reader: Reader<T>, signal: AbortSignal): AsyncGenerator<T, void, void> {
    const wake = () => reader.wake();
    signal.addEventListener("abort", wake, { once: true });
    try {
      while (!signal.aborted) {
        const event = await reader.next(signal);
        if (event !== undefined) yield event;
      }
    } finally {
      signal.removeEventListener("abort", wake);
      this.#readers.delete(reader);
    }
  }
}

class Reader<T> {
  #waiting: T[] = [];
  #cut = false;
  #wake: (() => void) | undefined;

  push(event: T): void {
    if (this.#cut) return;
    if (this.#waiting.length >= containerEventsWaitingMax) {
      this.#cut = true;
      this.#waiting = [];
    } else this.#waiting.push(event);
    this.wake();
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  async next(signal: AbortSignal): Promise<T | undefined> {
    while (this.#waiting.length === 0 && !signal.aborted && !this.#cut) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#cut) {
      throw new ClusterError("resource-exhausted", "the reader of events is too slow");
    }
    return this.#waiting.shift();
  }
}
