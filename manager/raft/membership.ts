/**
 * Who is in the group: the table of members beside Raft's configuration, and the rules for changing it.
 *
 * Pure. The table is changed only by applying conf-change entries and snapshots, the same on every member; addresses in
 * it are hints that each member also learns on its own from peers that dial in.
 */
import {
  type RaftConfChange,
  type RaftMember,
  RaftSnapshotMeta,
} from "../../src/common/api/generated/api.ts";
import { removedMembersMax } from "../../src/common/limits/limits.ts";
import type { ConfChange, ConfState, ProgressStatus } from "./core/types.ts";
import { emptyConfState } from "./core/types.ts";

/** The members as of the entry at `index`. */
export interface Membership {
  readonly index: number;
  readonly confState: ConfState;
  readonly members: ReadonlyMap<number, RaftMember>;
  /** Ids that were removed, newest last. */
  readonly removed: readonly number[];
}

/** From what is stored. */
export function membershipFromMeta(meta: RaftSnapshotMeta): Membership {
  return {
    index: meta.index,
    confState: meta.confState ?? emptyConfState,
    members: new Map(meta.members.map((member) => [member.raftId, member])),
    removed: meta.removed,
  };
}

/** To what is stored and sent with snapshots. */
export function metaFromMembership(membership: Membership, term = 0): RaftSnapshotMeta {
  return RaftSnapshotMeta.create({
    index: membership.index,
    term,
    confState: membership.confState,
    members: [...membership.members.values()].sort((a, b) => a.raftId - b.raftId),
    removed: membership.removed,
  });
}

/** The change in the core's words. */
export function coreChange(change: RaftConfChange): ConfChange {
  return {
    transition: change.transition,
    steps: change.steps.map((step) => ({ kind: step.kind, id: step.raftId })),
  };
}

/** The table after a change that was applied at `index` and made `confState` the configuration. */
export function appliedChange(
  before: Membership,
  change: {
    readonly index: number;
    readonly confState: ConfState;
    readonly members: readonly RaftMember[];
  },
): Membership {
  const members = new Map(before.members);
  for (const member of change.members) members.set(member.raftId, member);
  const present = idsOf(change.confState);
  const removed = [...before.removed];
  for (const id of members.keys()) {
    if (present.has(id)) continue;
    members.delete(id);
    removed.push(id);
  }
  return {
    index: change.index,
    confState: change.confState,
    members,
    removed: removed.slice(-removedMembersMax),
  };
}

/** Everybody in a configuration, in either half of a joint one. */
export function idsOf(confState: ConfState): Set<number> {
  const { voters, votersOutgoing, learners, learnersNext } = confState;
  return new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext]);
}

/** Whether a configuration is between two sets of voters. */
export function isJoint(confState: ConfState): boolean {
  return confState.votersOutgoing.length > 0;
}

/**
 * Whether removing a member leaves a quorum of voters that can be reached now, so that the group goes on.
 *
 * @param reachable Members heard of lately, the leader itself included.
 */
export function canRemove(
  confState: ConfState,
  raftId: number,
  reachable: ReadonlySet<number>,
): boolean {
  if (!confState.voters.includes(raftId)) return true;
  const left = confState.voters.filter((id) => id !== raftId);
  const up = left.filter((id) => reachable.has(id)).length;
  return left.length > 0 && up >= Math.floor(left.length / 2) + 1;
}

/** The voter best fit to lead next: reachable, and furthest in the log; `undefined` when there is none. */
export function successor(
  confState: ConfState,
  self: number,
  facts: {
    readonly reachable: ReadonlySet<number>;
    readonly progress: ReadonlyMap<number, ProgressStatus>;
  },
): number | undefined {
  let best: number | undefined;
  const matchOf = (id: number | undefined) => facts.progress.get(id ?? 0)?.match ?? -1;
  for (const id of confState.voters) {
    if (id === self || !facts.reachable.has(id)) continue;
    if (best === undefined || matchOf(id) > matchOf(best)) best = id;
  }
  return best;
}
