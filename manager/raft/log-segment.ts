/**
 * The bytes of the Raft log's files: a header per segment, then frames of operations. Pure: bytes in, bytes out.
 *
 * A segment begins with a header (magic, format, numbers, a salt, the check of the last frame before it) and a first
 * frame that holds every small value, so that no older segment is needed for those. One frame is one atomic batch:
 *
 *     length u32 | previous u32 | digest u32 | check u32 | payload of `length` bytes: kind u8, operations
 *
 * `digest` is the CRC-32 of the payload, `previous` the check of the frame before. `check` is the CRC-32 of these three
 * and the frame's place in the file, seeded with the check of the segment's header. So a frame of another segment, of another
 * log or of another place never passes, nor does one that follows another frame than it did; and the head of a frame is
 * known as one without the frames before it, which tells damage in the middle from a write that was cut off. All numbers
 * are big endian. `log-folder.ts` reads and `log-database.ts` writes them.
 */
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Scratch } from "./scratch.ts";

/** One change of a batch. */
export type LogOperation =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: string };

/** What a segment says of itself. */
export interface SegmentHeader {
  readonly number: number;
  /** The oldest segment that is still needed; what lies before it may be deleted. */
  readonly first: number;
  /** Check of the last frame of the segment before; 0 in the first one of a log. */
  readonly previous: number;
  /** Eight random bytes, which tell segments of the same number in different logs apart. */
  readonly salt: Uint8Array;
}

/** What the next frame is bound to. */
export interface Chain {
  /** Check of the segment's header. */
  readonly seed: number;
  /** Check of the frame before; that of the header for the first one. */
  readonly previous: number;
}

/** What a frame holds: all small values there are, or the changes of one batch. */
export type FrameKind = "whole" | "batch";

/** A frame as read back. */
export interface Frame {
  readonly kind: FrameKind;
  readonly operations: readonly LogOperation[];
  /** Where in the segment the value of each operation begins. */
  readonly offsets: readonly number[];
  readonly check: number;
  /** Where in the segment the frame ends. */
  readonly end: number;
}

/** Version of these bytes; raised when an older daemon could not read them. */
export const segmentFormat = 1;
/** Length of a segment's header. */
export const segmentHeaderBytes = 40;
/** Length of what stands before a frame's payload. */
export const frameHeadBytes = 16;

const magic = Buffer.from("skeplog\n");
/** No frame is larger; a length beyond it is not the beginning of a frame. */
const payloadBytesMax = 2 ** 30;
const kindPut = 1;
const kindDelete = 2;
const kindWhole = 3;
const kindBatch = 4;

/** File name of a segment; names sort as numbers do. */
export function segmentName(number: number): string {
  return `${String(number).padStart(12, "0")}.log`;
}

/** Number of the segment in file `name`, `undefined` when the file is none. */
export function segmentNumber(name: string): number | undefined {
  return /^\d{12}\.log$/.test(name) ? Number(name.slice(0, 12)) : undefined;
}

/** Encodes a header. */
export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  bytes.set(magic, 0);
  bytes.writeUInt32BE(segmentFormat, 8);
  bytes.writeUIntBE(header.number, 12, 6);
  bytes.writeUIntBE(header.first, 18, 6);
  bytes.writeUInt32BE(header.previous, 24);
  bytes.set(header.salt, 28);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 36)), 36);
  return bytes;
}

/** What the first frame of a segment with these header bytes is bound to. */
export function chainOf(header: Uint8Array): Chain {
  const seed = bufferOf(header).readUInt32BE(36);
  return { seed, previous: seed };
}

/**
 * Decodes the header at the beginning of a segment; `undefined` when it is damaged.
 *
 * @throws ClusterError failed-precondition when a newer version wrote it.
 */
export function decodeSegmentHeader(segment: Uint8Array): SegmentHeader | undefined {
  const bytes = bufferOf(segment);
  if (bytes.length < segmentHeaderBytes || !bytes.subarray(0, 8).equals(magic)) return undefined;
  if (crc32(bytes.subarray(0, 36)) !== bytes.readUInt32BE(36)) return undefined;
  const format = bytes.readUInt32BE(8);
  if (format !== segmentFormat) {
    throw new ClusterError(
      "failed-precondition",
      `the files of the raft log have format ${format}, this version knows ${segmentFormat}`,
    );
  }
  return {
    number: bytes.readUIntBE(12, 6),
    first: bytes.readUIntBE(18, 6),
    previous: bytes.readUInt32BE(24),
    salt: Uint8Array.from(bytes.subarray(28, 36)),
  };
}

/**
 * Encodes the frame that stands at `at` and follows the frames of `chain`.
 *
 * Keys are ASCII and at most 255 characters long.
 *
 * @param scratch Where the frame is made, if its bytes are not needed any more when the next one is.
 */
