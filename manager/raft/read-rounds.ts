/**
 * Linearizable read points, many for the price of one: all readers that come while a round is under way share the next.
 *
 * The core confirms a round with a quorum, on followers through the leader; an answer may get lost, so a round is asked
 * again after a while, and readers give up after `readIndexTimeoutMs`.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { ReadState } from "./core/types.ts";

interface Reader {
  readonly expiresAt: number;
  readonly resolve: (index: number) => void;
  readonly reject: (error: ClusterError) => void;
}

/** The rounds of one member. Time is counted in ticks. */
export class ReadRounds {
  readonly #ask: (context: Uint8Array) => void;
  readonly #ticks: { readonly retry: number; readonly expire: number };
  #now = 0;
  #round: number;
  #askedAt = 0;
  #asked: Reader[] = [];
  #waiting: Reader[] = [];

  /** @param firstRound Differs between lives of a member, so that a late answer to an earlier life is of no round. */
  constructor(
    ask: (context: Uint8Array) => void,
    ticks: { retry: number; expire: number },
    firstRound = 0,
  ) {
    this.#ask = ask;
    this.#ticks = ticks;
    this.#round = firstRound;
  }

  /** An index from which a read is linearizable. */
  read(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ expiresAt: this.#now + this.#ticks.expire, resolve, reject });
      if (this.#asked.length === 0) this.#start();
    });
  }

  /** Takes an answer of the core. */
  answered(state: ReadState): void {
    if (this.#asked.length === 0 || roundOf(state.context) !== this.#round) return;
    const readers = this.#asked;
    this.#asked = [];
    for (const reader of readers) reader.resolve(state.index);
    if (this.#waiting.length > 0) this.#start();
  }

  /** Asks again what has got no answer, and gives up on what waits too long. */
  tick(): void {
    this.#now++;
    if (this.#asked.length === 0 || this.#now - this.#askedAt < this.#ticks.retry) return;
    this.#waiting = [...this.#asked, ...this.#waiting].filter((reader) => {
      if (reader.expiresAt > this.#now) return true;
      reader.reject(
        new ClusterError(
          "unavailable",
          "the read could not be confirmed: the managers have no leader or cannot reach it",
        ),
      );
      return false;
    });
    this.#asked = [];
    if (this.#waiting.length > 0) this.#start();
  }

  /** Ends all readers. */
  stop(error: ClusterError): void {
    for (const reader of [...this.#asked, ...this.#waiting]) reader.reject(error);
    this.#asked = [];
    this.#waiting = [];
  }

  #start(): void {
    this.#round++;
    this.#askedAt = this.#now;
    this.#asked = this.#waiting;
    this.#waiting = [];
    const context = new Uint8Array(8);
    new DataView(context.buffer).setFloat64(0, this.#round);
    this.#ask(context);
  }
}

function roundOf(context: Uint8Array): number {
  if (context.length !== 8) return 0;
  return new DataView(context.buffer, context.byteOffset, 8).getFloat64(0);
}
