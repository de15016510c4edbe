/**
 * Keeps equal sub-objects once: the task spec of a service's version is one object however many tasks have it.
 *
 * This is where a million tasks fit into memory. Values are found by the SHA-256 of their encoding, counted by the
 * objects that hold them, and forgotten with the last one. The digest is also the key under which the checkpoint keeps
 * a value once.
 */
import { createHash } from "node:crypto";
import { StoreShared } from "../../src/common/api/generated/api.ts";

/** Which member of StoreShared a value is. */
export type SharedKind = keyof StoreShared;

interface Entry {
  readonly digest: string;
  readonly kind: SharedKind;
  readonly value: object;
  count: number;
}

/** Values in use, counted. */
export class Interner {
  readonly #byDigest = new Map<string, Entry>();
  readonly #byValue = new Map<object, Entry>();
  /** Further instances of a value that were met lately, so that two hundred tasks of one entry hash it once. */
  readonly #aliases = new WeakMap<object, string>();
  /** Called when a value is held for the first time and when the last holder is gone. */
  onChange: ((digest: string) => void) | undefined;

  /** Holds the value once more and returns the one instance of it. */
  acquire(kind: SharedKind, value: object): object {
    const known = this.#byValue.get(value);
    if (known !== undefined) {
      known.count++;
      return value;
    }
    let digest = this.#aliases.get(value);
    if (digest === undefined) {
      digest = sharedDigest(encodeShared(kind, value));
      this.#aliases.set(value, digest);
    }
    const entry = this.#byDigest.get(digest);
    if (entry !== undefined) {
      entry.count++;
      return entry.value;
    }
    const fresh = { digest, kind, value, count: 1 };
    this.#byDigest.set(digest, fresh);
    this.#byValue.set(value, fresh);
    this.onChange?.(digest);
    return value;
  }

  /** Gives up one hold of a value that `acquire` returned. */
  release(value: object): void {
    const entry = this.#byValue.get(value);
    if (entry === undefined) return;
    entry.count--;
    if (entry.count > 0) return;
    this.#byDigest.delete(entry.digest);
    this.#byValue.delete(value);
    this.onChange?.(entry.digest);
  }

  /** Whether anything holds a value with this digest. */
  has(digest: string): boolean {
    return this.#byDigest.has(digest);
  }

  get size(): number {
    return this.#byDigest.size;
  }
}

/** Bytes of a shared value. */
export function encodeShared(kind: SharedKind, value: object): Uint8Array {
  return StoreShared.encode(StoreShared.create({ [kind]: value }));
}

/** The name of a shared value: SHA-256 of its bytes, base64url. */
export function sharedDigest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("base64url");
}

/** The value within a decoded StoreShared; undefined when it is of a kind this version does not know. */
export function sharedValue(shared: StoreShared): object | undefined {
  return shared.taskSpec ?? shared.endpoint ?? shared.annotations ?? shared.driver;
}
