/**
 * Lets connections in a few at a time.
 *
 * What a manager does first on a connection, the handshake of TLS, is the most it ever does for most of them. When thousands come
 * at once, as after its restart, and all are begun, each is done only when all are, by when every agent has given up and
 * begins anew. So few are begun in a turn of the event loop: those under way, and sessions, go first. What has waited for long is
 * dropped unserved, as its caller will not wait for the rest either; it comes again after a pause.
 */
import type { Clock } from "../clock/clock.ts";
import { rpcIntakePerTurn, rpcIntakeWaitMsMax } from "../limits/limits.ts";

/** Connections that wait to be let in. */
export class Intake<C> {
  readonly #o: {
    readonly take: (connection: C) => void;
    readonly drop: (connection: C) => void;
    readonly clock: Clock;
  };
  /** In the order they came; those before `#next` are gone. */
  #waiting: { readonly connection: C; readonly sinceMs: number }[] = [];
  #next = 0;
  #isTurning = false;

  constructor(o: {
    readonly take: (connection: C) => void;
    readonly drop: (connection: C) => void;
    readonly clock: Clock;
  }) {
    this.#o = o;
  }

  /** How many wait. */
  get count(): number {
    return this.#waiting.length - this.#next;
  }

  /** Takes a connection soon, or drops it. */
  add(connection: C): void {
    this.#waiting.push({ connection, sinceMs: this.#o.clock.monotonic() });
    this.#turnSoon();
  }

  /** Drops all that wait. */
  close(): void {
    for (const { connection } of this.#waiting.slice(this.#next)) this.#o.drop(connection);
    this.#waiting = [];
    this.#next = 0;
  }

  #turnSoon(): void {
    if (this.#isTurning || this.count === 0) return;
    this.#isTurning = true;
    setImmediate(() => {
      this.#isTurning = false;
      this.#turn();
      this.#turnSoon();
    });
  }

  #turn(): void {
    const oldestMs = this.#o.clock.monotonic() - rpcIntakeWaitMsMax;
    for (let taken = 0; taken < rpcIntakePerTurn; ) {
      const first = this.#waiting[this.#next];
      if (first === undefined) break;
      this.#next++;
      if (first.sinceMs < oldestMs) {
        this.#o.drop(first.connection);
      } else {
        this.#o.take(first.connection);
        taken++;
      }
    }
    if (this.count > 0 && this.#next < this.#waiting.length / 2) return;
    this.#waiting = this.#waiting.slice(this.#next);
    this.#next = 0;
  }
}
