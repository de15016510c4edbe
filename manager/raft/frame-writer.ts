/**
 * Frames of messages for peers, as bytes: a length, then what `RaftFrame.encode` would give, with the entries at the end of
 * each message.
 *
 * A leader sends the same entries to every peer, at about the same time. Their bytes are made once and copied from then
 * on; the rest of a message is small. Used by `peer.ts`.
 */
import { RaftEntryTypeNumber, RaftWireMessage } from "../../src/common/api/generated/api.ts";
import { noEntries } from "./core/message.ts";
import type { Entry, Message } from "./core/types.ts";
import { frameLengthBytes } from "./peer-stream.ts";
import { wireMessage } from "./wire.ts";
import { bytesTag, fieldBytes, numberTag, putField, putVarint, varintBytes } from "./wire-bytes.ts";

// Field numbers as in proto/raft.proto, which never change.
const messagesTag = bytesTag(2);
const entriesTag = bytesTag(7);
const termTag = numberTag(1);
const indexTag = numberTag(2);
const typeTag = numberTag(3);
const dataTag = bytesTag(4);

const noBytes: Uint8Array = new Uint8Array(0);

/** Makes frames; one for all peers. */
export class FrameWriter {
  #last: { readonly entries: readonly Entry[]; readonly bytes: Uint8Array } | undefined;

  /** The bytes of a frame, with their length in front. */
  frame(messages: readonly Message[]): Buffer {
    const parts = messages.map((message) => ({
      head: RaftWireMessage.encode(wireMessage(message, noEntries)),
      tail: this.#entries(message.entries),
    }));
    let total = 0;
    for (const { head, tail } of parts) total += fieldBytes(head.length + tail.length);
    const frame = Buffer.allocUnsafe(frameLengthBytes + total);
    frame.writeUInt32BE(total, 0);
    let at = frameLengthBytes;
    for (const { head, tail } of parts) {
      frame[at] = messagesTag;
      at = putVarint(frame, at + 1, head.length + tail.length);
      frame.set(head, at);
      frame.set(tail, at + head.length);
      at += head.length + tail.length;
    }
    return frame;
  }

  /** Frees the bytes kept for the next peer. */
  forget(): void {
    this.#last = undefined;
  }

  #entries(entries: readonly Entry[]): Uint8Array {
    if (entries.length === 0) return noBytes;
    const last = this.#last;
    if (last !== undefined && isSameSpan(last.entries, entries)) return last.bytes;
    const bytes = entriesBytes(entries);
    this.#last = { entries, bytes };
    return bytes;
  }
}

/** Whether both are the same part of one log: a log is only ever replaced from some index to its end. */
function isSameSpan(a: readonly Entry[], b: readonly Entry[]): boolean {
  return a.length === b.length && a[0] === b[0] && a[a.length - 1] === b[b.length - 1];
}

/** The entries as fields of a message. */
function entriesBytes(entries: readonly Entry[]): Uint8Array {
  let total = 0;
  for (const entry of entries) total += fieldBytes(entryBytes(entry));
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  for (const entry of entries) {
    bytes[at] = entriesTag;
    at = putVarint(bytes, at + 1, entryBytes(entry));
    at = putEntry(bytes, at, entry);
  }
  return bytes;
}

function entryBytes({ term, index, type, data }: Entry): number {
  const number = RaftEntryTypeNumber(type);
  return (
    (term === 0 ? 0 : 1 + varintBytes(term)) +
    (index === 0 ? 0 : 1 + varintBytes(index)) +
    (number === 0 ? 0 : 1 + varintBytes(number)) +
    (data.length === 0 ? 0 : fieldBytes(data.length))
  );
}

function putEntry(to: Uint8Array, from: number, { term, index, type, data }: Entry): number {
  let at = putNumber(to, from, termTag, term);
  at = putNumber(to, at, indexTag, index);
  at = putNumber(to, at, typeTag, RaftEntryTypeNumber(type));
  return data.length === 0 ? at : putField(to, at, dataTag, data);
}

/** Writes a number that is not zero; zero is what an absent field means. */
function putNumber(to: Uint8Array, at: number, tag: number, value: number): number {
  if (value === 0) return at;
  to[at] = tag;
  return putVarint(to, at + 1, value);
}
