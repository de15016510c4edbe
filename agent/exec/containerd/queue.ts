/**
 * Those who wait for their turn, in the order in which they came; one whose signal aborts leaves the queue.
 */

/** A queue. */
export class Queue {
  #waiting: (() => void)[] = [];

  /** Resolves when it is the caller's turn. @throws the signal's reason when it aborts before that. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== go);
        reject(signal.reason);
      };
      const go = () => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#waiting.push(go);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** It is the turn of the first. @returns False when nobody waits. */
  next(): boolean {
    const go = this.#waiting.shift();
    go?.();
    return go !== undefined;
  }
}
