/**
 * Challenges of the renewal of expired certificates: random, good for one minute and one use, in bounded memory.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import {
  challengeLifeMs,
  challengesMax,
  challengesPerNodeMax,
} from "../../src/common/limits/limits.ts";
import type { Random } from "../../src/common/random/random.ts";

/** The challenges this leader has given out; a new leader knows none, and the node asks again. */
export class Challenges {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Nonce (hex) to whom and when, oldest first. */
  readonly #given = new Map<string, { readonly nodeId: string; readonly untilMs: number }>();

  constructor(options: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = options.clock;
    this.#random = options.random;
  }

  /** A new nonce for a node. A node has a few at most: others may ask in its name, but not crowd out the rest. */
  give(nodeId: string): Uint8Array {
    const nowMs = this.#clock.monotonic();
    const own: string[] = [];
    for (const [nonce, { nodeId: owner, untilMs }] of this.#given) {
      if (untilMs <= nowMs) this.#given.delete(nonce);
      else if (owner === nodeId) own.push(nonce);
    }
    const surplus = own.length >= challengesPerNodeMax ? own[0] : undefined;
    if (surplus !== undefined) this.#given.delete(surplus);
    if (this.#given.size >= challengesMax) {
      const oldest = this.#given.keys().next();
      if (oldest.done === false) this.#given.delete(oldest.value);
    }
    const nonce = this.#random.bytes(32);
    this.#given.set(Buffer.from(nonce).toString("hex"), {
      nodeId,
      untilMs: nowMs + challengeLifeMs,
    });
    return nonce;
  }

  /** Whether this nonce was given to this node and is still good; it is not any more after that. */
  use(nonce: Uint8Array, nodeId: string): boolean {
    const key = Buffer.from(nonce).toString("hex");
    const given = this.#given.get(key);
    if (given?.nodeId !== nodeId) return false;
    this.#given.delete(key);
    return this.#clock.monotonic() < given.untilMs;
  }
}
