/**
 * Core messages to wire messages and back, and the sizes by which they are batched.
 *
 * Pure. Entries are the same objects on both sides; their bytes stay views into the frame they came in.
 */
import type { RaftSnapshotMeta, RaftWireMessage } from "../../src/common/api/generated/api.ts";
import { message } from "./core/message.ts";
import { emptyConfState, entrySize, type Message, type Snapshot } from "./core/types.ts";

const messageOverheadBytes = 64;

/** The message as it travels, with these entries. Of a snapshot only position and configuration do; `data` is its `RaftSnapshotMeta`. */
export function wireMessage(from: Message, entries = from.entries): RaftWireMessage {
  return {
    type: from.type,
    to: from.to,
    from: from.from,
    term: from.term,
    logTerm: from.logTerm,
    index: from.index,
    entries,
    commit: from.commit,
    vote: from.vote,
    reject: from.reject,
    rejectHint: from.rejectHint,
    context: from.context,
    snapshot: from.snapshot === undefined ? undefined : (from.snapshot.data as RaftSnapshotMeta),
    commitTerm: from.commitTerm,
  };
}

/** The message as the core takes it. */
export function coreMessage(from: RaftWireMessage): Message {
  return message({ ...from, snapshot: from.snapshot && snapshotFromMeta(from.snapshot) });
}

/** A snapshot as the core knows it, which carries its members along. */
export function snapshotFromMeta(meta: RaftSnapshotMeta): Snapshot {
  return {
    index: meta.index,
    term: meta.term,
    confState: meta.confState ?? emptyConfState,
    data: meta,
  };
}

/** About how many bytes a message takes in a frame. */
export function messageBytes(from: Message): number {
  let bytes = messageOverheadBytes + from.context.length;
  for (const entry of from.entries) bytes += entrySize(entry);
  return bytes;
}
