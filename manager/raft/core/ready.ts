/**
 * Collecting the work of one round, and the messages to the local storage threads that stand for it.
 *
 * With asynchronous writes the core goes on while storage works, and several rounds may be under way. Messages to one
 * thread are handled in order, so a response to the last one vouches for all before it.
 */
import { totalSize } from "./log.ts";
import { message, noEntries } from "./message.ts";
import type { Raft } from "./raft.ts";
import { broadcastHeartbeat } from "./replication.ts";
import {
  type Entry,
  type HardState,
  localAppendThread,
  localApplyThread,
  type Message,
  none,
  type Ready,
  type SoftState,
} from "./types.ts";

/** What the driver was last told. */
export interface Told {
  readonly softState: SoftState;
  readonly hardState: HardState;
}

/** Whether there is any work; cheap enough to ask after every step. */
export function hasWork(r: Raft, told: Told, allowUnstable: boolean): boolean {
  return (
    r.messages.length > 0 ||
    r.messagesAfterAppend.length > 0 ||
    r.readRoundWanted ||
    r.readStates.length > 0 ||
    r.log.unstable.hasNextEntries() ||
    r.log.unstable.nextSnapshot() !== undefined ||
    r.log.hasNextCommitted(allowUnstable) ||
    softStateChanged(r, told) ||
    hardStateChanged(r, told)
  );
}

/**
 * Takes all work out of `r`, except that messages which wait for a write stay in `messagesAfterAppend`: whoever calls
 * this passes them on and empties the list.
 */
export function takeWork(r: Raft, told: Told, allowUnstable: boolean): Ready {
  if (r.readRoundWanted) broadcastHeartbeat(r);
  const { unstable } = r.log;
  const entries = unstable.hasNextEntries() ? unstable.nextEntries() : noEntries;
  const { vote, term } = told.hardState;
  const ready: Ready = {
    softState: softStateChanged(r, told) ? { leader: r.leader, role: r.role } : undefined,
    hardState: hardStateChanged(r, told) ? r.hardState() : undefined,
    entries,
    committedEntries: r.log.nextCommitted(allowUnstable),
    snapshot: unstable.nextSnapshot(),
    messages: r.messages,
    readStates: r.readStates,
    mustSync: entries.length > 0 || r.vote !== vote || r.term !== term,
  };
  r.messages = [];
  r.readStates = [];
  return ready;
}

/** Marks the work in `ready` as handed out; called once the messages about it are made. */
export function acceptWork(r: Raft, ready: Ready, allowUnstable: boolean): void {
  r.log.unstable.acceptInProgress();
  const { committedEntries } = ready;
  const last = committedEntries[committedEntries.length - 1];
  if (last === undefined) return;
  r.log.acceptApplying(last.index, totalSize(committedEntries), allowUnstable);
}

/** What the append thread is to store, with the messages that may go out after that; `undefined` when there is nothing. */
export function appendMessage(
  r: Raft,
  ready: Ready,
  waiting: readonly Message[],
): Message | undefined {
  const { entries, hardState, snapshot } = ready;
  const nothingToStore = entries.length === 0 && hardState === undefined && snapshot === undefined;
  if (nothingToStore && waiting.length === 0) return undefined;
  const stored = appendResponse(r, ready);
  return message({
    type: "storage-append",
    to: localAppendThread,
    from: r.id,
    term: hardState?.term ?? 0,
    vote: hardState?.vote ?? none,
    commit: hardState?.commit ?? 0,
    entries,
    snapshot,
    // The leader's answer to itself comes first: it reads the terms of entries while they are at hand in memory.
    responses: stored === undefined ? waiting : [...waiting, stored],
  });
}

/**
 * What the append thread says once everything handed out so far is durable; `undefined` when nobody waits for it.
 *
 * It names the end of the log, not of this round's entries, and the present term. An answer that arrives in a later term
 * is not believed, since by then a write under way may overwrite what it speaks of, even with entries that once more look
 * the same. The write of the new term itself, with entries or without, brings the next answer.
 */
export function appendResponse(r: Raft, ready: Ready): Message | undefined {
  const unstable = r.log.unstable.length > 0;
  if (!unstable && ready.snapshot === undefined) return undefined;
  const last = unstable ? r.log.last() : { index: 0, term: 0 };
  return message({
    type: "storage-append-resp",
    to: r.id,
    from: localAppendThread,
    term: r.term,
    index: last.index,
    logTerm: last.term,
    snapshot: ready.snapshot,
  });
}

/** What the apply thread is to apply; committed entries belong to no term in particular. */
export function applyMessage(r: Raft, entries: readonly Entry[]): Message {
  return message({
    type: "storage-apply",
    to: localApplyThread,
    from: r.id,
    entries,
    responses: [applyResponse(r, entries)],
  });
}

/** What the apply thread says once `entries`, and all handed out before, are applied. */
export function applyResponse(r: Raft, entries: readonly Entry[]): Message {
  return message({ type: "storage-apply-resp", to: r.id, from: localApplyThread, entries });
}

function softStateChanged(r: Raft, { softState }: Told): boolean {
  return r.leader !== softState.leader || r.role !== softState.role;
}

function hardStateChanged(r: Raft, { hardState }: Told): boolean {
  return (
    r.term !== hardState.term || r.vote !== hardState.vote || r.log.committed !== hardState.commit
  );
}
