/**
 * The faults a history can meet, and how often each struck.
 */

/** Every fault the simulator knows. */
export const faultNames = [
  "message lost",
  "message doubled",
  "message reordered",
  "message delayed",
  "partition",
  "one-way partition",
  "bridge partition",
  "crash",
  "crash of the leader",
  "crash of all",
  "crash in a write",
  "write kept though unacknowledged",
  "torn write",
  "failing sync",
  "bit flip",
  "lost tail",
  "full disk",
  "slow disk",
  "clock rate",
  "clock jump",
  "pause",
  "leader transfer",
  "forgotten leader",
  "stale candidate",
  "learner added",
  "learner promoted",
  "voter demoted",
  "voter removed",
  "voter replaced",
  "disk emptied",
  "old configuration",
  "snapshot sent",
  "snapshot installed",
] as const;

/** One kind of fault. */
export type Fault = (typeof faultNames)[number];

/** Counts of faults. */
export class FaultCounts {
  readonly counts = new Map<Fault, number>();

  /** Notes that a fault struck. */
  struck(fault: Fault): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }
}
