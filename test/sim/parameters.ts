/**
 * What a history is like: everything that is drawn from its seed before it starts.
 */
import type { Random } from "../../src/common/random/random.ts";
import { milliseconds } from "./queue.ts";

/** Draws one of a list. */
export function pick<T>(random: Random, list: readonly T[]): T {
  const item = list[random.int(list.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

/** A number in [from, to). */
export function between(random: Random, from: number, to: number): number {
  return from + random.float() * (to - from);
}

/** The nature of one history. Times are virtual microseconds, rates are probabilities. */
export interface Parameters {
  /** Members the group starts with. */
  readonly members: number;
  readonly clients: number;
  readonly keys: number;
  /** Virtual time between two operations of one client. */
  readonly thinkTime: number;
  /** Share of reads and of conditional writes; the rest are writes. */
  readonly getShare: number;
  readonly casShare: number;
  readonly tick: number;
  readonly electionTick: number;
  readonly heartbeatTick: number;
  /** Time of one durable write, per member. */
  readonly diskLatencies: readonly number[];
  /** Rate of the clock that ticks, per member. */
  readonly clockRates: readonly number[];
  readonly networkDelay: number;
  readonly lossRate: number;
  readonly doubleRate: number;
  readonly reorderRate: number;
  readonly delayRate: number;
  /** Mean time between two strokes of the nemesis. */
  readonly nemesisPeriod: number;
  /** Entries kept behind a checkpoint, and virtual time between two checkpoints. */
  readonly tailEntries: number;
  readonly checkpointPeriod: number;
  readonly sizeMaxPerMessage: number;
  readonly inflightMax: number;
  readonly inflightBytesMax: number;
  readonly uncommittedBytesMax: number;
  /** Most bytes of committed entries that the state machine is given at once. */
  readonly committedBytesMax: number;
}

/** Draws the nature of a history. */
export function drawParameters(random: Random): Parameters {
  const members = pick(random, [3, 3, 3, 4, 5, 5, 6, 7]);
  const latencies = [0.05, 1, 10, 50].map(milliseconds);
  const latency = pick(random, [...latencies.slice(0, 3), latencies[1] ?? 0]);
  const mixedDisks = random.float() < 0.5;
  const mixedClocks = random.float() < 0.5;
  const quiet = random.float() < 0.2;
  // More machines than members: the others join in the course of the history.
  const machines = Array.from({ length: 16 }, () => 0);
  return {
    members,
    clients: 3 + random.int(6),
    keys: 2 + random.int(4),
    thinkTime: milliseconds(pick(random, [5, 20, 80])),
    getShare: pick(random, [0.2, 0.4, 0.6]),
    casShare: pick(random, [0.1, 0.3]),
    tick: milliseconds(50),
    electionTick: pick(random, [10, 10, 20]),
    heartbeatTick: pick(random, [1, 2]),
    diskLatencies: machines.map(() => (mixedDisks ? pick(random, latencies) : latency)),
    clockRates: machines.map(() => (mixedClocks ? between(random, 0.5, 2) : 1)),
    networkDelay: milliseconds(pick(random, [0.1, 0.5, 2, 10])),
    lossRate: quiet ? 0 : pick(random, [0, 0.01, 0.05, 0.1]),
    doubleRate: quiet ? 0 : pick(random, [0, 0.01, 0.05]),
    reorderRate: quiet ? 0 : pick(random, [0, 0.02, 0.1, 0.3]),
    delayRate: quiet ? 0 : pick(random, [0, 0.005, 0.02, 0.1]),
    nemesisPeriod: milliseconds(pick(random, [300, 600, 1_200, 2_000])),
    tailEntries: pick(random, [0, 3, 10, 50]),
    checkpointPeriod: milliseconds(pick(random, [300, 1_000, 4_000])),
    sizeMaxPerMessage: pick(random, [0, 200, 1_000, 100_000]),
    inflightBytesMax: pick(random, [100, 1_000, Number.POSITIVE_INFINITY]),
    inflightMax: pick(random, [1, 2, 8, 64]),
    uncommittedBytesMax: pick(random, [2_000, 100_000, Number.POSITIVE_INFINITY]),
    committedBytesMax: pick(random, [100, 2_000, 1_000_000]),
  };
}
