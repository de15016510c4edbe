/**
 * The durable side of a Raft member: log, hard state, configuration and floor, in `<data>/raft/{log,floor}`.
 *
 * `raft-node.ts` hands over what the core wants persisted; one call of `write` is one atomic synced batch. Opening walks
 * the whole chain of records and compares it with the floor; anything missing is reported as a loss, which
 * `recovery.ts` decides about. All work on the database runs one piece after the other.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  RaftHardState,
  RaftLogAnchor,
  RaftLogFormat,
  RaftSnapshotMeta,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  raftCompactEntriesMin,
  raftRecordBytesMax,
  raftTailBytesMax,
  raftTailEntries,
} from "../../src/common/limits/limits.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import { type KeyRingSealer, newSealer } from "../../src/common/seal/sealer.ts";
import type { Entry, HardState, Snapshot } from "./core/types.ts";
import { emptyConfState, entrySize } from "./core/types.ts";
import { Floor } from "./floor.ts";
import { type LogDatabase, type LogOperation, openLogDatabase } from "./log-database.ts";
import { chainStart, encodeLogRecord, logFormat, sameBytes } from "./log-record.ts";
import { finishSwap, lostLogName, putInPlace, writeAside } from "./log-swap.ts";
import { LogTail } from "./log-tail.ts";
import {
  type LoadedLog,
  loadLog,
  metaAad,
  type RecordPlace,
  recordKey,
  type StorageOptions,
} from "./storage-load.ts";

/** What one batch makes durable. A snapshot replaces the log; entries replace what is there from their first index on. */
export interface LogWrite {
  readonly entries: readonly Entry[];
  readonly hardState?: HardState | undefined;
  readonly config?: RaftSnapshotMeta | undefined;
  readonly snapshot?: { readonly index: number; readonly term: number } | undefined;
}

/** The beginning of a new log: for the first member of a cluster, a joiner, or one that starts over. */
export interface LogBeginning {
  readonly raftId: number;
  /** Set when the member had another id before and asks the others to be taken in under this one. */
  readonly replaces: number;
  readonly anchor: { readonly index: number; readonly term: number };
  readonly hardState: HardState;
  readonly config: RaftSnapshotMeta;
  /** What follows the anchor already. */
  readonly entries?: readonly Entry[];
}

/** The open storage of one member. */
export class RaftStorage {
  readonly #options: StorageOptions;
  readonly #sealer: KeyRingSealer;
  readonly #floor: Floor;
  readonly #stall: { readonly now: boolean };
  #database: LogDatabase | undefined;
  /** Set once a write failed: nobody knows what is on the disk then, so nothing older may be written over it. */
  #isBroken = false;
  #loaded: LoadedLog;
  #tail: LogTail;
  #records: RecordPlace[];
  #anchorChain: Uint8Array;
  #hardState: HardState;
  #writtenCommit: number;
  #work: Promise<unknown> = Promise.resolve();
  #snapshotSource: () => Snapshot | undefined = () => undefined;

  private constructor(
    options: StorageOptions,
    parts: {
      sealer: KeyRingSealer;
      floor: Floor;
      database: LogDatabase | undefined;
      stall: { readonly now: boolean };
    },
    loaded: LoadedLog,
  ) {
    this.#options = options;
    this.#sealer = parts.sealer;
    this.#floor = parts.floor;
    this.#stall = parts.stall;
    this.#database = parts.database;
    // The tail holds the entries from here on; keeping them twice would keep compacted ones alive.
    this.#loaded = { ...loaded, entries: [], records: [] };
    this.#records = [...loaded.records];
    this.#anchorChain = loaded.anchor.chain;
    this.#hardState = loaded.hardState;
    this.#writtenCommit = loaded.hardState.commit;
    this.#tail = this.#newTail(loaded);
  }

