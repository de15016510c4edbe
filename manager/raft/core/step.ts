/**
 * The way of every message and every tick into the protocol: terms first, then what all roles do alike, then the role.
 */
import { answerVote, isTransferVote, startElection } from "./election.ts";
import { totalPayload, totalSize } from "./log.ts";
import { message } from "./message.ts";
import { leaveJointIfDue, propose } from "./proposal.ts";
import type { Raft } from "./raft.ts";
import { stepCandidate, stepFollower } from "./step-follower.ts";
import { stepLeader } from "./step-leader.ts";
import { type Message, none, type Snapshot, type StepResult } from "./types.ts";

/** Handles one message; those of this member to itself carry term 0 or the present one. */
export function step(r: Raft, m: Message): StepResult {
  if (m.term > r.term) {
    if (!meetHigherTerm(r, m)) return "ok";
  } else if (m.term < r.term && m.term !== 0) {
    answerLowerTerm(r, m);
    return "ok";
  }

  switch (m.type) {
    case "hup":
      startElection(r, r.config.preVote ? "pre-election" : "election");
      return "ok";
    case "vote":
    case "pre-vote":
      answerVote(r, m);
      return "ok";
    case "prop":
      if (m.entries.length === 0) return "ok";
      return propose(r, m.entries, m.from).refusal === undefined ? "ok" : "dropped";
    case "storage-append-resp":
      if (m.index !== 0) r.log.unstable.stableTo({ index: m.index, term: m.logTerm });
      if (m.snapshot !== undefined) snapshotInstalled(r, m.snapshot);
      return "ok";
    case "storage-apply-resp":
      entriesApplied(r, m);
      return "ok";
    default:
      stepByRole(r, m);
      return "ok";
  }
}

function stepByRole(r: Raft, m: Message): void {
  switch (r.role) {
    case "leader":
      stepLeader(r, m);
      break;
    case "follower":
      stepFollower(r, m);
      break;
    case "candidate":
    case "pre-candidate":
      stepCandidate(r, m);
      break;
  }
}

/** Enters the term of the message, except for pre-votes. @returns Whether the message is to be handled. */
function meetHigherTerm(r: Raft, m: Message): boolean {
  const asksForVote = m.type === "vote" || m.type === "pre-vote";
  if (asksForVote && !isTransferVote(m) && inLease(r)) {
    r.logger?.info(`a ${m.type} of member ${m.from} was ignored: leader ${r.leader} is alive`);
    return false;
  }
  // A pre-vote is about a term nobody has entered; so is the answer, unless it is a refusal out of a later term.
  if (m.type === "pre-vote" || (m.type === "pre-vote-resp" && !m.reject)) return true;
  const fromLeader = m.type === "app" || m.type === "heartbeat" || m.type === "snap";
  r.logger?.info(`a ${m.type} of member ${m.from} is of a higher term, ${m.term}`);
  r.becomeFollower(m.term, fromLeader ? m.from : none);
  return true;
}

/** Whether a leader was heard of within the shortest election timeout, so that no other is wanted (thesis 4.2.3). */
function inLease(r: Raft): boolean {
  const { checkQuorum, electionTick } = r.config;
  return checkQuorum && r.leader !== none && r.electionElapsed < electionTick;
}

function answerLowerTerm(r: Raft, m: Message): void {
  const { checkQuorum, preVote } = r.config;
  if ((checkQuorum || preVote) && (m.type === "heartbeat" || m.type === "app")) {
    // A leader that stayed behind, or this member ran ahead while cut off, when its votes are ignored by leases. Either
    // way the answer, with the higher term in it, brings the two together.
    r.send({ type: "app-resp", to: m.from });
  } else if (m.type === "pre-vote") {
    // Silence would lock a group in which a member of higher term has the shorter log.
    r.send({ type: "pre-vote-resp", to: m.from, term: r.term, reject: true });
  } else if (m.type === "storage-append-resp" && m.snapshot !== undefined) {
    // The entries may have been overwritten by writes of the new term, so that part is not believed; a snapshot holds
    // only what is committed and stays true in any term.
    snapshotInstalled(r, m.snapshot);
  }
}

function snapshotInstalled(r: Raft, { index }: Snapshot): void {
  r.log.unstable.stableSnapshotTo(index);
  appliedTo(r, index, 0);
}

function entriesApplied(r: Raft, { entries }: Message): void {
  const last = entries[entries.length - 1];
  if (last === undefined) return;
  appliedTo(r, last.index, totalSize(entries));
  r.uncommittedBytes = Math.max(0, r.uncommittedBytes - totalPayload(entries));
}

function appliedTo(r: Raft, index: number, bytes: number): void {
  r.log.appliedTo(Math.max(index, r.log.applied), bytes);
  leaveJointIfDue(r);
}

/** Lets one tick pass. */
export function tick(r: Raft): void {
  r.electionElapsed++;
  if (r.role === "leader") tickLeader(r);
  else tickElection(r);
}

/** The span differs from member to member and from time to time, so that mostly one stands alone (thesis 3.4). */
function tickElection(r: Raft): void {
  const { electionTick, random } = r.config;
  if (r.electionTimeout === 0) r.electionTimeout = electionTick + random.int(electionTick);
  if (!r.promotable || r.electionElapsed < r.electionTimeout) return;
  r.electionElapsed = 0;
  step(r, message({ type: "hup", from: r.id }));
}

function tickLeader(r: Raft): void {
  r.heartbeatElapsed++;
  if (r.electionElapsed >= r.config.electionTick) {
    r.electionElapsed = 0;
    if (r.config.checkQuorum) step(r, message({ type: "check-quorum", from: r.id }));
    // A successor that has not made it by now will not.
    r.leadTransferee = none;
  }
  if (r.role === "leader" && r.heartbeatElapsed >= r.config.heartbeatTick) {
    r.heartbeatElapsed = 0;
    step(r, message({ type: "beat", from: r.id }));
  }
}
