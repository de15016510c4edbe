/**
 * Raft's spans: everything counts in ticks, and slow disks stretch the tick.
 */
import {
  raftElectionTicks,
  raftHeartbeatTicks,
  raftSlowDiskFactor,
  raftTickMs,
} from "../../src/common/limits/limits.ts";

/** How quick the member's storage is; the same on all members of a group. */
export type RaftProfile = "normal" | "slow-disk";

/** Spans of a member, in ticks but for the tick itself. */
export interface RaftTiming {
  readonly tickMs: number;
  readonly heartbeatTicks: number;
  readonly electionTicks: number;
}

/** The spans of a profile. */
export function timingOf(profile: RaftProfile): RaftTiming {
  return {
    tickMs: profile === "normal" ? raftTickMs : raftTickMs * raftSlowDiskFactor,
    heartbeatTicks: raftHeartbeatTicks,
    electionTicks: raftElectionTicks,
  };
}
