/**
 * The records of the Raft log on disk: one per append batch, sealed, chained from the record before.
 *
 * Pure: bytes in, bytes out. A record is a plain header (format, cluster, first index, count, terms, checksum of the
 * record before) and a sealed body whose associated data is that header. The checksum of a record covers its header and
 * the authentication tag of its body, and with the header the whole chain before it; so a record that is damaged,
 * missing, moved or of another cluster shows when the chain is walked.
 */
import { createHash } from "node:crypto";
import { RaftLogBody, RaftLogHeader, RaftLogRecord } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { raftRecordBytesMax } from "../../src/common/limits/limits.ts";
import { type Sealer, sealOverheadBytes } from "../../src/common/seal/sealer.ts";
import type { Entry } from "./core/types.ts";
import { Scratch } from "./scratch.ts";
import { bytesTag, fieldBytes, putField, putVarint } from "./wire-bytes.ts";

/** Version of everything the host writes; raised when an older daemon could not read it. 1 was a LevelDB. */
export const logFormat = 2;

/** Checksum that stands before the first record of a log. */
export const chainStart: Uint8Array = new Uint8Array(32);

const tagBytes = 16;

// Field numbers as in proto/raft.proto, which never change.
const recordHeaderTag = bytesTag(1);
const recordBodyTag = bytesTag(2);
const bodyDataTag = bytesTag(1);

const scratch = new Scratch(raftRecordBytesMax);

/** A record as read back. */
export interface LogRecord {
  readonly entries: readonly Entry[];
  /** Checksum of this record. */
  readonly chain: Uint8Array;
}

/**
 * Encodes entries that follow each other as one record.
 *
 * @param chain Checksum of the record before.
 */
export function encodeLogRecord(
  entries: readonly Entry[],
  context: { readonly clusterId: string; readonly chain: Uint8Array; readonly sealer: Sealer },
): { readonly value: Uint8Array; readonly chain: Uint8Array } {
  const header = RaftLogHeader.encode({
    format: logFormat,
    clusterId: context.clusterId,
    firstIndex: entries[0]?.index ?? 0,
    count: entries.length,
    terms: termRuns(entries),
    chain: context.chain,
  });
  // Laid out as RaftLogRecord, at once in its place: this is most of what a member writes.
  const plain = logBody(entries);
  const bodyBytes = plain.length + sealOverheadBytes;
  const value = Buffer.allocUnsafe(fieldBytes(header.length) + fieldBytes(bodyBytes));
  const bodyFieldAt = putField(value, 0, recordHeaderTag, header);
  value[bodyFieldAt] = recordBodyTag;
  const bodyAt = putVarint(value, bodyFieldAt + 1, bodyBytes);
  context.sealer.sealInto(value, bodyAt, plain, header);
  return { value, chain: checksum(header, value.subarray(bodyAt)) };
}

/** The bytes of a RaftLogBody; only until the next call. */
function logBody(entries: readonly Entry[]): Uint8Array {
  const confChanges: number[] = [];
  let total = 0;
  entries.forEach(({ type, data }, at) => {
    if (type === "conf-change") confChanges.push(at);
    total += fieldBytes(data.length);
  });
  const changes = RaftLogBody.encode({ data: [], confChanges });
  const body = scratch.take(total + changes.length);
  let at = 0;
  for (const { data } of entries) at = putField(body, at, bodyDataTag, data);
  body.set(changes, at);
  return body;
}

/**
 * Decodes a record that must begin at `firstIndex` and follow the record with checksum `chain`.
 *
 * @throws ClusterError internal when it is damaged, or does not belong there; failed-precondition when its format or key
 *   is unknown.
 */
export function decodeLogRecord(
  value: Uint8Array,
  expected: {
    readonly clusterId: string;
    readonly firstIndex: number;
    readonly chain: Uint8Array;
    readonly sealer: Sealer;
  },
): LogRecord {
  const { header, body } = decoded(() => RaftLogRecord.decode(value));
  const head = decoded(() => RaftLogHeader.decode(header));
  if (head.format !== logFormat) {
    throw new ClusterError(
      "failed-precondition",
      `the raft log has format ${head.format}, this version knows ${logFormat}`,
    );
  }
  if (head.clusterId !== expected.clusterId) throw damaged("is of another cluster");
  if (head.firstIndex !== expected.firstIndex) {
    throw damaged(`begins at ${head.firstIndex} instead of ${expected.firstIndex}`);
  }
  if (!sameBytes(head.chain, expected.chain)) throw damaged("does not follow the one before it");
  const plain = expected.sealer.open(body, header);
  const entries = joinEntries(
    head,
    decoded(() => RaftLogBody.decode(plain)),
  );
  return { entries, chain: checksum(header, body) };
}

/** Whether two byte strings are equal. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function termRuns(entries: readonly Entry[]): { term: number; count: number }[] {
  const runs: { term: number; count: number }[] = [];
  for (const { term } of entries) {
    const last = runs.at(-1);
    if (last?.term === term) last.count++;
    else runs.push({ term, count: 1 });
  }
  return runs;
}

function joinEntries(head: RaftLogHeader, body: RaftLogBody): Entry[] {
  const entries: Entry[] = [];
  const changes = new Set(body.confChanges);
  for (const run of head.terms) {
    for (let i = 0; i < run.count; i++) {
      const at = entries.length;
      const data = body.data[at];
      if (data === undefined) throw damaged("holds fewer entries than it says");
      const type = changes.has(at) ? "conf-change" : "normal";
      entries.push({ term: run.term, index: head.firstIndex + at, type, data });
    }
  }
  if (entries.length !== head.count || body.data.length !== head.count || head.count === 0) {
    throw damaged("does not hold as many entries as it says");
  }
  return entries;
}

function checksum(header: Uint8Array, body: Uint8Array): Uint8Array {
  return createHash("sha256")
    .update("skep raft log\0")
    .update(header)
    .update(body.subarray(body.length - tagBytes))
    .digest();
}

function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw new ClusterError("internal", "a record of the raft log is damaged", { cause });
  }
}

function damaged(what: string): ClusterError {
  return new ClusterError("internal", `a record of the raft log ${what}`);
}
