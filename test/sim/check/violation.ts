/**
 * What ends a history: a property that did not hold.
 */

/** The properties that are checked, as they are named in reports. */
export type CheckName =
  | "election safety"
  | "leader append-only"
  | "log matching"
  | "leader completeness"
  | "state-machine safety"
  | "commit monotonic"
  | "term and vote monotonic"
  | "released before durable"
  | "match beyond the durable log"
  | "next beyond match"
  | "one unapplied change of voters"
  | "quorum of a commit"
  | "quorum of an election"
  | "configuration"
  | "hole in the log"
  | "linearizability"
  | "exactly once"
  | "watch streams"
  | "identical snapshots"
  | "liveness"
  | "transfer ends"
  | "flow control"
  | "assertion";

/** A property that did not hold, and where. */
export class Violation extends Error {
  readonly check: CheckName;

  constructor(check: CheckName, detail: string, options: { cause?: unknown } = {}) {
    super(`${check}: ${detail}`, options);
    this.name = "Violation";
    this.check = check;
  }
}
