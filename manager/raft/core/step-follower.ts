/**
 * What followers and candidates do with the messages of their term.
 */
import { countVote, startElection } from "./election.ts";
import { handleSnapshot } from "./membership.ts";
import type { Raft } from "./raft.ts";
import { type Message, none } from "./types.ts";

/** Handles a message as follower. */
export function stepFollower(r: Raft, m: Message): void {
  switch (m.type) {
    case "app":
    case "heartbeat":
    case "snap":
      r.electionElapsed = 0;
      r.leader = m.from;
      takeFromLeader(r, m);
      break;
    case "transfer-leader":
      if (r.leader !== none) r.send({ type: m.type, to: r.leader, from: m.from });
      break;
    case "read-index":
      if (r.leader !== none) {
        r.send({ type: m.type, to: r.leader, from: m.from, context: m.context });
      }
      break;
    case "read-index-resp":
      r.readStates.push({ index: m.index, context: m.context });
      break;
    case "forget-leader":
      forgetLeader(r);
      break;
    case "timeout-now":
      // No pre-vote: the leader itself wants to go, so there is nobody to disturb.
      startElection(r, "transfer");
      break;
    default:
      break;
  }
}

/** Handles a message as candidate or pre-candidate. */
export function stepCandidate(r: Raft, m: Message): void {
  switch (m.type) {
    case "app":
    case "heartbeat":
    case "snap":
      // Someone else has won this term.
      r.becomeFollower(m.term, m.from);
      takeFromLeader(r, m);
      break;
    case "vote-resp":
      if (r.role === "candidate") countVote(r, m);
      break;
    case "pre-vote-resp":
      // As candidate it may still get answers to the pre-vote before.
      if (r.role === "pre-candidate") countVote(r, m);
      break;
    default:
      break;
  }
}

function takeFromLeader(r: Raft, m: Message): void {
  switch (m.type) {
    case "app":
      handleAppend(r, m);
      break;
    case "snap":
      handleSnapshot(r, m);
      break;
    default:
      r.log.commitTo(m.commit);
      r.send({ type: "heartbeat-resp", to: m.from, index: m.index });
  }
}

function handleAppend(r: Raft, m: Message): void {
  const { log } = r;
  if (m.index < log.committed) {
    // Late: all of that is committed here, and so the leader's log agrees with it.
    r.send({ type: "app-resp", to: m.from, index: log.committed });
    return;
  }
  const last = log.appendAfter({ index: m.index, term: m.logTerm }, m.entries, m.commit);
  if (last !== undefined) {
    r.send({ type: "app-resp", to: m.from, index: last });
    return;
  }
  // Up to the leader's index all its terms are at most `logTerm`; entries here with higher ones cannot match.
  const hint = log.findConflict(Math.min(m.index, log.lastIndex()), m.logTerm);
  r.logger?.debug(`refusing entries after index ${m.index}; the logs may meet at ${hint.index}`);
  r.send({
    type: "app-resp",
    to: m.from,
    index: m.index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

/** With reads by lease the leader counts on not being forgotten. */
function forgetLeader(r: Raft): void {
  if (r.config.readOnlyOption === "lease-based") {
    r.logger?.warn("the leader cannot be forgotten while it reads by lease");
    return;
  }
  r.leader = none;
}
