/**
 * Whether this life of the agent may start what is assigned: not before it knows how things are now.
 *
 * What is stored may be old. So a task that has to be started waits until a manager has said what is assigned, or, while
 * no manager can be reached, for a while: then the node goes on alone with what it knows.
 */

/** How the node came to act: by a manager's word, or alone. */
export type GateState = "closed" | "managed" | "alone";

/** One agent's gate; opens once, and once more from "alone" to "managed". */
export class Gate {
  #state: GateState = "closed";
  readonly #waiting = new Set<() => void>();

  get state(): GateState {
    return this.#state;
  }

  /** A manager has said what is assigned. */
  managed(): void {
    this.#enter("managed");
  }

  /** No manager was heard for too long. */
  alone(): void {
    if (this.#state === "closed") this.#enter("alone");
  }

  /** Resolves once the state is another one than `seen`. @throws the signal's reason */
  async leaves(seen: GateState, signal: AbortSignal): Promise<void> {
    while (this.#state === seen) await this.#change(signal);
  }

  #enter(state: GateState): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const wake of [...this.#waiting]) wake();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const end = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", stop);
      };
      const wake = () => {
        end();
        resolve();
      };
      const stop = () => {
        end();
        reject(signal.reason);
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}
