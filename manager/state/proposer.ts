/**
 * What the store asks of Raft: take one entry, say who leads. `manager.ts` implements it over the Raft host, tests and
 * the simulator with something smaller.
 */

/** Takes entries into the log of the leader. */
export interface Proposer {
  /**
   * Resolves once the entry is in the log of this leader, with its place; it is not committed by then.
   *
   * @throws ClusterError `unavailable` or `resource-exhausted` when the entry is certainly not in any log.
   */
  propose(entry: Uint8Array): Promise<LogPosition>;
  /** Whether this manager leads and has applied all entries of earlier terms. */
  isLeader(): boolean;
  /** Why nothing reaches the log just now, such as a full disk; undefined while all is well. */
  stalled?(): string | undefined;
  /** The term this manager is in. */
  term(): number;
}

/** Place of an entry: the same index and term are the same entry on every member. */
export interface LogPosition {
  readonly index: number;
  readonly term: number;
}

/** A committed entry; `data` is empty for entries that are Raft's own. */
export interface CommittedEntry extends LogPosition {
  readonly data: Uint8Array;
}
