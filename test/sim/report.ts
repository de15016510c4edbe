/**
 * What became of a history in plain data, as it passes between processes and into the report of a run.
 */
import { type Fault, faultNames } from "./faults.ts";
import type { HistoryResult } from "./history.ts";

/** A history's result in plain data. */
export interface HistoryReport {
  readonly seed: number;
  readonly failure: string | undefined;
  readonly check: string | undefined;
  readonly events: number;
  readonly operations: number;
  readonly unknown: number;
  readonly leaderChanges: number;
  readonly undecided: boolean;
  readonly faults: Readonly<Partial<Record<Fault, number>>>;
}

/** Puts a result into plain data. */
export function reportOf(result: HistoryResult): HistoryReport {
  const faults: Partial<Record<Fault, number>> = {};
  for (const name of faultNames) {
    const count = result.faults.get(name);
    if (count !== undefined) faults[name] = count;
  }
  const { seed, violation, events, operations, unknown, leaderChanges, undecided } = result;
  return {
    seed,
    failure: violation?.message,
    check: violation?.check,
    events,
    operations,
    unknown,
    leaderChanges,
    undecided,
    faults,
  };
}
