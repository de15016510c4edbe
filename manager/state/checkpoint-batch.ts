/**
 * One batch of a checkpoint: sealed records, and the account of what the checkpoint holds with them.
 */
import { CheckpointMeta, StoreClient } from "../../src/common/api/generated/api.ts";
import type { Sealer } from "../../src/common/seal/sealer.ts";
import type { Database } from "./checkpoint-files.ts";
import type { Contents } from "./checkpoint-load.ts";
import {
  checkpointFormat,
  clientKey,
  type Digests,
  metaKey,
  objectKey,
  sharedKey,
} from "./checkpoint-records.ts";
import { type AnyObject, type TableKey, versionOf } from "./tables.ts";

/** Sealed writes that become durable together, and what the checkpoint holds with them. */
export class CheckpointBatch {
  readonly #chained: ReturnType<Database["batch"]>;
  readonly #contents: Contents;
  readonly #sealer: Sealer;
  readonly #digests: Digests;
  bytes = 0;

  constructor(database: Database, contents: Contents, sealer: Sealer, digests: Digests) {
    this.#chained = database.batch();
    this.#contents = contents;
    this.#sealer = sealer;
    this.#digests = digests;
  }

  replaceObject(
    table: TableKey,
    id: string,
    versionBefore: number,
    object: AnyObject | undefined,
  ): void {
    const { sum, shared } = this.#contents;
    const key = objectKey(table, id);
    if (versionBefore !== 0) sum.remove(key, versionBefore);
    if (object === undefined) {
      this.#chained.del(key);
      return;
    }
    const record = this.#digests.record(table, object, (digest) => !shared.has(digest));
    for (const { digest, bytes } of record.shared) {
      if (shared.has(digest)) continue;
      shared.add(digest);
      sum.add(sharedKey(digest), 1);
      this.#put(sharedKey(digest), bytes);
    }
    sum.add(key, versionOf(object));
    this.#put(key, record.bytes);
  }

  removeShared(digest: string): void {
    if (!this.#contents.shared.delete(digest)) return;
    this.#contents.sum.remove(sharedKey(digest), 1);
    this.#chained.del(sharedKey(digest));
  }

  replaceClient(id: number, bytes: Uint8Array | undefined): void {
    const { sum, clients } = this.#contents;
    const key = clientKey(id);
    const before = clients.get(id);
    if (before !== undefined) sum.remove(key, before);
    clients.delete(id);
    if (bytes === undefined) {
      this.#chained.del(key);
      return;
    }
    const { lastIndex } = StoreClient.decode(bytes);
    clients.set(id, lastIndex);
    sum.add(key, lastIndex);
    this.#put(key, bytes);
  }

  putMeta(index: number, term: number): void {
    const { records, low: sumLow, high: sumHigh } = this.#contents.sum;
    const format = checkpointFormat;
    const meta = CheckpointMeta.create({ format, index, term, records, sumLow, sumHigh });
    this.#put(metaKey, CheckpointMeta.encode(meta));
  }

  /** Durable once it resolves. */
  write(): Promise<void> {
    return this.#chained.write({ sync: true });
  }

  /** Gives the batch up if it was not written. */
  close(): Promise<void> {
    return this.#chained.close();
  }

  #put(key: string, plain: Uint8Array): void {
    const sealed = this.#sealer.seal(plain, Buffer.from(key));
    this.bytes += sealed.length + key.length;
    this.#chained.put(key, sealed);
  }
}
