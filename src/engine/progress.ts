/**
 * Steps of a long piece of work on their way to a client that may be slower than the work.
 *
 * Only the newest step of each layer waits: what a slow client missed it need not see.
 */
import type { Json } from "./translate/common.ts";

/** Steps in the order of their layers' last change; one producer, one reader. */
export class ProgressQueue {
  /** By layer; steps of the whole have keys of their own, and none is dropped. */
  readonly #waiting = new Map<string, Json>();
  #next = 0;
  #begun = false;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: () => void = () => {};

  /** Adds a step. */
  push(step: Json): void {
    const { id, progressDetail } = step as { id?: string; progressDetail?: object };
    const moves = id !== undefined && progressDetail !== undefined;
    const isCount = moves && Object.keys(progressDetail).length > 0;
    // Counts follow each other closely; words such as "Pull complete" are kept each.
    const key = isCount ? `layer ${id} ${String(step["status"])}` : `step ${this.#next++}`;
    this.#waiting.delete(key);
    this.#waiting.set(key, step);
    this.#begun = true;
    this.#wake();
  }

  /** The work is over, and with what error if it failed. */
  end(error: unknown): void {
    this.#ended = true;
    if (error !== undefined) this.#failure = { error };
    this.#wake();
  }

  /** Resolves when there is a step or the work is over. @throws What it failed with before the first step. */
  async begun(): Promise<void> {
    while (!this.#begun && !this.#ended) await this.#changed();
    if (!this.#begun && this.#failure !== undefined) throw this.#failure.error;
  }

  /** All steps, and the failure at the end, if any, as a step of its own. */
  async *values(failed: (error: unknown) => Json): AsyncIterable<Json> {
    for (;;) {
      const steps = [...this.#waiting.values()];
      this.#waiting.clear();
      yield* steps;
      if (this.#waiting.size > 0) continue;
      if (this.#ended) break;
      await this.#changed();
    }
    if (this.#failure !== undefined) yield failed(this.#failure.error);
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
