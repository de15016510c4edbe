/** The error of reads and writes that find no leader, in Docker's words; made where the lack is noticed. */
import { ClusterError } from "./cluster-error.ts";

/** What Docker says, and scripts look for. */
export const noLeaderText =
  "The swarm does not have a leader. It's possible that too few managers are online. " +
  "Make sure more than half of the managers are online.";

/** A new `unavailable` error with that text. */
export function noLeader(cause?: unknown): ClusterError {
  return new ClusterError("unavailable", noLeaderText, { cause });
}