  /**
   * Opens the storage; a log that is damaged or shorter than it was shows in `loss`.
   *
   * @throws ClusterError failed-precondition for a format, cluster or key this daemon cannot use; resource-exhausted
   *   when the disk is too full to open the database.
   */
  static async open(options: StorageOptions): Promise<RaftStorage> {
    const sealer = newSealer({ keys: options.keys, label: "raft log", random: options.random });
    await mkdir(options.dir, { recursive: true, mode: 0o700 });
    const floor = await Floor.open(join(options.dir, "floor"));
    const stall = { now: false };
    const watched: StorageOptions = {
      ...options,
      onStalled: (reason) => {
        stall.now = reason !== undefined;
        options.onStalled(reason);
      },
    };
    try {
      await finishSwap(watched, floor.state);
      const { database, loaded } = await loadLog(watched, sealer, floor.state);
      return new RaftStorage(watched, { sealer, floor, database, stall }, loaded);
    } catch (error) {
      await floor.close();
      throw error;
    }
  }

  /** Whether nothing was ever stored here. */
  get isNew(): boolean {
    return this.#loaded.isNew;
  }

  /** Why the log is not what it was when it was last written, `undefined` when it is whole. */
  get loss(): string | undefined {
    return this.#loaded.loss;
  }

  /** The member this log belongs to; 0 when new. */
  get raftId(): number {
    return this.#floor.state?.raftId ?? this.#loaded.raftId;
  }

  /** The id this member had before it lost its log and until the others have replaced it; 0 otherwise. */
  get replaces(): number {
    return this.#floor.state?.replaces ?? 0;
  }

  /** The configuration as stored, valid as of its index. */
  get config(): RaftSnapshotMeta {
    return this.#loaded.config;
  }

