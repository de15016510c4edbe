/**
 * What a leader does with the messages of its term.
 */
import type { Progress } from "./progress.ts";
import type { Raft } from "./raft.ts";
import { takeRead } from "./reads.ts";
import {
  broadcastAppend,
  broadcastHeartbeat,
  commitByQuorum,
  quorumActive,
  releaseReads,
  sendAppend,
} from "./replication.ts";
import { type Message, none } from "./types.ts";

/** Handles a message that has passed the check of terms. */
export function stepLeader(r: Raft, m: Message): void {
  switch (m.type) {
    case "beat":
      broadcastHeartbeat(r);
      return;
    case "check-quorum":
      checkQuorum(r);
      return;
    case "read-index":
      takeRead(r, m);
      return;
    default:
      stepFromMember(r, m);
  }
}

function stepFromMember(r: Raft, m: Message): void {
  const progress = r.members.progress.get(m.from);
  if (progress === undefined) {
    r.logger?.debug(`a ${m.type} of ${m.from}, which is not a member, was ignored`);
    return;
  }
  switch (m.type) {
    case "app-resp":
      progress.recentActive = true;
      if (m.reject) handleRejection(r, m, progress);
      else handleAcknowledgement(r, m, progress);
      break;
    case "heartbeat-resp":
      handleHeartbeatAnswer(r, m, progress);
      break;
    case "snap-status":
      handleSnapshotReport(m, progress);
      break;
    case "unreachable":
      // Of messages streamed without waiting, some are probably lost.
      if (progress.state === "replicate") progress.becomeProbe();
      break;
    case "transfer-leader":
      startTransfer(r, m.from, progress);
      break;
    default:
      break;
  }
}

function checkQuorum(r: Raft): void {
  if (!quorumActive(r)) {
    r.logger?.warn("stepping down: no quorum has been heard of for an election timeout");
    r.becomeFollower(r.term, none);
  }
  for (const [id, progress] of r.members.progress) {
    if (id !== r.id) progress.recentActive = false;
  }
}

/**
 * Finds an earlier place to try.
 *
 * The follower told the term at its hint. Where the leader's own term is higher, that place cannot match, for terms only
 * grow along a log; so at most one try per term is needed.
 */
function handleRejection(r: Raft, m: Message, progress: Progress): void {
  const hint = m.logTerm > 0 ? r.log.findConflict(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!progress.reject(m.index, hint)) return;
  r.logger?.debug(`member ${m.from} refused index ${m.index}; trying ${progress.next} next`);
  if (progress.state === "replicate") progress.becomeProbe();
  sendAppend(r, m.from, true);
}

function handleAcknowledgement(r: Raft, m: Message, progress: Progress): void {
  // An old acknowledgement can still show a probed member to be at hand, which may be streamed to again.
  const news = progress.acknowledge(m.index);
  if (!news && !(progress.match === m.index && progress.state === "probe")) return;
  resumeFlow(r, m, progress);

  const other = m.from !== r.id;
  if (commitByQuorum(r)) broadcastAppend(r);
  else if (other && progress.canBumpCommit(r.log.committed)) sendAppend(r, m.from, true);
  // The window may have room for several messages now.
  if (other) while (sendAppend(r, m.from, false));

  if (m.from === r.leadTransferee && progress.match === r.log.lastIndex()) {
    r.send({ type: "timeout-now", to: m.from });
  }
}

function resumeFlow(r: Raft, m: Message, progress: Progress): void {
  switch (progress.state) {
    case "probe":
      progress.becomeReplicate();
      break;
    case "snapshot":
      // Whichever snapshot it came by: all that counts is that the log goes on from there.
      if (progress.match + 1 < r.log.firstIndex()) return;
      progress.becomeProbe();
      progress.becomeReplicate();
      break;
    case "replicate":
      progress.inflights.freeTo(m.index);
      break;
  }
}

function handleHeartbeatAnswer(r: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.flowPaused = false;
  // Should all messages in flight be lost, the answer to this one shows it.
  if (progress.match < r.log.lastIndex() || progress.state === "probe") {
    sendAppend(r, m.from, true);
  }
  if (m.index === 0) return;
  r.reads.acknowledge(m.from, m.index);
  releaseReads(r);
}

function handleSnapshotReport(m: Message, progress: Progress): void {
  if (progress.state !== "snapshot") return;
  // After a failure probing starts at what matched before, not at the snapshot.
  if (m.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  // On success the member's own answer comes next, on failure a heartbeat's time is waited.
  progress.flowPaused = true;
}

function startTransfer(r: Raft, to: number, progress: Progress): void {
  if (progress.isLearner || r.leadTransferee === to) return;
  // A wish for another successor, or for none, replaces the one before.
  r.leadTransferee = none;
  if (to === r.id) return;
  r.logger?.info(`handing leadership to member ${to}`);
  // It has one election timeout to succeed.
  r.electionElapsed = 0;
  r.leadTransferee = to;
  if (progress.match === r.log.lastIndex()) r.send({ type: "timeout-now", to });
  else sendAppend(r, to, true);
}
