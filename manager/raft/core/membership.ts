/**
 * Putting a configuration into force, from a conf-change entry that is applied or from a snapshot.
 *
 * A configuration counts from its application on, not from its append as in the thesis; `pendingConfIndex` keeps the next
 * change from being appended before that.
 */
import { assert } from "./assert.ts";
import { changeMembers, isVoter, type Members, membersFromConfState } from "./conf-change.ts";
import type { Raft } from "./raft.ts";
import { broadcastAppend, commitByQuorum, sendAppend } from "./replication.ts";
import { type ConfChange, type ConfState, type Message, none, type Snapshot } from "./types.ts";

/** Puts a committed change into force. @throws ClusterError `failed-precondition`, without effect, when it does not fit. */
export function applyConfChange(r: Raft, change: ConfChange): ConfState {
  const fresh = { lastIndex: r.log.lastIndex(), limits: r.config };
  switchTo(r, changeMembers(r.members, change, fresh));
  return r.members.conf;
}

function switchTo(r: Raft, members: Members): void {
  r.members = members;
  const { conf, progress } = members;
  r.logger?.info(`the configuration is now ${describe(conf)}`);
  if (r.role !== "leader") {
    // A candidate that learnt of its own removal while it stands.
    if (r.role !== "follower" && !isVoter(conf, r.id)) r.becomeFollower(r.term, none);
    return;
  }

  const own = progress.get(r.id);
  if (own === undefined || own.isLearner) {
    // Without the option it leads on until another is elected, without counting itself.
    if (r.config.stepDownOnRemoval) r.becomeFollower(r.term, none);
    return;
  }
  if (commitByQuorum(r)) {
    broadcastAppend(r);
  } else {
    // New members need not wait for the next heartbeat to be told where they stand.
    for (const id of progress.keys()) if (id !== r.id) sendAppend(r, id, false);
  }
  if (!isVoter(conf, r.leadTransferee)) r.leadTransferee = none;
}

/** Takes a snapshot from the leader and acknowledges what this member holds then. */
export function handleSnapshot(r: Raft, m: Message): void {
  const { snapshot } = m;
  const restored = snapshot !== undefined && restore(r, snapshot);
  r.logger?.info(
    `a snapshot at index ${snapshot?.index ?? 0} was ${restored ? "taken" : "ignored"}`,
  );
  const index = restored ? r.log.lastIndex() : r.log.committed;
  r.send({ type: "app-resp", to: m.from, index });
}

/** Replaces log and configuration by the snapshot; false when that would bring nothing. */
function restore(r: Raft, snapshot: Snapshot): boolean {
  const { index, term, confState } = snapshot;
  assert(r.role === "follower", "only a follower takes a snapshot");
  if (index <= r.log.committed) return false;
  if (!isMember(confState, r.id)) {
    r.logger?.warn("a snapshot was ignored: this member is not in its configuration");
    return false;
  }
  if (r.log.matches(index, term)) {
    // Everything in it is in the log already; only the commit index is news.
    r.log.commitTo(index);
    return false;
  }
  r.log.restore(snapshot);
  switchTo(r, membersFromConfState(confState, { lastIndex: index, limits: r.config }));
  return true;
}

function isMember(conf: ConfState, id: number): boolean {
  return isVoter(conf, id) || conf.learners.includes(id);
}

function describe(conf: ConfState): string {
  const parts = [`voters ${conf.voters.join(" ")}`];
  if (conf.votersOutgoing.length > 0) parts.push(`outgoing ${conf.votersOutgoing.join(" ")}`);
  if (conf.learners.length > 0) parts.push(`learners ${conf.learners.join(" ")}`);
  if (conf.learnersNext.length > 0) parts.push(`learners to be ${conf.learnersNext.join(" ")}`);
  return parts.join(", ");
}
