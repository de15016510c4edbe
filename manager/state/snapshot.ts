/**
 * The state as a stream of bytes, for managers too far behind the log, and back.
 *
 * A sequence of length-prefixed `SnapshotRecord`s, cut in chunks of a fixed size wherever that falls: header, then
 * table by table the objects by id (each shared sub-object once, before its first use), the proposers, and an end record
 * with a digest of everything before. Equal states give equal bytes. Work is sliced; nothing holds the main thread.
 */
import { createHash, type Hash } from "node:crypto";
import protobuf from "protobufjs/minimal.js";
import {
  SnapshotEnd,
  SnapshotHeader,
  SnapshotRecord,
  StoreClient,
  type StoreReference,
  StoreShared,
} from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { snapshotChunkBytes, snapshotRecordBytesMax } from "../../src/common/limits/store.ts";
import { encodeShared, sharedDigest, sharedValue } from "./intern.ts";
import { objectOfRecord, placePart, splitObject } from "./records.ts";
import { sortedById } from "./sort.ts";
import { type Frozen, State } from "./state.ts";
import { type AnyObject, type TableKey, tableKeys } from "./tables.ts";

/** Format of the stream this version writes, and the newest it reads. */
export const snapshotFormat = 1;

/** Gives others a turn when the present slice of work has lasted long enough. */
export type Pause = () => Promise<void> | undefined;

/** Chunks of the snapshot of a frozen state, all but the last of `snapshotChunkBytes`. */
export async function* writeSnapshot(frozen: Frozen, pause: Pause): AsyncIterable<Uint8Array> {
  const writer = new RecordWriter();
  const { index, term } = frozen;
  writer.add({ header: SnapshotHeader.create({ format: snapshotFormat, index, term }) });
  for (const table of tableKeys) {
    for await (const objects of sortedById(frozen.tables.get(table) ?? [], pause)) {
      for (const object of objects) writer.addObject(table, object);
      yield* writer.chunks();
      await pause();
    }
  }
  for (const client of frozen.clients) writer.add({ client: StoreClient.decode(client) });
  writer.addEnd();
  yield* writer.chunks();
  yield* writer.rest();
}

/** Builds the byte stream and cuts it. */
class RecordWriter {
  readonly #hash: Hash = createHash("sha256");
  readonly #byValue = new Map<object, number>();
  readonly #byDigest = new Map<string, number>();
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #records = 0;

  add(fields: Partial<SnapshotRecord>): void {
    const bytes = SnapshotRecord.encode(SnapshotRecord.create(fields));
    const prefix = protobuf.Writer.create().uint32(bytes.length).finish();
    this.#hash.update(prefix).update(bytes);
    this.#pending.push(prefix, bytes);
    this.#pendingBytes += prefix.length + bytes.length;
    this.#records++;
  }

  addObject(table: TableKey, object: AnyObject): void {
    const { record, parts } = splitObject(table, object);
    const references: StoreReference[] = [];
    for (const { field, kind, value } of parts) {
      let position = this.#byValue.get(value);
      if (position === undefined) {
        position = this.#addShared(encodeShared(kind, value));
        this.#byValue.set(value, position);
      }
      references.push({ field, position });
    }
    this.add({ object: record, references });
  }

