/**
 * Token buckets by key, in bounded memory: what calls without a certificate may cost.
 */
import type { Clock } from "../../src/common/clock/clock.ts";

/** How much one key may do. */
export interface Rate {
  /** Calls at once. */
  readonly burst: number;
  /** Calls a second in the long run. */
  readonly perSecond: number;
}

interface Bucket {
  level: number;
  atMs: number;
}

/** Says whether a key may act now. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #rate: Rate;
  readonly #keysMax: number;
  readonly #buckets = new Map<string, Bucket>();

  /** @param keysMax Keys remembered; beyond it the one that acted longest ago is forgotten. */
  constructor(options: { readonly clock: Clock; readonly rate: Rate; readonly keysMax: number }) {
    this.#clock = options.clock;
    this.#rate = options.rate;
    this.#keysMax = options.keysMax;
  }

  /** Takes one token of the key, if there is one. */
  take(key: string): boolean {
    const nowMs = this.#clock.monotonic();
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { level: burst, atMs: nowMs };
    const level = Math.min(burst, bucket.level + ((nowMs - bucket.atMs) / 1000) * perSecond);
    const allowed = level >= 1;
    // Taken out and put in again: the map's order is then that of the last use.
    this.#buckets.delete(key);
    this.#buckets.set(key, { level: allowed ? level - 1 : level, atMs: nowMs });
    if (this.#buckets.size > this.#keysMax) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done === false) this.#buckets.delete(oldest.value);
    }
    return allowed;
  }
}
