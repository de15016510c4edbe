/**
 * What the decisions of control get besides the tables: time, randomness, and the state of the Raft group.
 */
import type { Random } from "../../src/common/random/random.ts";

/** A member of the Raft group as control needs it. */
export interface GroupMember {
  readonly raftId: number;
  readonly nodeId: string;
  readonly reachable: boolean;
  readonly learner: boolean;
}

/** Fixed for one run of a decision. */
export interface Environment {
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly random: Random;
  /** Id of the object that a create makes; the same however often the decision runs. */
  readonly objectId: string;
  /** Members of the Raft group. */
  readonly members: readonly GroupMember[];
  /** Node id of this manager, which is reachable to itself. */
  readonly selfId: string;
}
