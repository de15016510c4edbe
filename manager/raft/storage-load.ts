/**
 * Reading a Raft log back: walks the chain of records and compares it with the floor.
 *
 * Used by `storage.ts` at start. What cannot be read, does not follow the record before it, or ends below the floor is a
 * loss; nothing is repaired or deleted here.
 */
import { join } from "node:path";
import {
  RaftHardState,
  RaftLogAnchor,
  RaftLogFormat,
  RaftSnapshotMeta,
} from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import type { Sealer } from "../../src/common/seal/sealer.ts";
import type { Entry, HardState } from "./core/types.ts";
import type { FloorState } from "./floor.ts";
import {
  isDamage,
  type LogDatabase,
  openLogDatabase,
  type StalledListener,
} from "./log-database.ts";
import { chainStart, decodeLogRecord, logFormat, sameBytes } from "./log-record.ts";

/** Where a storage lives and what it needs; `openDatabase` is for tests that make writes fail. */
export interface StorageOptions {
  readonly dir: string;
  readonly clusterId: string;
  readonly keys: DataKeys;
  readonly random: Random;
  readonly onStalled: StalledListener;
  readonly openDatabase?: typeof openLogDatabase;
}

/** One record of the log, as remembered. */
export interface RecordPlace {
  readonly first: number;
  readonly last: number;
  readonly chain: Uint8Array;
}

/** All a storage needs to go on from where it was. */
export interface LoadedLog {
  readonly isNew: boolean;
  /** Why the log is not whole; the rest then is the part that could be read. */
  readonly loss: string | undefined;
  readonly raftId: number;
  readonly anchor: RaftLogAnchor;
  readonly entries: readonly Entry[];
  readonly records: readonly RecordPlace[];
  readonly hardState: HardState;
  readonly config: RaftSnapshotMeta;
  readonly pending: RaftSnapshotMeta | undefined;
}

const emptyLog: LoadedLog = {
  isNew: true,
  loss: undefined,
  raftId: 0,
  anchor: { index: 0, term: 0, chain: chainStart },
  entries: [],
  records: [],
  hardState: { term: 0, vote: 0, commit: 0 },
  config: RaftSnapshotMeta.create({}),
  pending: undefined,
};

/** Key of the record that begins at `index`; keys sort as their indexes do. */
export function recordKey(index: number): string {
  return `e${index.toString(16).padStart(14, "0")}`;
}

/** What binds a sealed value to its key and cluster. */
export function metaAad(options: { readonly clusterId: string }, key: string): Uint8Array {
  return Buffer.from(`${logFormat} ${options.clusterId} ${key}`);
}

/**
 * Opens the database and reads everything.
 *
 * @param name Folder of the database below the storage's.
 * @throws ClusterError failed-precondition for a format, cluster or key this daemon cannot use; resource-exhausted when
 *   there is no room to open the database; unavailable while somebody else has it open.
 */
export async function loadLog(
  options: StorageOptions,
  sealer: Sealer,
  floor: FloorState | undefined,
  name = "log",
): Promise<{ readonly database: LogDatabase | undefined; readonly loaded: LoadedLog }> {
  let database: LogDatabase | undefined;
  try {
    database = await (options.openDatabase ?? openLogDatabase)(
      join(options.dir, name),
      options.onStalled,
    );
    return { database, loaded: await readLog(database, { options, sealer, floor }) };
  } catch (error) {
    if (!isDamage(error)) {
      await database?.close();
      throw error;
    }
    return { database, loaded: { ...emptyLog, isNew: false, loss: errorText(error) } };
  }
}

interface Context {
  readonly options: StorageOptions;
  readonly sealer: Sealer;
  readonly floor: FloorState | undefined;
}

