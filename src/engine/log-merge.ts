/**
 * Merges the logs of several tasks by time, at the pace of whoever reads.
 *
 * As long as all logs are finite this is exact. When they are followed, a quiet one must not hold up the others: a record
 * waits `holdMs` for others to say something older, in a buffer of bounded size, and then goes.
 */
import type { Clock } from "../common/clock/clock.ts";
import { logReorderBytesMax, logReorderRecordsMax } from "../common/limits/tunnel.ts";

/** What is merged. */
export interface Timed {
  /** As `logTime` gives it: text that sorts by time. */
  readonly time: string;
  readonly data: Uint8Array;
}

interface Source<T> {
  readonly iterator: AsyncIterator<T>;
  /** What has come and waits, oldest first. */
  readonly queue: { readonly record: T; readonly arrivedMs: number }[];
  isReading: boolean;
  /** It may still be on its way: others wait for its first record or for its failure. */
  isOpening: boolean;
  hasEnded: boolean;
}

/** How records are held back. */
export interface MergeOptions {
  /** Undefined: until all others have said what they have. */
  readonly holdMs: number | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A merge to which logs may be added while it is read. */
export class LogMerge<T extends Timed> {
  readonly #options: MergeOptions;
  readonly #sources = new Set<Source<T>>();
  #bytes = 0;
  /** When the last log was on its way: what it has may take as long to come as anything else. */
  #openedMs = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => {};
  #isComplete = false;

  constructor(options: MergeOptions) {
    this.#options = options;
  }

  /**
   * Adds a log. One that throws is at its end: it tells of its failure before that.
   * @param opened Settles when its first record, if there is one, is on its way; records of others wait for that.
   */
  add(log: AsyncIterable<T>, opened?: Promise<unknown>): void {
    const source: Source<T> = {
      iterator: log[Symbol.asyncIterator](),
      queue: [],
      isReading: false,
      isOpening: opened !== undefined,
      hasEnded: false,
    };
    this.#sources.add(source);
    const isOpen = () => {
      if (source.isOpening) this.#openedMs = this.#options.clock.monotonic();
      source.isOpening = false;
      this.#wake();
    };
    opened?.then(isOpen, isOpen);
    void this.#read(source);
  }

  /** No more logs will be added: the merge ends with the last one. */
  complete(): void {
    this.#isComplete = true;
    this.#wake();
  }

  /** The records; ends early when the signal aborts. */
  async *records(): AsyncGenerator<T, void, void> {
    const { signal } = this.#options;
    try {
      while (!signal.aborted) {
        const next = this.#oldest();
        const [first] = next?.queue ?? [];
        const sinceMs = Math.max(first?.arrivedMs ?? 0, this.#openedMs);
        // Asked once: a wait that ended in between would be over for one, and not begun for the other.
        const waitedMs = this.#options.clock.monotonic() - sinceMs;
        if (next !== undefined && first !== undefined && this.#mayGo(waitedMs)) {
          next.queue.shift();
          this.#bytes -= first.record.data.length;
          void this.#read(next);
          yield first.record;
        } else if (this.#sources.size === 0 && this.#isComplete) return;
        else await this.#change(first === undefined ? undefined : waitedMs);
      }
    } finally {
      // A log that waits for its next record ends with the signal it was made with.
      for (const source of this.#sources) void source.iterator.return?.().catch(() => {});
    }
  }

  #oldest(): Source<T> | undefined {
    let oldest: Source<T> | undefined;
    let time: string | undefined;
    for (const source of this.#sources) {
      const [first] = source.queue;
      if (first === undefined || (time !== undefined && first.record.time >= time)) continue;
      oldest = source;
      ({ time } = first.record);
    }
    return oldest;
  }

  /** Whether the oldest record, which has waited so long, has waited for all that may be older. */
  #mayGo(waitedMs: number): boolean {
    const { holdMs } = this.#options;
    const hasWaited =
      holdMs !== undefined && (this.#bytes >= logReorderBytesMax || waitedMs >= holdMs);
    for (const { queue, isOpening } of this.#sources) {
      if (queue.length === 0 && (!hasWaited || isOpening)) return false;
    }
    return true;
  }

  /** Takes what comes for as long as there is room. Never rejects. */
  async #read(source: Source<T>): Promise<void> {
    if (source.isReading) return;
    source.isReading = true;
    try {
      while (!source.hasEnded && this.#hasRoom(source)) {
        const next = await source.iterator.next();
        if (next.done === true) {
          source.hasEnded = true;
          continue;
        }
        this.#bytes += next.value.data.length;
        source.queue.push({ record: next.value, arrivedMs: this.#options.clock.monotonic() });
        source.isOpening = false;
        this.#wake();
      }
    } catch {
      source.hasEnded = true;
    } finally {
      source.isReading = false;
    }
    if (source.hasEnded && source.queue.length === 0) this.#sources.delete(source);
    this.#wake();
  }

  #hasRoom({ queue }: Source<T>): boolean {
    if (queue.length === 0) return true;
    if (this.#options.holdMs === undefined) return false;
    return queue.length < logReorderRecordsMax && this.#bytes < logReorderBytesMax;
  }

  /** Resolves when something may have changed: a record, an end, the end of a record's wait, or the signal. */
  async #change(waitedMs: number | undefined): Promise<void> {
    const { holdMs, clock, signal } = this.#options;
    const stop = new AbortController();
    const wake = () => stop.abort();
    this.#wake = wake;
    signal.addEventListener("abort", wake, { once: true });
    if (signal.aborted) wake();
    const leftMs = waitedMs === undefined || holdMs === undefined ? 0 : holdMs - waitedMs;
    if (leftMs > 0) {
      await clock.sleep(leftMs, stop.signal).catch(() => {
        // Woken.
      });
    } else await aborted(stop.signal);
    this.#wake = () => {};
    signal.removeEventListener("abort", wake);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
