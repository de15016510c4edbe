/** The error of reads and writes that find no leader, in Docker's words; made where the lack is noticed. */
import { ClusterError, type ErrorFields } from "./cluster-error.ts";

/** What Docker says, and scripts look for. */
export const noLeaderText =
  "The swarm does not have a leader. It's possible that too few managers are online. " +
  "Make sure more than half of the managers are online.";

/** Field of errors that were thrown before anything was proposed: trying again repeats nothing. */
const untriedField = "untried";

/** A new `unavailable` error with that text; only for what was certainly not tried. */
export function noLeader(cause?: unknown): ClusterError {
  return new ClusterError("unavailable", noLeaderText, { cause, fields: { [untriedField]: true } });
}

/** An `unavailable` error of a write that certainly went nowhere; `fields` are further facts. */
export function untried(message: string, fields: ErrorFields = {}): ClusterError {
  return new ClusterError("unavailable", message, { fields: { ...fields, [untriedField]: true } });
}

/** Whether a failed write certainly changed nothing and may succeed under another leader; holds across RPC, too. */
export function maySafelyRetry(error: unknown): boolean {
  if (!(error instanceof ClusterError)) return false;
  return error.code === "aborted" || error.fields[untriedField] === true;
}
