/**
 * What a configuration change leads to, worked out a second time and more simply than the core does, as a reference.
 */
import type { ConfChange, ConfState } from "../../../manager/raft/core/types.ts";

/** The configuration after `change`, or `undefined` when it does not fit and hence changes nothing. */
export function configurationAfter(now: ConfState, change: ConfChange): ConfState | undefined {
  const joint = now.votersOutgoing.length > 0;
  if (change.transition === "auto" && change.steps.length === 0)
    return joint ? left(now) : undefined;
  if (joint) return undefined;
  const entersJoint = change.transition !== "auto" || change.steps.length > 1;
  const outgoing = entersJoint ? now.voters : [];
  const voters = new Set(now.voters);
  const learners = new Set(now.learners);
  const learnersNext = new Set<number>();
  for (const { kind, id } of change.steps) {
    if (kind === "update" || (kind === "add-learner" && learners.has(id))) continue;
    voters.delete(id);
    learners.delete(id);
    learnersNext.delete(id);
    if (kind === "add-voter") voters.add(id);
    if (kind !== "add-learner") continue;
    if (outgoing.includes(id)) learnersNext.add(id);
    else learners.add(id);
  }
  if (voters.size === 0) return undefined;
  if (!entersJoint && difference(voters, now.voters) > 1) return undefined;
  return {
    voters: ascending(voters),
    learners: ascending(learners),
    votersOutgoing: ascending(outgoing),
    learnersNext: ascending(learnersNext),
    autoLeave: entersJoint && change.transition !== "joint-explicit",
  };
}

function left(now: ConfState): ConfState {
  return {
    voters: now.voters,
    learners: ascending([...now.learners, ...now.learnersNext]),
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
}

function difference(a: ReadonlySet<number>, b: readonly number[]): number {
  const both = b.filter((id) => a.has(id)).length;
  return a.size + b.length - 2 * both;
}

function ascending(ids: Iterable<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

/** Whether two configurations are the same. */
export function sameConfiguration(a: ConfState, b: ConfState): boolean {
  return a === b || configurationText(a) === configurationText(b);
}

/** A configuration in one line. */
export function configurationText(conf: ConfState): string {
  return `voters ${conf.voters} outgoing ${conf.votersOutgoing} learners ${conf.learners} next ${conf.learnersNext} auto-leave ${conf.autoLeave}`;
}

/** Whether `yes` holds for a majority of the voters, in the joint phase of both halves. */
export function hasQuorum(conf: ConfState, yes: (id: number) => boolean): boolean {
  return majority(conf.voters, yes) && majority(conf.votersOutgoing, yes);
}

function majority(voters: readonly number[], yes: (id: number) => boolean): boolean {
  if (voters.length === 0) return true;
  let count = 0;
  for (const id of voters) if (yes(id)) count++;
  return count * 2 > voters.length;
}

/** Whether a member is in a configuration, in whatever part. */
export function isIn(conf: ConfState, id: number): boolean {
  const { voters, votersOutgoing, learners, learnersNext } = conf;
  return [voters, votersOutgoing, learners, learnersNext].some((ids) => ids.includes(id));
}
