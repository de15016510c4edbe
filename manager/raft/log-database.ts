/**
 * The files under the Raft log: atomic synced batches in segments that are only ever appended to
 * (`docs/decisions/0005-raft-log-files.md`).
 *
 * A synced batch is one write to the last segment. Batches that need not be synced wait in memory and go in front of the
 * next synced one, so an idle log writes nothing. A segment that is full is followed by a new one, which begins with all
 * small values; older ones go once no record in them is in force. A full disk is ridden out: the file is cut back and the
 * same batch tried until there is room, the caller's promise waits meanwhile. Any other failure is final: nobody knows what
 * is on the disk, so the member stops and reads it back at its next start.
 */
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import {
  diskFullRetryMs,
  raftRecordBytesMax,
  raftSegmentBytesMax,
} from "../../src/common/limits/limits.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { type LogFiles, openLogFiles, type SegmentFile } from "./log-files.ts";
import { type DamagedLog, type FoundLog, readLogFolder } from "./log-folder.ts";
import { isRecordKey, LogIndex, type Segment } from "./log-index.ts";
import {
  type Chain,
  chainOf,
  encodeFrame,
  encodeSegmentHeader,
  type LogOperation,
  segmentHeaderBytes,
  segmentName,
} from "./log-segment.ts";
import { Scratch } from "./scratch.ts";

export type { LogOperation };

/** The database as storage uses it; tests put a failing one in its place. */
export interface LogDatabase {
  /** Why the database is not whole: only what stands before the damage can be read then, and nothing be written. */
  readonly damage?: string | undefined;
  get(key: string): Promise<Uint8Array | undefined>;
  /** Values of all keys in [from, to), in order; no batch may run meanwhile. */
  range(from: string, to: string): AsyncIterable<readonly [string, Uint8Array]>;
  /** Applies all or nothing; durable when resolved if `sync`. Without it, durable with the next one that is. */
  batch(operations: readonly LogOperation[], sync: boolean): Promise<void>;
  /** Writes what is not durable yet, if the disk lets it, and closes. A batch that waits for room is refused. */
  close(): Promise<void>;
}

/** Told when writes stand still because the device is full, and when they go on. */
export type StalledListener = (reason: string | undefined) => void;

/** What tests put in place of the file system and of the limits. */
export interface LogDatabaseOptions {
  readonly openFiles?: typeof openLogFiles;
  readonly segmentBytesMax?: number;
  readonly retryMs?: number;
}

/**
 * Opens or creates the database in folder `path`.
 *
 * @throws ClusterError resource-exhausted when there is no room to open it; unavailable while it is in use;
 *   failed-precondition when it may not be accessed, or has a format this version does not know; internal when it cannot be
 *   read.
 */
export async function openLogDatabase(
  path: string,
  onStalled: StalledListener,
  options: LogDatabaseOptions = {},
): Promise<LogDatabase> {
  try {
    const files = await (options.openFiles ?? openLogFiles)(path);
    try {
      const found = (await readLogFolder(files)) ?? (await beginLog(files));
      if (found.damage !== undefined) return damagedLog(files, found);
      return new SegmentedLog(files, found, { onStalled, ...options });
    } catch (error) {
      await files.close();
      throw error;
    }
  } catch (error) {
    throw openingError(error);
  }
}

class SegmentedLog implements LogDatabase {
  readonly #files: LogFiles;
  readonly #onStalled: StalledListener;
  readonly #segmentBytesMax: number;
  readonly #retryMs: number;
  readonly #index: LogIndex;
  readonly #closing = new AbortController();
  #segments: readonly Segment[];
  #active: Segment;
  #file: SegmentFile;
  #chain: Chain;
  /** Operations that are in the index and not durable, by key. */
  #unsynced = new Map<string, LogOperation>();
  /** Where frames are made: one is written before the next one is made. */
  readonly #scratch = new Scratch(raftRecordBytesMax);
  /** Set while something may stand behind the last good frame. */
  #isTorn = false;
  /** Why nothing may be written any more. */
  #broken: unknown;
  #work: Promise<unknown> = Promise.resolve();
  /** Removal of old segments, which nobody waits for. */
  #removal: Promise<unknown> = Promise.resolve();

