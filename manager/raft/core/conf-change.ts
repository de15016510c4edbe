/**
 * Works out what a configuration change leads to: simple changes, entering and leaving the joint phase.
 *
 * Pure: takes the present members and gives new ones, sharing nothing that is changed. Follows chapter 4 of the Raft
 * thesis, with learners. A change that does not fit is refused with a `ClusterError` and has no effect; a result that
 * contradicts itself is a bug.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { assert } from "./assert.ts";
import { freshProgress, type InflightLimits, type Progress } from "./progress.ts";
import { type ConfChange, type ConfChangeStep, type ConfState, none } from "./types.ts";

/** The members of the group and what is known about each; the map is in ascending order of id. */
export interface Members {
  readonly conf: ConfState;
  readonly progress: ReadonlyMap<number, Progress>;
}

/** What the progress of a new member is made from. */
export interface NewMember {
  /** Last index of this member's log, at which probing starts. */
  readonly lastIndex: number;
  readonly limits: InflightLimits;
}

/** Why a change was refused; the `reason` field of the error. */
export type ConfChangeRefusal =
  | "already-joint"
  | "no-voters-yet"
  | "not-joint"
  | "simple-while-joint"
  | "no-voters-left"
  | "several-voters";

const refusals: Record<ConfChangeRefusal, string> = {
  "already-joint": "the joint phase has begun already",
  "no-voters-yet": "a group without voters cannot enter the joint phase",
  "not-joint": "there is no joint phase to leave",
  "simple-while-joint": "a simple change must wait for the end of the joint phase",
  "no-voters-left": "the change would leave no voter",
  "several-voters": "changing more than one voter needs the joint phase",
};

/** The members after `change`. @throws ClusterError `failed-precondition` with a `reason` when it does not fit. */
export function changeMembers(now: Members, change: ConfChange, fresh: NewMember): Members {
  const { transition, steps } = change;
  if (transition === "auto") {
    if (steps.length === 0) return leaveJointPhase(now);
    if (steps.length === 1) return changeSimply(now, steps, fresh);
  }
  return enterJointPhase(now, steps, transition !== "joint-explicit", fresh);
}

/** Applies steps that together change at most one voter, without a joint phase. */
export function changeSimply(
  now: Members,
  steps: readonly ConfChangeStep[],
  fresh: NewMember,
): Members {
  if (isJoint(now)) throw refusal("simple-while-joint");
  const draft = draftOf(now);
  applySteps(draft, steps, fresh);
  const before = new Set(now.conf.voters);
  if (countMissing(before, draft.voters) + countMissing(draft.voters, before) > 1) {
    throw refusal("several-voters");
  }
  return settle(draft, false);
}

/** Starts a joint phase: the present voters stay as the outgoing half, the steps apply to the incoming half. */
export function enterJointPhase(
  now: Members,
  steps: readonly ConfChangeStep[],
  autoLeave: boolean,
  fresh: NewMember,
): Members {
  if (isJoint(now)) throw refusal("already-joint");
  if (now.conf.voters.length === 0) throw refusal("no-voters-yet");
  const draft = draftOf(now);
  for (const id of now.conf.voters) draft.outgoing.add(id);
  applySteps(draft, steps, fresh);
  return settle(draft, autoLeave);
}