  addEnd(): void {
    const digest = this.#hash.copy().digest();
    this.add({ end: SnapshotEnd.create({ records: this.#records, digest }) });
  }

  /** The full chunks so far. */
  *chunks(): Iterable<Uint8Array> {
    if (this.#pendingBytes < snapshotChunkBytes) return;
    const bytes = Buffer.concat(this.#pending, this.#pendingBytes);
    let at = 0;
    for (; at + snapshotChunkBytes <= bytes.length; at += snapshotChunkBytes) {
      yield bytes.subarray(at, at + snapshotChunkBytes);
    }
    const rest = bytes.subarray(at);
    this.#pending = [rest];
    this.#pendingBytes = rest.length;
  }

  *rest(): Iterable<Uint8Array> {
    if (this.#pendingBytes > 0) yield Buffer.concat(this.#pending, this.#pendingBytes);
  }

  /** By content, not by instance, so that the stream does not tell how the values came to be shared. */
  #addShared(bytes: Uint8Array): number {
    const digest = sharedDigest(bytes);
    let position = this.#byDigest.get(digest);
    if (position === undefined) {
      position = this.#byDigest.size;
      this.#byDigest.set(digest, position);
      this.add({ shared: StoreShared.decode(bytes) });
    }
    return position;
  }
}

/**
 * The state of a snapshot stream.
 *
 * @throws ClusterError internal when the stream is damaged, cut or goes on after its end; unimplemented when a newer
 *   version wrote it.
 */
export async function readSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  pause: Pause,
): Promise<State> {
  const reader = new SnapshotReader();
  for await (const chunk of chunks) {
    for (const record of reader.feed(chunk)) {
      reader.take(record);
      await pause();
    }
  }
  return reader.finish();
}

class SnapshotReader {
  readonly #state = new State();
  readonly #hash: Hash = createHash("sha256");
  readonly #shared: object[] = [];
  #left: Uint8Array = new Uint8Array(0);
  #records = 0;
  #begun = false;
  #ended = false;

  /** The whole records in the stream so far; bytes of an unfinished one wait for the next chunk. */
  *feed(chunk: Uint8Array): Iterable<Uint8Array> {
    const bytes = this.#left.length === 0 ? chunk : Buffer.concat([this.#left, chunk]);
    let at = 0;
    for (;;) {
      const length = lengthAt(bytes, at);
      if (length === undefined || length.next + length.value > bytes.length) break;
      const end = length.next + length.value;
      // The end record's digest covers what is before it, so a record is added to the hash once it was taken.
      yield bytes.subarray(length.next, end);
      this.#hash.update(bytes.subarray(at, end));
      at = end;
    }
    this.#left = bytes.slice(at);
  }

  take(bytes: Uint8Array): void {
    if (this.#ended) throw damaged("it goes on after its end");
    const record = this.#decode(bytes);
    if (!this.#begun) {
      this.#begin(record);
    } else if (record.shared !== undefined) {
      const value = sharedValue(record.shared);
      if (value === undefined) throw tooNew("an unknown kind of shared value");
      this.#shared.push(value);
    } else if (record.object !== undefined) this.#put(record);
    else if (record.client !== undefined) this.#state.clients.load(record.client);
    else if (record.end !== undefined) this.#end(record.end);
    else throw tooNew("an unknown kind of record");
    this.#records++;
  }

  finish(): State {
    if (!this.#ended || this.#left.length > 0) throw damaged("it was cut short");
    return this.#state;
  }

  #decode(bytes: Uint8Array): SnapshotRecord {
    try {
      return SnapshotRecord.decode(bytes);
    } catch (cause) {
      throw damaged(errorText(cause), cause);
    }
  }

  #begin(record: SnapshotRecord): void {
    const header = record.header;
    if (header === undefined) throw damaged("it has no header");
    if (header.format !== snapshotFormat) throw tooNew(`format ${header.format}`);
    this.#state.index = header.index;
    this.#state.term = header.term;
    this.#begun = true;
  }

  #put(record: SnapshotRecord): void {
    const found = record.object && objectOfRecord(record.object);
    if (found === undefined) throw tooNew("an object of an unknown table");
    const { table, object } = found;
    for (const { field, position } of record.references) {
      const value = this.#shared[position];
      if (value === undefined) throw damaged("a shared value is missing");
      if (!placePart(table, object, field, value)) throw tooNew(`an unknown field of ${table}`);
    }
    this.#state.put(table, object);
  }

  #end(end: SnapshotEnd): void {
    const digest = this.#hash.copy().digest();
    if (end.records !== this.#records || !digest.equals(end.digest)) {
      throw damaged("its checksum is wrong");
    }
    this.#ended = true;
  }
}

/** Length prefix at a position: its value, and where the record begins; undefined when it is not all there. */
function lengthAt(bytes: Uint8Array, at: number): { value: number; next: number } | undefined {
  let value = 0;
  for (let n = 0; n < 5; n++) {
    const byte = bytes[at + n];
    if (byte === undefined) return undefined;
    value += (byte & 127) * 2 ** (7 * n);
    if (byte >= 128) continue;
    if (value > snapshotRecordBytesMax) throw damaged(`a record has ${value} bytes`);
    return { value, next: at + n + 1 };
  }
  throw damaged("a record has no length");
}

function damaged(reason: string, cause?: unknown): ClusterError {
  return new ClusterError("internal", `the snapshot is damaged: ${reason}`, { cause });
}

function tooNew(what: string): ClusterError {
  return new ClusterError(
    "unimplemented",
    `the snapshot was written by a newer version: ${what}; install the version of skep the other managers run`,
  );
}