  constructor(
    files: LogFiles,
    found: FoundLog,
    options: LogDatabaseOptions & { readonly onStalled: StalledListener },
  ) {
    this.#files = files;
    this.#onStalled = options.onStalled;
    this.#segmentBytesMax = options.segmentBytesMax ?? raftSegmentBytesMax;
    this.#retryMs = options.retryMs ?? diskFullRetryMs;
    this.#index = found.index;
    this.#segments = found.segments;
    this.#active = lastOf(found.segments);
    this.#file = found.file;
    this.#chain = found.chain;
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return getFrom(this.#files, this.#index, key);
  }

  range(from: string, to: string): AsyncIterable<readonly [string, Uint8Array]> {
    return rangeFrom(this.#files, this.#index, { from, to });
  }

  batch(operations: readonly LogOperation[], sync: boolean): Promise<void> {
    // Records are not kept in memory, so one that is new is written at once.
    const mustWrite =
      sync || operations.some(({ type, key }) => type === "put" && isRecordKey(key));
    const result = this.#work.then(() => {
      if (this.#broken !== undefined) throw this.#broken;
      return mustWrite ? this.#write(operations) : this.#keep(operations);
    });
    this.#work = result.catch(() => {
      // Told to the caller through `result`.
    });
    return result;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#work;
    if (this.#unsynced.size > 0 && this.#broken === undefined) {
      await this.#write([]).catch(() => {
        // Whoever wrote it without a sync can do without it.
      });
    }
    this.#broken ??= new ClusterError("unavailable", "the raft log is closed");
    await this.#removal;
    await this.#file.close();
    await this.#files.close();
  }

  #keep(operations: readonly LogOperation[]): void {
    for (const operation of operations) {
      this.#unsynced.set(operation.key, operation);
      if (operation.type === "del") this.#index.remove(operation.key);
      else this.#index.putSmall(operation.key, operation.value);
    }
  }

  async #write(operations: readonly LogOperation[]): Promise<void> {
    let stalled = false;
    for (;;) {
      try {
        await this.#append(operations);
        if (stalled) this.#onStalled(undefined);
        return;
      } catch (cause) {
        if (!isDiskFull(cause)) {
          const text = `the raft log cannot be written: ${errorText(cause)}`;
          this.#broken = new ClusterError("internal", text, { cause });
          throw this.#broken;
        }
        if (!this.#closing.signal.aborted) {
          stalled = true;
          this.#onStalled(errorText(cause));
          await pause(this.#retryMs, this.#closing.signal);
        }
        if (this.#closing.signal.aborted) {
          const text = "the raft log was closed before there was room";
          this.#broken = new ClusterError("unavailable", text, { cause });
          throw this.#broken;
        }
      }
    }
  }

  /** Tries once to write a batch and what was not durable before it, as one frame. */
  async #append(operations: readonly LogOperation[]): Promise<void> {
    if (this.#isTorn) {
      await this.#file.cut(this.#active.size);
      this.#isTorn = false;
    }
    if (this.#active.size - this.#active.head >= this.#segmentBytesMax) await this.#roll();
    const all = [...this.#unsynced.values(), ...operations];
    if (all.length === 0) return;
    const at = this.#active.size;
    const frame = encodeFrame("batch", all, { at, chain: this.#chain, scratch: this.#scratch });
    this.#isTorn = true;
    await this.#file.write(frame.bytes, at);
    this.#isTorn = false;
    this.#active.size += frame.bytes.length;
    this.#chain = { ...this.#chain, previous: frame.check };
    this.#unsynced.clear();
    this.#index.apply(all, frame.offsets, this.#active);
  }

  /** Begins the next segment and removes those that are not needed any more. */
  async #roll(): Promise<void> {
    const rescued = await this.#rescued();
    const kept = this.#segments.filter((segment) => segment !== rescued.segment);
    while (kept[0]?.records === 0) kept.shift();
    const deletions = [...this.#unsynced.values()].filter(({ type }) => type === "del");
    const next = await createSegment(this.#files, {
      number: this.#active.number + 1,
      first: kept[0]?.number,
      previous: this.#chain.previous,
      operations: [...deletions, ...this.#index.smallValues(), ...rescued.operations],
    });
    this.#index.apply(
      rescued.operations,
      next.offsets.slice(-rescued.operations.length),
      next.segment,
    );
    this.#unsynced.clear();
    const old = { file: this.#file, segments: this.#segments };
    this.#segments = [...kept, next.segment];
    this.#active = next.segment;
    this.#file = next.file;
    this.#chain = next.chain;
    const spare = old.segments.filter((segment) => !this.#segments.includes(segment));
    this.#removal = this.#removal.then(() => this.#remove(old.file, spare));
  }

  /**
   * The oldest segment, with operations that put its records elsewhere, when too much of the disk is taken by what is no
   * longer in force.
   *
   * Compaction takes records from the front, so the oldest segment is soon free as a rule. Where nothing is compacted because
   * nothing is committed, votes and replaced tails pile up behind records that stay; then these are moved. The disk holds
   * about twice the records in force, and three segments, at most.
   */
  async #rescued(): Promise<{
    readonly segment: Segment | undefined;
    readonly operations: readonly LogOperation[];
  }> {
    const oldest = this.#segments.find((segment) => segment.records > 0);
    const needed = this.#segments.slice(oldest === undefined ? 0 : this.#segments.indexOf(oldest));
    let bytes = 0;
    let inForce = 0;
    for (const segment of needed) {
      bytes += segment.size;
      inForce += segment.recordBytes;
    }
    if (oldest === undefined || bytes <= 2 * inForce + 3 * this.#segmentBytesMax) {
      return { segment: undefined, operations: [] };
    }
    const read = await this.#files.read(segmentName(oldest.number));
    const operations = this.#index.recordsIn(oldest).map(
      ([key, { offset, length }]): LogOperation => ({
        type: "put",
        key,
        value: read.subarray(offset, offset + length),
      }),
    );
    return { segment: oldest, operations };
  }

  async #remove(file: SegmentFile, spare: readonly Segment[]): Promise<void> {
    try {
      await file.close();
      for (const { number } of spare) await this.#files.remove(segmentName(number));
    } catch {
      // The next start removes what is older than the last segment asks for.
    }
  }
}