export function encodeFrame(
  kind: FrameKind,
  operations: readonly LogOperation[],
  {
    at,
    chain,
    scratch,
  }: { readonly at: number; readonly chain: Chain; readonly scratch?: Scratch },
): { readonly bytes: Buffer; readonly offsets: readonly number[]; readonly check: number } {
  let length = 1;
  for (const operation of operations) length += operationBytes(operation);
  assert(length <= payloadBytesMax);
  const bytes =
    scratch?.take(frameHeadBytes + length) ?? Buffer.allocUnsafe(frameHeadBytes + length);
  const offsets: number[] = [];
  bytes[frameHeadBytes] = kind === "whole" ? kindWhole : kindBatch;
  let to = frameHeadBytes + 1;
  for (const operation of operations) {
    to = writeOperation(bytes, to, operation);
    offsets.push(operation.type === "put" ? at + to - operation.value.length : 0);
  }
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(chain.previous, 4);
  bytes.writeUInt32BE(crc32(bytes.subarray(frameHeadBytes)), 8);
  const check = headCheck(bytes, 0, at, chain.seed);
  bytes.writeUInt32BE(check, 12);
  return { bytes, offsets, check };
}

/**
 * Decodes the frame at `at` of a segment; `undefined` when there is no whole frame that belongs there.
 *
 * Values are views of `segment`.
 *
 * @throws ClusterError internal when its checks hold but it makes no sense.
 */
export function decodeFrame(segment: Uint8Array, at: number, chain: Chain): Frame | undefined {
  const bytes = bufferOf(segment);
  const head = headAt(bytes, at, chain.seed);
  if (head === undefined || head.previous !== chain.previous || head.end > bytes.length) {
    return undefined;
  }
  const payload = bytes.subarray(at + frameHeadBytes, head.end);
  if (crc32(payload) !== head.digest) return undefined;
  const operations: LogOperation[] = [];
  const offsets: number[] = [];
  try {
    assert(payload[0] === kindWhole || payload[0] === kindBatch);
    for (let from = 1; from < payload.length; ) {
      const { operation, end } = readOperation(payload, from);
      const valueBytes = operation.type === "put" ? operation.value.length : 0;
      operations.push(operation);
      offsets.push(at + frameHeadBytes + end - valueBytes);
      from = end;
    }
  } catch (cause) {
    throw new ClusterError("internal", `the frame at byte ${at} makes no sense`, { cause });
  }
  const kind = payload[0] === kindWhole ? "whole" : "batch";
  return { kind, operations, offsets, check: head.check, end: head.end };
}

/**
 * Whether the bytes from `at` on, where no whole frame is, are more than one write that was cut off.
 *
 * A write begins once the one before is durable. So when anything shows that another frame stood behind, or that another one
 * stood before, what is missing at `at` had been acknowledged.
 */
export function isDamaged(segment: Uint8Array, at: number, chain: Chain): boolean {
  const bytes = bufferOf(segment);
  const head = headAt(bytes, at, chain.seed);
  if (head !== undefined) return head.previous !== chain.previous || head.end < bytes.length;
  for (let next = at + 1; next + frameHeadBytes <= bytes.length; next++) {
    if (headAt(bytes, next, chain.seed) !== undefined) return true;
  }
  return false;
}

interface FrameHead {
  readonly previous: number;
  readonly digest: number;
  readonly check: number;
  readonly end: number;
}

/** The head of a frame at `at`, when there is one that belongs to this place of this segment. */
function headAt(bytes: Buffer, at: number, seed: number): FrameHead | undefined {
  if (at + frameHeadBytes > bytes.length) return undefined;
  const length = bytes.readUInt32BE(at);
  if (length === 0 || length > payloadBytesMax) return undefined;
  const check = bytes.readUInt32BE(at + 12);
  if (headCheck(bytes, at, at, seed) !== check) return undefined;
  return {
    previous: bytes.readUInt32BE(at + 4),
    digest: bytes.readUInt32BE(at + 8),
    check,
    end: at + frameHeadBytes + length,
  };
}

const checked = Buffer.alloc(frameHeadBytes);

/** Check of the frame head at `from` of `bytes` when it stands at `at` of a segment with this seed. */
function headCheck(bytes: Buffer, from: number, at: number, seed: number): number {
  bytes.copy(checked, 0, from, from + 12);
  checked.writeUInt32BE(at, 12);
  return crc32(checked, seed);
}

function operationBytes(operation: LogOperation): number {
  const keyBytes = 2 + operation.key.length;
  return operation.type === "put" ? keyBytes + 4 + operation.value.length : keyBytes;
}

/** Writes an operation at `at`; gives where it ends. */
function writeOperation(bytes: Buffer, at: number, operation: LogOperation): number {
  const { key } = operation;
  assert(key.length <= 255);
  bytes[at] = operation.type === "put" ? kindPut : kindDelete;
  bytes[at + 1] = key.length;
  bytes.write(key, at + 2, "latin1");
  const end = at + 2 + key.length;
  if (operation.type === "del") return end;
  bytes.writeUInt32BE(operation.value.length, end);
  bytes.set(operation.value, end + 4);
  return end + 4 + operation.value.length;
}

function readOperation(
  payload: Buffer,
  at: number,
): { readonly operation: LogOperation; readonly end: number } {
  const kind = payload.readUInt8(at);
  const keyEnd = at + 2 + payload.readUInt8(at + 1);
  assert(keyEnd <= payload.length && (kind === kindPut || kind === kindDelete));
  const key = payload.toString("latin1", at + 2, keyEnd);
  if (kind === kindDelete) return { operation: { type: "del", key }, end: keyEnd };
  const from = keyEnd + 4;
  const end = from + payload.readUInt32BE(keyEnd);
  assert(end <= payload.length);
  return { operation: { type: "put", key, value: payload.subarray(from, end) }, end };
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
