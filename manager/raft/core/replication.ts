/**
 * What a leader sends to the others, and how its commit index moves.
 */
import { assert } from "./assert.ts";
import { totalPayload } from "./log.ts";
import { noEntries } from "./message.ts";
import type { Progress } from "./progress.ts";
import { jointIndex, jointVote } from "./quorum.ts";
import type { Raft } from "./raft.ts";
import { answerRead, confirmRead } from "./reads.ts";
import type { Entry } from "./types.ts";

/**
 * Sends the entries that member `to` lacks, with the commit index, or a snapshot when they are compacted away.
 *
 * @param sendIfEmpty Whether a message that only tells the commit index is worth sending.
 * @returns Whether anything was sent.
 */
export function sendAppend(r: Raft, to: number, sendIfEmpty: boolean): boolean {
  const progress = r.progressOf(to);
  if (progress.paused) return false;

  const previous = progress.next - 1;
  const logTerm = r.log.term(previous);
  if (logTerm === undefined) return sendSnapshot(r, to, progress);
  const entries = entriesFor(r, progress);
  if (entries === undefined) return sendSnapshot(r, to, progress);
  if (entries.length === 0 && !sendIfEmpty) return false;

  const commit = r.log.committed;
  r.send({ type: "app", to, index: previous, logTerm, entries, commit });
  progress.sentEntries(entries.length, totalPayload(entries));
  progress.sentCommit = commit;
  return true;
}

/**
 * With a full window only an empty message goes out: were all those in flight lost, its answer would tell.
 */
function entriesFor(r: Raft, progress: Progress): readonly Entry[] | undefined {
  if (progress.state === "replicate" && progress.inflights.full) return noEntries;
  return r.log.entriesFrom(progress.next, r.config.maxSizePerMsg);
}

function sendSnapshot(r: Raft, to: number, progress: Progress): boolean {
  if (!progress.recentActive) {
    r.logger?.debug(`member ${to} needs a snapshot but has not been heard of`);
    return false;
  }
  const snapshot = r.log.snapshot();
  if (snapshot === undefined) {
    r.logger?.debug(`member ${to} needs a snapshot but none can be had now`);
    return false;
  }
  assert(snapshot.index > 0, "the snapshot to send is empty");
  r.logger?.info(
    `sending a snapshot at index ${snapshot.index} to member ${to}, which needs index ${progress.next}`,
  );
  progress.becomeSnapshot(snapshot.index);
  r.send({ type: "snap", to, snapshot });
  return true;
}

/** Sends to every other member what it lacks, or at least the commit index. */
export function broadcastAppend(r: Raft): void {
  for (const id of r.members.progress.keys()) if (id !== r.id) sendAppend(r, id, true);
}

/** Sends new entries to every other member, in as many messages as its window takes. */
export function streamAppend(r: Raft): void {
  const last = r.log.lastIndex();
  for (const [id, progress] of r.members.progress) {
    if (id === r.id) continue;
    let sent = sendAppend(r, id, true);
    while (sent && progress.next <= last) sent = sendAppend(r, id, false);
  }
}

/** Sends to every other member a sign of life, which also asks to confirm the reads that wait. */
export function broadcastHeartbeat(r: Raft): void {
  r.readRoundWanted = false;
  const index = r.reads.position();
  for (const [id, progress] of r.members.progress) {
    if (id === r.id) continue;
    // A follower must not commit beyond what is known to match: the rest of its log may be another's.
    const commit = Math.min(progress.match, r.log.committed);
    r.send({ type: "heartbeat", to: id, commit, index });
    progress.sentCommit = commit;
  }
}

/**
 * Commits what a quorum has stored; reads that waited for the first commit of the term go on.
 *
 * @returns Whether the commit index moved, so that the others should be told.
 */
export function commitByQuorum(r: Raft): boolean {
  const { conf, progress } = r.members;
  const index = jointIndex(conf.voters, conf.votersOutgoing, (id) => progress.get(id)?.match);
  if (!r.log.commitIfOfTerm(index, r.term)) return false;
  const postponed = r.postponedReads;
  if (postponed.length > 0) {
    r.postponedReads = [];
    for (const request of postponed) confirmRead(r, request);
  }
  return true;
}

/** Whether a quorum has been heard of since the last check. */
export function quorumActive(r: Raft): boolean {
  const { conf, progress } = r.members;
  const active = new Map<number, boolean>();
  for (const [id, one] of progress) {
    if (!one.isLearner) active.set(id, one.recentActive);
  }
  return jointVote(conf.voters, conf.votersOutgoing, active) === "won";
}

/** Answers the reads that a quorum has confirmed by now. */
export function releaseReads(r: Raft): void {
  for (const read of r.reads.takeConfirmed(r.members.conf)) answerRead(r, read);
}
