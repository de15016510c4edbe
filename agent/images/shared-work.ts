/**
 * Work that many want and that is done once: pulls of one image, downloads of one layer.
 */

import { aborting } from "../../src/common/clock/aborting.ts";
import type { TransferProgress } from "../../src/common/container/images.ts";

/** Hears of progress. */
export type Report = (progress: TransferProgress) => void;

/** What somebody brings who wants a piece of work done. */
export interface Caller {
  readonly onProgress: Report;
  readonly signal: AbortSignal;
}

interface Running<T> {
  readonly result: Promise<T>;
  readonly stop: AbortController;
  readonly listeners: Set<Report>;
  callers: number;
}

/** Work by key; it is stopped when the last who wants it has left. */
export class SharedWork<T> {
  readonly #running = new Map<string, Running<T>>();

  /** Joins the work under the key, or begins it. */
  async join(
    key: string,
    caller: Caller,
    begin: (report: Report, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    caller.signal.throwIfAborted();
    const work = this.#running.get(key) ?? this.#begin(key, begin);
    work.callers++;
    work.listeners.add(caller.onProgress);
    try {
      return await aborting(work.result, caller.signal);
    } finally {
      work.listeners.delete(caller.onProgress);
      if (--work.callers === 0) {
        // Whoever comes now does not join what is being stopped.
        if (this.#running.get(key) === work) this.#running.delete(key);
        work.stop.abort(caller.signal.reason);
      }
    }
  }

  #begin(key: string, begin: (report: Report, signal: AbortSignal) => Promise<T>): Running<T> {
    const stop = new AbortController();
    const listeners = new Set<Report>();
    const report: Report = (progress) => {
      for (const listener of listeners) listener(progress);
    };
    const result = begin(report, stop.signal);
    // With no caller left, nobody waits for its end.
    result.catch(() => {});
    const work = { result, stop, listeners, callers: 0 };
    this.#running.set(key, work);
    return work;
  }
}

/** One at a time per key. */
export class KeyedLock {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Does the work when all that was asked for before under the key is over. */
  async run<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const own = before
      .catch(() => {
        // Its own caller hears of it.
      })
      .then(() => {
        signal.throwIfAborted();
        return work();
      });
    this.#last.set(key, own);
    try {
      return await own;
    } finally {
      if (this.#last.get(key) === own) this.#last.delete(key);
    }
  }
}

/** Does things with at most so many at once; a work that fails ends its own line of them only. */
export async function inParallel<T>(
  items: readonly T[],
  atOnceMax: number,
  work: (item: T, position: number) => Promise<void>,
): Promise<void> {
  const rest = items.entries();
  const line = async () => {
    for (const [position, item] of rest) await work(item, position);
  };
  await Promise.all(Array.from({ length: Math.min(atOnceMax, items.length) }, line));
}
