/**
 * Linearizable reads on the leader (thesis 6.4): note the commit index, prove leadership, answer.
 */
import type { Raft } from "./raft.ts";
import type { PendingRead } from "./read-index.ts";
import { type Message, none } from "./types.ts";

/** Most reads one leader keeps waiting; beyond it they are dropped and the reader's deadline ends them. */
const readsWaitingMax = 10_000;

/** Takes a read on the leader, of its own client or forwarded by a follower. */
export function takeRead(r: Raft, request: Message): void {
  if (r.reads.length + r.postponedReads.length >= readsWaitingMax) {
    r.logger?.warn("too many reads are waiting; one was dropped");
    return;
  }
  // Until an entry of its own term is committed, a leader does not know how far its predecessors had committed.
  if (r.committedInTerm) confirmRead(r, request);
  else r.postponedReads.push(request);
}

/**
 * Starts the proof of leadership for a read; by lease there is nothing to prove, except while leadership is being handed
 * over: the successor does not wait for the lease to end.
 */
export function confirmRead(r: Raft, request: Message): void {
  const read = { from: request.from, context: request.context, index: r.log.committed };
  if (r.config.readOnlyOption === "lease-based" && r.leadTransferee === none) {
    answerRead(r, read);
    return;
  }
  r.reads.add(read);
  r.reads.acknowledge(r.id, r.reads.position());
  for (const confirmed of r.reads.takeConfirmed(r.members.conf)) answerRead(r, confirmed);
  // One round confirms all reads up to it, so it goes out with the next Ready instead of once per read.
  r.readRoundWanted = r.reads.length > 0;
}

/** Gives the read point to the member whose client asked. */
export function answerRead(r: Raft, { from, context, index }: PendingRead): void {
  if (from === none || from === r.id) r.readStates.push({ index, context });
  else r.send({ type: "read-index-resp", to: from, index, context });
}
