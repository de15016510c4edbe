/**
 * One wait for all who begin to wait at about the same time.
 *
 * What is waited for has to begin after each of them asked: whoever comes while one is under way waits for the next.
 */

/** Joins waits. */
export class SharedWait {
  readonly #begin: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** @param begin Begins to wait; what it rejects with is told to all who wait. */
  constructor(begin: () => Promise<void>) {
    this.#begin = begin;
  }

  /** Resolves once a wait that began after this call is over. */
  wait(): Promise<void> {
    this.#next ??= this.#runNext();
    return this.#next;
  }

  async #runNext(): Promise<void> {
    // Those who ask in the same turn join, too; how the one before ended is no business of the next.
    await (this.#running ?? Promise.resolve()).catch(() => {});
    const running = this.#begin();
    this.#running = running;
    this.#next = undefined;
    await running;
  }
}
