/**
 * Reads a checkpoint back into a state, all of it or nothing.
 */
import {
  CheckpointMeta,
  CheckpointObject,
  StoreClient,
  StoreShared,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Sealer } from "../../src/common/seal/sealer.ts";
import type { Database } from "./checkpoint-files.ts";
import { checkpointFormat, metaKey, Sum } from "./checkpoint-records.ts";
import { sharedDigest, sharedValue } from "./intern.ts";
import { objectOfRecord, placePart } from "./records.ts";
import { State } from "./state.ts";
import { versionOf } from "./tables.ts";

/** What a checkpoint on disk holds, so that the next one can be written as a difference. */
export interface Contents {
  readonly sum: Sum;
  /** Digests of the shared sub-objects. */
  readonly shared: Set<string>;
  /** Index of the last entry with a transaction of a proposer, by its id. */
  readonly clients: Map<number, number>;
}

/** A checkpoint without anything in it. */
export function emptyContents(): Contents {
  return { sum: new Sum(), shared: new Set(), clients: new Map() };
}

/**
 * Loads a checkpoint; `state` is undefined when none was ever finished in this database.
 *
 * @throws ClusterError internal, or an error of the database or of a codec, when it is damaged; unimplemented when a newer
 *   version wrote it.
 */
export async function loadCheckpoint(
  database: Database,
  sealer: Sealer,
  pause: () => Promise<void> | undefined,
): Promise<{ state: State | undefined; contents: Contents }> {
  const loader = new Loader(sealer);
  const sealed = await database.get(metaKey);
  for (const prefix of ["s/", "o/", "c/"]) {
    // "0" is the character after "/".
    const iterator = database.iterator({ gte: prefix, lt: `${prefix.slice(0, -1)}0` });
    try {
      for (;;) {
        const entries = await iterator.nextv(512);
        if (entries.length === 0) break;
        for (const [key, value] of entries) {
          loader.take(key, value);
          await pause();
        }
      }
    } finally {
      await iterator.close();
    }
  }
  return loader.finish(sealed);
}

class Loader {
  readonly #sealer: Sealer;
  readonly #state = new State();
  readonly #contents = emptyContents();
  readonly #shared = new Map<string, object>();

  constructor(sealer: Sealer) {
    this.#sealer = sealer;
  }

  take(key: string, value: Uint8Array): void {
    const bytes = this.#open(key, value);
    if (key.startsWith("s/")) this.#takeShared(key, bytes);
    else if (key.startsWith("o/")) this.#takeObject(key, bytes);
    else this.#takeClient(key, bytes);
  }

  finish(sealed: Uint8Array | undefined): { state: State | undefined; contents: Contents } {
    const { sum } = this.#contents;
    if (sealed === undefined) {
      if (sum.records > 0) throw damaged("the record of the whole is missing");
      return { state: undefined, contents: this.#contents };
    }
    const meta = CheckpointMeta.decode(this.#open(metaKey, sealed));
    if (meta.format !== checkpointFormat) throw tooNew(`format ${meta.format}`);
    if (meta.records !== sum.records) {
      throw damaged(`${sum.records} records instead of ${meta.records}`);
    }
    if (meta.sumLow !== sum.low || meta.sumHigh !== sum.high) {
      throw damaged("some records are of another time");
    }
    this.#state.index = meta.index;
    this.#state.term = meta.term;
    return { state: this.#state, contents: this.#contents };
  }

  #open(key: string, value: Uint8Array): Uint8Array {
    return this.#sealer.open(value, Buffer.from(key));
  }

  #takeShared(key: string, bytes: Uint8Array): void {
    const digest = key.slice(2);
    const value = sharedValue(StoreShared.decode(bytes));
    if (value === undefined) throw tooNew("an unknown kind of shared value");
    if (sharedDigest(bytes) !== digest) throw damaged(`${key} holds something else`);
    this.#shared.set(digest, value);
    this.#contents.shared.add(digest);
    this.#contents.sum.add(key, 1);
  }

  #takeObject(key: string, bytes: Uint8Array): void {
    const { object: record, references } = CheckpointObject.decode(bytes);
    const found = record && objectOfRecord(record);
    if (found === undefined) throw tooNew("an object of an unknown table");
    const { table, object } = found;
    for (const { field, digest } of references) {
      const value = this.#shared.get(digest);
      if (value === undefined) throw damaged(`a shared value of ${key} is missing`);
      if (!placePart(table, object, field, value)) throw tooNew(`an unknown field of ${table}`);
    }
    this.#state.put(table, object);
    this.#contents.sum.add(key, versionOf(object));
  }

  #takeClient(key: string, bytes: Uint8Array): void {
    const client = StoreClient.decode(bytes);
    this.#state.clients.load(client);
    this.#contents.clients.set(client.clientId, client.lastIndex);
    this.#contents.sum.add(key, client.lastIndex);
  }
}

function damaged(reason: string): ClusterError {
  return new ClusterError("internal", reason);
}

function tooNew(what: string): ClusterError {
  return new ClusterError(
    "unimplemented",
    `the checkpoint was written by a newer version of skep (${what}): install that version`,
  );
}