/** A log that can only be read, up to its damage. */
function damagedLog(files: LogFiles, { damage, index }: DamagedLog): LogDatabase {
  return {
    damage,
    get: (key) => getFrom(files, index, key),
    range: (from, to) => rangeFrom(files, index, { from, to }),
    batch: () => Promise.reject(new ClusterError("internal", damage)),
    close: () => files.close(),
  };
}

async function getFrom(
  files: LogFiles,
  index: LogIndex,
  key: string,
): Promise<Uint8Array | undefined> {
  const place = index.record(key);
  if (place === undefined) return index.small(key);
  const bytes = await files.read(segmentName(place.segment.number));
  return bytes.subarray(place.offset, place.offset + place.length);
}

async function* rangeFrom(
  files: LogFiles,
  index: LogIndex,
  { from, to }: { readonly from: string; readonly to: string },
): AsyncIterable<readonly [string, Uint8Array]> {
  const pairs = [...index.smallBetween(from, to), ...index.recordsBetween(from, to)];
  let read: { readonly segment: Segment; readonly bytes: Uint8Array } | undefined;
  for (const [key, at] of pairs.sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (at instanceof Uint8Array) {
      yield [key, at];
      continue;
    }
    if (read?.segment !== at.segment) {
      const bytes = await files.read(segmentName(at.segment.number));
      read = { segment: at.segment, bytes };
    }
    yield [key, read.bytes.subarray(at.offset, at.offset + at.length)];
  }
}

/** A segment as created, ready to be written on. */
interface CreatedSegment {
  readonly segment: Segment;
  readonly file: SegmentFile;
  readonly chain: Chain;
  readonly offsets: readonly number[];
}

/** Creates a segment whose first frame holds `operations`; durable when resolved. */
async function createSegment(
  files: LogFiles,
  plan: {
    readonly number: number;
    /** The oldest one still needed besides this one. */
    readonly first: number | undefined;
    readonly previous: number;
    readonly operations: readonly LogOperation[];
  },
): Promise<CreatedSegment> {
  const { number, previous } = plan;
  const salt = systemRandom.bytes(8);
  const header = encodeSegmentHeader({ number, first: plan.first ?? number, previous, salt });
  const chain = chainOf(header);
  const place = { at: segmentHeaderBytes, chain };
  const frame = encodeFrame("whole", plan.operations, place);
  const bytes = Buffer.concat([header, frame.bytes]);
  const file = await files.create(segmentName(number), bytes);
  return {
    segment: { number, head: bytes.length, size: bytes.length, records: 0, recordBytes: 0 },
    file,
    chain: { ...chain, previous: frame.check },
    offsets: frame.offsets,
  };
}

async function beginLog(files: LogFiles): Promise<FoundLog> {
  const plan = { number: 1, first: undefined, previous: 0, operations: [] };
  const { segment, file, chain } = await createSegment(files, plan);
  return { index: new LogIndex(), segments: [segment], file, chain };
}

function lastOf(segments: readonly Segment[]): Segment {
  const last = segments.at(-1);
  if (last === undefined) throw new ClusterError("internal", "the raft log has no segment");
  return last;
}

/** Whether an error of the file system says that the device, the quota or the largest file is full. */
function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EFBIG"].includes(codeOf(error) ?? "");
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** Whether a log that could not be opened or read is damaged: only then may it be taken for lost. */
export function isDamage(error: unknown): boolean {
  const others = ["failed-precondition", "resource-exhausted", "unavailable"] as const;
  return !others.some((code) => hasCode(error, code));
}

/** An error at opening, by what can be done about it: only what is damaged may be taken for lost. */
function openingError(error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  const text = `the raft log cannot be opened: ${errorText(error)}`;
  const code = codeOf(error) ?? "";
  if (isDiskFull(error) || ["EMFILE", "ENFILE", "ENOMEM"].includes(code)) {
    return new ClusterError("resource-exhausted", text, { cause: error });
  }
  if (["EACCES", "EPERM", "EROFS"].includes(code)) {
    return new ClusterError("failed-precondition", text, { cause: error });
  }
  return new ClusterError("internal", text, { cause: error });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
