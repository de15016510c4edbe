/**
 * What the checkpoint keeps under which key, and the sum that tells whether all of it is there.
 *
 * Keys: `m` the checkpoint as a whole, `o/<table>/<id>` objects, `s/<digest>` shared sub-objects, `c/<id>` proposers.
 * Every value is sealed with its key as associated data, so none can stand in another's place. LevelDB may lose parts
 * of a damaged database without a word; the count and a sum over key and version of every record, kept in `m`, tell.
 */
import {
  CheckpointObject,
  CheckpointReference,
  type StoreClient,
} from "../../src/common/api/generated/api.ts";
import { encodeShared, sharedDigest } from "./intern.ts";
import { splitObject } from "./records.ts";
import { type AnyObject, type TableKey, tableKeys } from "./tables.ts";

/** Format of the checkpoint this version writes, and the newest it reads. */
export const checkpointFormat = 1;

/** Key of the record of the whole. */
export const metaKey = "m";

/** Key of an object. */
export function objectKey(table: TableKey, id: string): string {
  return `o/${tableKeys.indexOf(table) + 1}/${id}`;
}

/** Key of a shared sub-object. */
export function sharedKey(digest: string): string {
  return `s/${digest}`;
}

/** Key of a proposer's record. */
export function clientKey(id: StoreClient["clientId"]): string {
  return `c/${id}`;
}

/** Digests of shared sub-objects by instance: each is encoded once, not once per object that has it. */
export class Digests {
  readonly #known = new WeakMap<object, string>();

  /** The object's record, and the shared sub-objects it refers to that `isNew` does not know yet. */
  record(
    table: TableKey,
    object: AnyObject,
    isNew: (digest: string) => boolean,
  ): { bytes: Uint8Array; shared: readonly { digest: string; bytes: Uint8Array }[] } {
    const { record, parts } = splitObject(table, object);
    const shared: { digest: string; bytes: Uint8Array }[] = [];
    const references = parts.map(({ field, kind, value }) => {
      let digest = this.#known.get(value);
      let bytes: Uint8Array | undefined;
      if (digest === undefined) {
        bytes = encodeShared(kind, value);
        digest = sharedDigest(bytes);
        this.#known.set(value, digest);
      }
      if (isNew(digest)) shared.push({ digest, bytes: bytes ?? encodeShared(kind, value) });
      return CheckpointReference.create({ field, digest });
    });
    const bytes = CheckpointObject.encode(CheckpointObject.create({ object: record, references }));
    return { bytes, shared };
  }
}

/** Count and sum of records. Finds loss and stale records; forgery is the seal's matter. */
export class Sum {
  records = 0;
  low = 0;
  high = 0;

  add(key: string, version: number): void {
    this.records++;
    this.#toggle(key, version);
  }

  remove(key: string, version: number): void {
    this.records--;
    this.#toggle(key, version);
  }

  copy(): Sum {
    const copy = new Sum();
    copy.records = this.records;
    copy.low = this.low;
    copy.high = this.high;
    return copy;
  }

  /** Exclusive or, so that the order does not matter and a record can be taken out again. */
  #toggle(key: string, version: number): void {
    let a = Math.imul((version >>> 0) ^ 0x9e3779b9, 0x85ebca6b);
    let b = Math.imul(Math.floor(version / 2 ** 32) ^ a, 0xc2b2ae35);
    for (let at = 0; at < key.length; at++) {
      const code = key.charCodeAt(at);
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ (code + at), 0x5bd1e995) ^ (b >>> 15);
    }
    this.low = (this.low ^ mix(a)) >>> 0;
    this.high = (this.high ^ mix(b ^ (a >>> 7))) >>> 0;
  }
}

function mix(value: number): number {
  const x = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  const y = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return y ^ (y >>> 16);
}