  /** A snapshot whose installation by the state machine had begun. */
  get pendingSnapshot(): RaftSnapshotMeta | undefined {
    return this.#loaded.pending;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  /** What the core reads. */
  get tail(): LogTail {
    return this.#tail;
  }

  /** The highest term this member is known to have been in, whatever was lost of the log. */
  get termSeen(): number {
    const { tail } = this;
    const last = tail.term(tail.lastIndex()) ?? 0;
    return Math.max(this.#hardState.term, this.#floor.state?.term ?? 0, last);
  }

  /** What can be read of the log that was set aside when this one was begun; nothing when there is none. */
  readLost(): Promise<LogTail> {
    return this.#exclusive(async () => {
      if (!existsSync(join(this.#options.dir, lostLogName))) return this.#tail;
      const { database, loaded } = await loadLog(
        this.#options,
        this.#sealer,
        undefined,
        lostLogName,
      );
      await database?.close();
      return this.#newTail(loaded);
    });
  }

  /** Says which snapshot could be sent; asked by the core. */
  setSnapshotSource(source: () => Snapshot | undefined): void {
    this.#snapshotSource = source;
  }

  /** Makes `write` durable, then shows it in the tail. How far is committed is kept until `settle` or a write without entries. */
  write(write: LogWrite): Promise<void> {
    return this.#exclusive(() => this.#write(write));
  }

  /** Brings the floor and the commit index up to date; called once a period and before a stop. */
  settle(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#isBroken) return;
      if (this.#hardState.commit > this.#writtenCommit) {
        this.#writtenCommit = this.#hardState.commit;
        await this.#db().batch([this.#putHardState(this.#hardState)], false);
      }
      const { index, chain } = this.#end();
      const state = this.#floor.state;
      if (state?.index !== index || !sameBytes(state.chain, chain))
        await this.#writeFloor(index, chain);
    });
  }

  /**
   * Deletes whole records up to `index` less the tail kept for slow peers.
   *
   * @param config The configuration as of an applied index that is not below `index`.
   */
  compact(index: number, config: RaftSnapshotMeta): Promise<void> {
    return this.#exclusive(() => this.#compact(index, config));
  }

  /** Notes that the state machine is about to replace its state, so that a crash in between is understood. */
  notePendingSnapshot(meta: RaftSnapshotMeta | undefined): Promise<void> {
    return this.#exclusive(async () => {
      const operation: LogOperation =
        meta === undefined
          ? { type: "del", key: "pending" }
          : this.#put("pending", RaftSnapshotMeta.encode(meta));
      await this.#db().batch([operation], true);
    });
  }

  /** Begins another log in the place of this one, all or nothing; the old database stays as `log.lost`. */
  begin(beginning: LogBeginning): Promise<void> {
    return this.#exclusive(() => this.#begin(beginning));
  }

  /** Says that the group knows this member under its new id. */
  endReplacement(): Promise<void> {
    return this.#exclusive(async () => {
      const { index, chain } = this.#end();
      await this.#writeFloor(index, chain, { replaces: 0 });
    });
  }

  /** Seals everything anew under the current key of `keys`; resolves when no value names another key. */
  rotateKeys(keys: DataKeys): Promise<void> {
    return this.#exclusive(() => this.#reseal(keys));
  }

  /** Waits for what is under way, settles and closes. */
  async close(): Promise<void> {
    const whole = this.#database !== undefined && !this.isNew && this.loss === undefined;
    if (whole && !this.#stall.now) {
      await this.settle().catch(() => {
        // The device may have filled up or gone; the floor is then merely older than it could be.
      });
    }
    await this.#database?.close();
    await this.#work.catch(() => {
      // Told to whoever asked for that work.
    });
    await this.#floor.close();
  }

  async #write(write: LogWrite): Promise<void> {
    const before = this.#hardState;
    const hard = write.hardState ?? before;
    const voteChanged = hard.term !== before.term || hard.vote !== before.vote;
    if (write.entries.length === 0 && !voteChanged && !write.snapshot && !write.config) {
      this.#hardState = hard;
      return;
    }
    const operations: LogOperation[] = [];
    // How far is committed is found again, and sealing it costs as much as sealing a small entry: with entries alone it is
    // left to `settle`.
    const putsHard = voteChanged || write.entries.length === 0 || write.snapshot !== undefined;
    if (putsHard) operations.push(this.#putHardState(hard));
    if (write.config) operations.push(this.#put("config", RaftSnapshotMeta.encode(write.config)));
    const after = write.snapshot
      ? await this.#restoreOperations(write.snapshot, operations)
      : { records: this.#records, anchorChain: this.#anchorChain };
    const { kept, added } = await this.#appendOperations(write.entries, after, operations);
    await this.#db()
      .batch(operations, true)
      .catch((error: unknown) => {
        this.#isBroken = true;
        throw error;
      });
    this.#hardState = hard;
    if (putsHard) this.#writtenCommit = hard.commit;
    // In its place: there are thousands, and most writes add one.
    after.records.splice(kept, Number.POSITIVE_INFINITY, ...added);
    this.#records = after.records;
    this.#anchorChain = after.anchorChain;
    if (write.config) this.#loaded = { ...this.#loaded, config: write.config };
    if (write.snapshot) this.#tail.restore(write.snapshot);
    this.#tail.append(write.entries);
    if (voteChanged) await this.#writeFloor(this.#end().index, this.#end().chain);
  }

  async #restoreOperations(
    snapshot: { readonly index: number; readonly term: number },
    operations: LogOperation[],
  ): Promise<{ records: RecordPlace[]; anchorChain: Uint8Array }> {
    await this.#lowerFloor(this.#tail.firstIndex() - 1);
    for (const record of this.#records)
      operations.push({ type: "del", key: recordKey(record.first) });
    operations.push({ type: "del", key: "pending" });
    const anchorChain = newChain(snapshot);
    operations.push(this.#putAnchor({ ...snapshot, chain: anchorChain }));
    return { records: [], anchorChain };
  }

  /** Adds the records of `entries` to the batch, cutting back records they overlap; says how many stay and which come. */
  async #appendOperations(
    entries: readonly Entry[],
    before: { readonly records: RecordPlace[]; readonly anchorChain: Uint8Array },
    operations: LogOperation[],
  ): Promise<{ readonly kept: number; readonly added: readonly RecordPlace[] }> {
    const first = entries[0];
    if (first === undefined) return { kept: before.records.length, added: [] };
    let kept = before.records.length;
    while (kept > 0 && (before.records[kept - 1]?.last ?? 0) >= first.index) kept--;
    const overlapped = before.records.slice(kept);
    const last = before.records[kept - 1];
    if (overlapped.length > 0) await this.#lowerFloor(last?.last ?? this.#anchorIndex());
    for (const record of overlapped) operations.push({ type: "del", key: recordKey(record.first) });
    const left = this.#entriesBetween(overlapped[0]?.first ?? first.index, first.index);
    const added: RecordPlace[] = [];
    for (const group of splitEntries([...left, ...entries])) {
      const chain = (added.at(-1) ?? last)?.chain ?? before.anchorChain;
      added.push(this.#putRecord(group, chain, operations));
    }
    return { kept, added };
  }

  #putRecord(
    entries: readonly Entry[],
    chain: Uint8Array,
    operations: LogOperation[],
  ): RecordPlace {
    const first = entries[0]?.index ?? 0;
    const context = { clusterId: this.#options.clusterId, chain, sealer: this.#sealer };
    const record = encodeLogRecord(entries, context);
    operations.push({ type: "put", key: recordKey(first), value: record.value });
    return { first, last: first + entries.length - 1, chain: record.chain };
  }

  async #compact(index: number, config: RaftSnapshotMeta): Promise<void> {
    if (this.#isBroken) return;
    const target = this.#compactTarget(index);
    let count = 0;
    while ((this.#records[count]?.last ?? Number.POSITIVE_INFINITY) <= target) count++;
    const last = this.#records[count - 1];
    if (last === undefined || last.last - this.#anchorIndex() < raftCompactEntriesMin) return;
    const term = this.#tail.term(last.last);
    assert(term !== undefined && config.index >= last.last);
    const operations: LogOperation[] = this.#records
      .slice(0, count)
      .map((record) => ({ type: "del", key: recordKey(record.first) }));
    operations.push(this.#putAnchor({ index: last.last, term, chain: last.chain }));
    operations.push(this.#put("config", RaftSnapshotMeta.encode(config)));
    // Not synced: if it is lost, the longer log is still there.
    await this.#db().batch(operations, false);
    this.#records = this.#records.slice(count);
    this.#anchorChain = last.chain;
    this.#tail.compact(last.last);
  }

  #compactTarget(index: number): number {
    let target = Math.min(index, this.#tail.lastIndex()) - raftTailEntries;
    let bytes = 0;
    for (let at = Math.min(index, this.#tail.lastIndex()); at > target && at > 0; at--) {
      const entry = this.#tail.entry(at);
      if (entry === undefined) break;
      bytes += entrySize(entry);
      if (bytes > raftTailBytesMax) target = at;
    }
    return target;
  }

  async #begin(beginning: LogBeginning): Promise<void> {
    const { dir, clusterId, onStalled } = this.#options;
    const { raftId, replaces } = beginning;
    const anchor = { ...beginning.anchor, chain: newChain(beginning.anchor) };
    const format = RaftLogFormat.encode({ format: logFormat, clusterId, raftId });
    const operations: LogOperation[] = [
      { type: "put", key: "format", value: format },
      this.#putHardState(beginning.hardState),
      this.#put("config", RaftSnapshotMeta.encode(beginning.config)),
      this.#putAnchor(anchor),
    ];
    const records: RecordPlace[] = [];
    for (const group of splitEntries(beginning.entries ?? [])) {
      records.push(this.#putRecord(group, records.at(-1)?.chain ?? anchor.chain, operations));
    }
    await writeAside(this.#options, operations);
    // One that was begun anew and never got anything would only push out the log it took the place of.
    const isEmpty = this.replaces !== 0 && this.#tail.lastIndex() === 0;
    const keep = !this.#loaded.isNew && !isEmpty;
    // From here on the new log counts.
    const nothing = { index: 0, chain: chainStart, term: 0, vote: 0 };
    await this.#floor.write({ clusterId, raftId, replaces, ...nothing });
    await this.#database?.close();
    this.#database = undefined;
    await putInPlace(dir, keep);
    this.#database = await (this.#options.openDatabase ?? openLogDatabase)(
      join(dir, "log"),
      onStalled,
    );
    this.#isBroken = false;
    this.#adopt({
      isNew: false,
      loss: undefined,
      raftId,
      anchor,
      entries: beginning.entries ?? [],
      records,
      hardState: beginning.hardState,
      config: beginning.config,
      pending: undefined,
    });
    await this.#writeFloor(this.#end().index, this.#end().chain);
  }

  #adopt(loaded: LoadedLog): void {
    this.#loaded = loaded;
    this.#records = [...loaded.records];
    this.#anchorChain = loaded.anchor.chain;
    this.#hardState = loaded.hardState;
    this.#writtenCommit = loaded.hardState.commit;
    this.#tail = this.#newTail(loaded);
  }

  #newTail(loaded: LoadedLog): LogTail {
    return new LogTail(
      {
        anchor: loaded.anchor,
        entries: loaded.entries,
        hardState: loaded.hardState,
        confState: loaded.config.confState ?? emptyConfState,
      },
      () => this.#snapshotSource(),
    );
  }

  async #reseal(keys: DataKeys): Promise<void> {
    this.#sealer.rotate(keys);
    const pending = await this.#db().get("pending");
    const config = await this.#db().get("config");
    await this.#lowerFloor(this.#anchorIndex());
    const operations: LogOperation[] = [];
    for (const record of this.#records)
      operations.push({ type: "del", key: recordKey(record.first) });
    const records: RecordPlace[] = [];
    const all = this.#entriesBetween(this.#tail.firstIndex(), this.#tail.lastIndex() + 1);
    for (const group of splitEntries(all)) {
      records.push(this.#putRecord(group, records.at(-1)?.chain ?? this.#anchorChain, operations));
    }
    operations.push(this.#putHardState(this.#hardState));
    const term = this.#tail.term(this.#anchorIndex()) ?? 0;
    operations.push(
      this.#putAnchor({ index: this.#anchorIndex(), term, chain: this.#anchorChain }),
    );
    for (const [key, value] of [["config", config] as const, ["pending", pending] as const]) {
      if (value)
        operations.push(this.#put(key, this.#sealer.open(value, metaAad(this.#options, key))));
    }
    await this.#db().batch(operations, true);
    this.#records = records;
  }

  #anchorIndex(): number {
    return this.#tail.firstIndex() - 1;
  }

  /** Where the durable log ends: always the end of a record. */
  #end(): { index: number; chain: Uint8Array } {
    const last = this.#records.at(-1);
    return last === undefined
      ? { index: this.#anchorIndex(), chain: this.#anchorChain }
      : { index: last.last, chain: last.chain };
  }

  #entriesBetween(lo: number, hi: number): readonly Entry[] {
    return hi > lo ? (this.#tail.entries(lo, hi, Number.POSITIVE_INFINITY) ?? []) : [];
  }

  /** Takes the floor back to the record that ends at or before `index`, ahead of a write that cuts the log there. */
  async #lowerFloor(index: number): Promise<void> {
    if ((this.#floor.state?.index ?? 0) <= index) return;
    const record = this.#records.findLast((r) => r.last <= index);
    await this.#writeFloor(record?.last ?? this.#anchorIndex(), record?.chain ?? this.#anchorChain);
  }

  async #writeFloor(
    index: number,
    chain: Uint8Array,
    change: { replaces?: number } = {},
  ): Promise<void> {
    await this.#floor.write({
      clusterId: this.#options.clusterId,
      raftId: this.raftId,
      index,
      chain,
      term: this.#hardState.term,
      vote: this.#hardState.vote,
      replaces: change.replaces ?? this.replaces,
    });
  }

  #putHardState(state: HardState): LogOperation {
    return this.#put("hard", RaftHardState.encode(state));
  }

  #putAnchor(anchor: RaftLogAnchor): LogOperation {
    return this.#put("anchor", RaftLogAnchor.encode(anchor));
  }

  #put(key: string, plain: Uint8Array): LogOperation {
    return { type: "put", key, value: this.#sealer.seal(plain, metaAad(this.#options, key)) };
  }

  #db(): LogDatabase {
    if (this.#database === undefined) {
      throw new ClusterError("internal", "the raft log is damaged and was not begun anew");
    }
    return this.#database;
  }

  #exclusive<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#work.then(job);
    this.#work = result.catch(() => {
      // Told to the caller through `result`; the next piece of work is not to be held up by it.
    });
    return result;
  }
}

/** Groups entries into records that are not too large. */
function splitEntries(entries: readonly Entry[]): Entry[][] {
  const groups: Entry[][] = [];
  let bytes = 0;
  for (const entry of entries) {
    const group = groups.at(-1);
    bytes += entrySize(entry);
    if (group === undefined || bytes > raftRecordBytesMax) {
      groups.push([entry]);
      bytes = entrySize(entry);
    } else group.push(entry);
  }
  return groups;
}

function newChain(anchor: { readonly index: number; readonly term: number }): Uint8Array {
  return createHash("sha256").update(`skep raft anchor ${anchor.index} ${anchor.term}`).digest();
}