/** Ends the joint phase: the incoming half decides alone, voters that were to become learners do so. */
export function leaveJointPhase(now: Members): Members {
  if (!isJoint(now)) throw refusal("not-joint");
  const draft = draftOf(now);
  for (const id of draft.learnersNext) {
    draft.learners.add(id);
    const progress = draft.progress.get(id);
    assert(progress !== undefined, "a learner to be has no progress");
    progress.isLearner = true;
  }
  for (const id of draft.outgoing) {
    if (!draft.voters.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
  }
  draft.learnersNext.clear();
  draft.outgoing.clear();
  return settle(draft, false);
}

/** The members a stored configuration describes, with nothing known about any of them. */
export function membersFromConfState(conf: ConfState, fresh: NewMember): Members {
  const draft = draftOf({ conf, progress: new Map() });
  for (const id of [...conf.votersOutgoing, ...conf.voters]) {
    draft.progress.set(id, newProgress(false, fresh));
  }
  for (const id of conf.learners) draft.progress.set(id, newProgress(true, fresh));
  return settle(draft, conf.autoLeave);
}

/** Whether the group is in a joint phase. */
export function isJoint(members: Members): boolean {
  return members.conf.votersOutgoing.length > 0;
}

/** Whether `id` votes, in either half. */
export function isVoter(conf: ConfState, id: number): boolean {
  return conf.voters.includes(id) || conf.votersOutgoing.includes(id);
}

interface Draft {
  readonly voters: Set<number>;
  readonly outgoing: Set<number>;
  readonly learners: Set<number>;
  readonly learnersNext: Set<number>;
  readonly progress: Map<number, Progress>;
}

function draftOf(now: Members): Draft {
  const progress = new Map<number, Progress>();
  for (const [id, one] of now.progress) progress.set(id, one.copy());
  return {
    voters: new Set(now.conf.voters),
    outgoing: new Set(now.conf.votersOutgoing),
    learners: new Set(now.conf.learners),
    learnersNext: new Set(now.conf.learnersNext),
    progress,
  };
}

function applySteps(draft: Draft, steps: readonly ConfChangeStep[], fresh: NewMember): void {
  for (const { kind, id } of steps) {
    if (id === none) continue;
    switch (kind) {
      case "add-voter":
        addVoter(draft, id, fresh);
        break;
      case "add-learner":
        addLearner(draft, id, fresh);
        break;
      case "remove":
        remove(draft, id);
        break;
      case "update":
        break;
    }
  }
  if (draft.voters.size === 0) throw refusal("no-voters-left");
}

function addVoter(draft: Draft, id: number, fresh: NewMember): void {
  const progress = draft.progress.get(id);
  if (progress === undefined) draft.progress.set(id, newProgress(false, fresh));
  else progress.isLearner = false;
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  draft.voters.add(id);
}

/** A voter of the outgoing half cannot be a learner at the same time; it is noted to become one at the end. */
function addLearner(draft: Draft, id: number, fresh: NewMember): void {
  const progress = draft.progress.get(id);
  if (progress === undefined) {
    draft.progress.set(id, newProgress(true, fresh));
    draft.learners.add(id);
    return;
  }
  if (progress.isLearner) return;
  draft.voters.delete(id);
  if (draft.outgoing.has(id)) {
    draft.learnersNext.add(id);
  } else {
    progress.isLearner = true;
    draft.learners.add(id);
  }
}

/** A voter of the outgoing half is still sent to until the joint phase ends. */
function remove(draft: Draft, id: number): void {
  draft.voters.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  if (!draft.outgoing.has(id)) draft.progress.delete(id);
}

/** A new member counts as heard of, lest the check of the quorum fails before it had a chance to speak. */
function newProgress(isLearner: boolean, { lastIndex, limits }: NewMember): Progress {
  const start = { match: 0, next: Math.max(lastIndex, 1), isLearner, recentActive: true };
  return freshProgress(start, limits);
}

function settle(draft: Draft, autoLeave: boolean): Members {
  checkConsistent(draft, autoLeave);
  return {
    conf: {
      voters: ascending(draft.voters),
      learners: ascending(draft.learners),
      votersOutgoing: ascending(draft.outgoing),
      learnersNext: ascending(draft.learnersNext),
      autoLeave,
    },
    progress: new Map([...draft.progress].sort(([a], [b]) => a - b)),
  };
}

function checkConsistent(draft: Draft, autoLeave: boolean): void {
  const { voters, outgoing, learners, learnersNext, progress } = draft;
  for (const id of [...voters, ...outgoing]) {
    assert(progress.has(id), "a voter has no progress");
    assert(!learners.has(id), "a member is both voter and learner");
  }
  for (const id of learnersNext) {
    assert(outgoing.has(id), "a learner to be is not among the outgoing voters");
    assert(progress.get(id)?.isLearner === false, "a learner to be is marked as learner already");
  }
  for (const id of learners) {
    assert(progress.get(id)?.isLearner === true, "a learner is not marked as one");
  }
  const joint = outgoing.size > 0;
  assert(joint || learnersNext.size === 0, "learners to be outside a joint phase");
  assert(joint || !autoLeave, "auto-leave outside a joint phase");
}

function ascending(ids: ReadonlySet<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

function countMissing(of: ReadonlySet<number>, from: ReadonlySet<number>): number {
  let count = 0;
  for (const id of of) if (!from.has(id)) count++;
  return count;
}

function refusal(reason: ConfChangeRefusal): ClusterError {
  return new ClusterError("failed-precondition", refusals[reason], { fields: { reason } });
}
