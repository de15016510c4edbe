/**
 * What every loop of this folder has in common: the store under one leadership, its tools, and work in slices.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import { sliceMs } from "../../src/common/limits/store.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { Store } from "../state/store.ts";

/** The store, and the term in which the loop decides. */
export interface Leadership {
  readonly store: Store;
  readonly term: number;
}

/** What loops work with. */
export interface Tools {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How many steps of a long piece of work pass between two looks at the clock. */
const stepsPerLook = 64;

/** Says, step by step, when others are to get a turn. */
export function slices(clock: Clock): () => boolean {
  let begin = clock.monotonic();
  let steps = 0;
  return () => {
    if (++steps % stepsPerLook !== 0 || clock.monotonic() - begin < sliceMs) return false;
    begin = clock.monotonic();
    return true;
  };
}

/** Gives others a turn. */
export function nap(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
