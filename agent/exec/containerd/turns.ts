/**
 * Has things of one kind done one after the other, in the order they were asked for; those of different kinds at once.
 */

/** What is under way, by its kind. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs the work when what was asked for of the same kind before is done, whatever that came to. */
  run<T>(kind: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(kind) ?? Promise.resolve();
    const own = before.then(work);
    const done = own
      .catch(() => {
        // The caller owns the failure; the next one starts from here.
      })
      .then(() => {
        if (this.#last.get(kind) === done) this.#last.delete(kind);
      });
    this.#last.set(kind, done);
    return own;
  }
}
