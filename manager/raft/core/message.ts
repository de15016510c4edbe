/**
 * Making and classifying messages.
 */
import {
  type Entry,
  type HardState,
  localAppendThread,
  localApplyThread,
  type Message,
  type MessageType,
  none,
  type Snapshot,
} from "./types.ts";

/** Shared empty bytes. */
export const noBytes: Uint8Array = new Uint8Array(0);

/** Shared empty list of entries; never changed. */
export const noEntries: readonly Entry[] = [];

/** Shared empty list of messages; never changed. */
export const noMessages: readonly Message[] = [];

/** Fields of a message; those left out are zero or empty. */
export interface MessageFields {
  readonly type: MessageType;
  readonly to?: number;
  readonly from?: number;
  readonly term?: number;
  readonly logTerm?: number;
  readonly index?: number;
  readonly entries?: readonly Entry[];
  readonly commit?: number;
  readonly vote?: number;
  readonly reject?: boolean;
  readonly rejectHint?: number;
  readonly commitTerm?: number;
  readonly context?: Uint8Array;
  readonly snapshot?: Snapshot | undefined;
  readonly responses?: readonly Message[];
}

/**
 * Builds a message in which every field is set, so that all messages share one shape.
 *
 * @param from Sender, where `fields` leaves it to the caller; `term` likewise.
 */
export function message(fields: MessageFields, from?: number, term?: number): Message {
  return {
    type: fields.type,
    to: fields.to ?? none,
    from: from ?? fields.from ?? none,
    term: term ?? fields.term ?? 0,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    entries: fields.entries ?? noEntries,
    commit: fields.commit ?? 0,
    vote: fields.vote ?? none,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    commitTerm: fields.commitTerm ?? 0,
    context: fields.context ?? noBytes,
    snapshot: fields.snapshot,
    responses: fields.responses ?? noMessages,
  };
}

/** Whether `id` stands for one of this member's own storage threads. */
export function isLocalThread(id: number): boolean {
  return id === localAppendThread || id === localApplyThread;
}

/** Whether messages of this type only ever come from this member itself. */
export function isLocalType(type: MessageType): boolean {
  switch (type) {
    case "hup":
    case "beat":
    case "unreachable":
    case "snap-status":
    case "check-quorum":
    case "storage-append":
    case "storage-append-resp":
    case "storage-apply":
    case "storage-apply-resp":
      return true;
    default:
      return false;
  }
}

/** Whether messages of this type answer something, so that only members of the configuration may send them. */
export function isResponseType(type: MessageType): boolean {
  switch (type) {
    case "app-resp":
    case "vote-resp":
    case "heartbeat-resp":
    case "unreachable":
    case "read-index-resp":
    case "pre-vote-resp":
    case "storage-append-resp":
    case "storage-apply-resp":
      return true;
    default:
      return false;
  }
}

/** The hard state a `storage-append` carries, or `undefined` when it is to stay as it is. */
export function hardStateOfAppend(append: Message): HardState | undefined {
  if (append.term === 0 && append.vote === none && append.commit === 0) return undefined;
  return { term: append.term, vote: append.vote, commit: append.commit };
}
