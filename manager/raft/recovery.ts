/**
 * What a member does at its start, given what its disk says: go on, begin, come back under a new id, or refuse.
 *
 * Pure. A member that lost entries it had acknowledged must neither vote nor acknowledge under its old id, or entries
 * that were committed with its help could be lost. So it asks the others to replace it by a new member, itself under a
 * new id with an empty log, which learns everything anew (`docs/decisions/0004-lost-tail.md`).
 */
import type { RaftMember, RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** What is found and what was asked for. */
export interface StartFacts {
  /** Nothing was ever stored. */
  readonly isNew: boolean;
  /** Why the log is not whole. */
  readonly loss: string | undefined;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Members as stored; empty when that is lost too. */
  readonly members: readonly RaftMember[];
  readonly pending: RaftSnapshotMeta | undefined;
  /** Term of the log's entry at the index of `pending`. */
  readonly pendingTerm: number | undefined;
  /** The log was begun anew under another id, and the group has yet to send its state. */
  readonly replacing: boolean;
  /** What the store has applied. */
  readonly appliedIndex: number;
  readonly self: string;
  readonly bootstrap: boolean;
  readonly forceNewCluster: boolean;
  /** Other managers known from elsewhere. */
  readonly joinMembers: readonly RaftMember[];
  /** The group knows this member under an id that the disk does not: what is there belongs to one that is gone. */
  readonly admittedAnew?: boolean;
}

/** What to do. */
export type StartPlan =
  | { readonly kind: "go-on" }
  | { readonly kind: "bootstrap" }
  | { readonly kind: "join"; readonly members: readonly RaftMember[] }
  /** The state machine has installed a snapshot that the log does not begin with yet. */
  | { readonly kind: "finish-snapshot"; readonly meta: RaftSnapshotMeta }
  | { readonly kind: "replace"; readonly reason: string; readonly members: readonly RaftMember[] }
  /** Become the only member, with the log as it is. */
  | { readonly kind: "force" }
  /** Become the only member, of a log that begins anew after `anchor`, and takes over what follows it from `tail`. */
  | {
      readonly kind: "force-anew";
      readonly anchor: number;
      /** "log-lost" is the log that was set aside when the present one was begun. */
      readonly tail: "log" | "log-lost" | "none";
      /** Why the log cannot stay as it is. */
      readonly reason: string;
    };

/** Index a new group's log begins after, so that whoever joins starts from a snapshot. */
export const bootstrapIndex = 1;

/**
 * Decides how to start.
 *
 * @throws ClusterError failed-precondition when a person has to decide, with what can be done.
 */
export function decideStart(facts: StartFacts): StartPlan {
  const { isNew, appliedIndex, pending } = facts;
  if (isNew && appliedIndex === 0) return beginning(facts);
  if (facts.admittedAnew === true) return { kind: "join", members: facts.joinMembers };
  if (facts.forceNewCluster) return forced(facts);
  const loss = lossOf(facts);
  if (facts.loss === undefined && pending !== undefined && isUnlogged(facts)) {
    return { kind: "finish-snapshot", meta: pending };
  }
  if (loss === undefined) return { kind: "go-on" };
  const stored = facts.members.filter((member) => member.nodeId !== facts.self);
  const members = stored.length > 0 ? stored : facts.joinMembers;
  if (members.length > 0) return { kind: "replace", reason: loss, members };
  if (appliedIndex === 0 && !isWholeFromTheStart(facts)) throw nothingLeft(loss);
  throw new ClusterError(
    "failed-precondition",
    `${loss}, and there is no other manager to learn it from: restore the data folder from a backup, ` +
      "or keep what is left with docker swarm init --force-new-cluster",
  );
}

function forced(facts: StartFacts): StartPlan {
  const { appliedIndex, lastIndex } = facts;
  const anchor = Math.max(appliedIndex, bootstrapIndex);
  if (isUnlogged(facts)) {
    const reason = `the log does not begin with the received state at index ${appliedIndex} yet`;
    return { kind: "force-anew", anchor, tail: "none", reason };
  }
  if (facts.loss === undefined && facts.replacing && lastIndex === 0) {
    const reason = "the log was set aside for the group to send its state";
    return { kind: "force-anew", anchor, tail: "log-lost", reason };
  }
  const reason = lossOf(facts);
  if (reason === undefined) return { kind: "force" };
  return { kind: "force-anew", anchor, tail: "log", reason };
}

/** Whether what can be read of the log begins with its very first entry: it holds the state without a checkpoint, too. */
function isWholeFromTheStart({ firstIndex, lastIndex }: StartFacts): boolean {
  return firstIndex === bootstrapIndex + 1 && lastIndex >= firstIndex;
}

/**
 * Whether the state is a received one that the log does not begin with yet; also with a log that reaches further, as what
 * it has at the place of the snapshot was never committed.
 */
function isUnlogged({ pending, pendingTerm, appliedIndex }: StartFacts): boolean {
  return pending !== undefined && pendingTerm !== pending.term && pending.index === appliedIndex;
}

/** Neither log nor checkpoint can be used. @param reason Why the log cannot. */
export function nothingLeft(reason: string): ClusterError {
  return new ClusterError(
    "failed-precondition",
    `${reason}, there is no checkpoint of the state that can be read, and no other manager to learn it from: restore ` +
      "the data folder from a backup, or give the swarm up with docker swarm leave --force",
  );
}

function beginning(facts: StartFacts): StartPlan {
  if (facts.bootstrap) return { kind: "bootstrap" };
  if (facts.joinMembers.length > 0 && !facts.forceNewCluster) {
    return { kind: "join", members: facts.joinMembers };
  }
  throw nothingLeft("the raft log is gone");
}

/** Everything that says the log is not what it was, the store's checkpoint included. */
function lossOf(facts: StartFacts): string | undefined {
  const { appliedIndex, firstIndex, lastIndex } = facts;
  if (facts.loss !== undefined) return facts.loss;
  if (facts.isNew) return `the raft log is gone, but the state is at index ${appliedIndex}`;
  // Begun anew already: the group knows the new id, or will, and another one would only confuse it.
  if (facts.replacing && lastIndex === 0) return undefined;
  if (appliedIndex > lastIndex) {
    return `the raft log ends at index ${lastIndex}, but the state is at index ${appliedIndex}`;
  }
  if (Math.max(appliedIndex, bootstrapIndex) < firstIndex - 1) {
    return `the state ends at index ${appliedIndex}, but the raft log begins at ${firstIndex}`;
  }
  return undefined;
}