async function readLog(database: LogDatabase, context: Context): Promise<LoadedLog> {
  const { options, floor } = context;
  const formatBytes = await database.get("format");
  if (formatBytes === undefined) return nothingStored(database, floor);
  const format = checkFormat(RaftLogFormat.decode(formatBytes), options.clusterId);
  const hardState = await readMeta(database, context, "hard", RaftHardState);
  const anchor = await readMeta(database, context, "anchor", RaftLogAnchor);
  const config = await readMeta(database, context, "config", RaftSnapshotMeta);
  if (!hardState || !anchor || !config) {
    return {
      ...emptyLog,
      isNew: false,
      raftId: format.raftId,
      loss: database.damage ?? "the raft log has no state",
    };
  }
  const walked = await walkRecords(database, context, anchor);
  const loaded: LoadedLog = {
    isNew: false,
    loss: undefined,
    raftId: format.raftId,
    anchor,
    entries: walked.entries,
    records: walked.records,
    hardState,
    config,
    pending: await readMeta(database, context, "pending", RaftSnapshotMeta),
  };
  return { ...loaded, loss: database.damage ?? walked.damage ?? findLoss(loaded, floor) };
}

function nothingStored(database: LogDatabase, floor: FloorState | undefined): LoadedLog {
  if (database.damage !== undefined) {
    return { ...emptyLog, isNew: false, raftId: floor?.raftId ?? 0, loss: database.damage };
  }
  const begun =
    floor === undefined || (floor.index === 0 && floor.term === 0 && floor.replaces === 0);
  if (begun) return emptyLog;
  return {
    ...emptyLog,
    isNew: false,
    raftId: floor.raftId,
    loss: `the raft log is empty, but reached index ${floor.index}`,
  };
}

function checkFormat(format: RaftLogFormat, clusterId: string): RaftLogFormat {
  if (format.format !== logFormat) {
    throw new ClusterError(
      "failed-precondition",
      `the raft log has format ${format.format}, this version knows ${logFormat}`,
    );
  }
  if (format.clusterId !== clusterId) {
    throw new ClusterError(
      "failed-precondition",
      `the raft log is of cluster ${format.clusterId}, not of ${clusterId}`,
    );
  }
  return format;
}

async function readMeta<T>(
  database: LogDatabase,
  context: Context,
  key: string,
  codec: { decode(bytes: Uint8Array): T },
): Promise<T | undefined> {
  const sealed = await database.get(key);
  if (sealed === undefined) return undefined;
  return codec.decode(context.sealer.open(sealed, metaAad(context.options, key)));
}

async function walkRecords(
  database: LogDatabase,
  context: Context,
  anchor: RaftLogAnchor,
): Promise<{ entries: Entry[]; records: RecordPlace[]; damage: string | undefined }> {
  const entries: Entry[] = [];
  const records: RecordPlace[] = [];
  let { index, chain } = anchor;
  try {
    for await (const [key, value] of database.range("e", "f")) {
      if (key !== recordKey(index + 1)) {
        return { entries, records, damage: `the raft log has a hole after index ${index}` };
      }
      const record = decodeLogRecord(value, {
        clusterId: context.options.clusterId,
        firstIndex: index + 1,
        chain,
        sealer: context.sealer,
      });
      for (const entry of record.entries) entries.push(entry);
      chain = record.chain;
      records.push({ first: index + 1, last: index + record.entries.length, chain });
      index += record.entries.length;
    }
  } catch (error) {
    if (hasCode(error, "failed-precondition")) throw error;
    const damage = `the raft log is damaged after index ${index}: ${errorText(error)}`;
    return { entries, records, damage };
  }
  return { entries, records, damage: undefined };
}

/** Compares what was read with the floor and with itself. */
function findLoss(loaded: LoadedLog, floor: FloorState | undefined): string | undefined {
  const last = loaded.anchor.index + loaded.entries.length;
  if (floor === undefined) return "the floor file of the raft log is missing or damaged";
  if (floor.raftId !== loaded.raftId) return "the raft log was being replaced";
  const { term, vote, commit } = loaded.hardState;
  if (floor.term > term || (floor.term === term && floor.vote !== 0 && floor.vote !== vote)) {
    return `the raft log forgot its vote in term ${floor.term}`;
  }
  if (floor.index > last) return `the raft log ends at index ${last}, but reached ${floor.index}`;
  if (floor.index > loaded.anchor.index) {
    const record = loaded.records.find((r) => r.last === floor.index);
    if (record === undefined || !sameBytes(record.chain, floor.chain)) {
      return `the raft log is not what it was at index ${floor.index}`;
    }
  }
  if (commit > last || loaded.config.index > last) {
    return `the raft log ends at index ${last}, but was committed up to ${Math.max(commit, loaded.config.index)}`;
  }
  return undefined;
}
