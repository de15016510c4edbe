/**
 * Waits until the store has applied an index: the second half of a linearizable read.
 */

/** Waiters in order of the index they wait for. */
export class AppliedGate {
  readonly #applied: () => number;
  #waiting: { readonly index: number; readonly wake: () => void }[] = [];

  /** @param applied Index of the last entry the store has applied. */
  constructor(applied: () => number) {
    this.#applied = applied;
  }

  /** Resolves once `index` is applied; rejects with the signal's reason. */
  reached(index: number, signal: AbortSignal): Promise<void> {
    if (this.#applied() >= index) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const stop = () => {
        this.#waiting = this.#waiting.filter((w) => w !== waiter);
        reject(signal.reason);
      };
      const waiter = {
        index,
        wake: () => {
          signal.removeEventListener("abort", stop);
          resolve();
        },
      };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** To be called after entries were applied or the state was replaced. */
  passed(): void {
    if (this.#waiting.length === 0) return;
    const applied = this.#applied();
    const due = this.#waiting.filter((w) => w.index <= applied);
    if (due.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => w.index > applied);
    for (const { wake } of due) wake();
  }
}
