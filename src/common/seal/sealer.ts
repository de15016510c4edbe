/**
 * Seals values at rest with AES-256-GCM, so that a disk that is lost or sold tells nothing.
 *
 * Every sealer draws a fresh random salt when it is made (once per open of a file or database) and derives its own key
 * from it: HKDF-SHA256 (RFC 5869) over the data key, with the use as label. Nonces are a counter under that key. A disk
 * image that is restored and opened again therefore never meets the same key and nonce twice, and nothing has to be
 * persisted to be sure of it.
 *
 * A sealed value carries what opening needs: version (1 byte), key id (4), salt (16), counter (6), then the ciphertext
 * and its tag (16). Values of many opens and several data keys may lie side by side in one database.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import { ClusterError } from "../errors/cluster-error.ts";
import type { Random } from "../random/random.ts";
import { type DataKeys, dataKey } from "./data-keys.ts";

/** Seals and opens values; `aad` (what the value is and where it belongs) must be the same for both. */
export interface Sealer {
  seal(plain: Uint8Array, aad: Uint8Array): Uint8Array;
  /** Writes the sealed value, `plain.length + sealOverheadBytes`, at `at`. */
  sealInto(to: Uint8Array, at: number, plain: Uint8Array, aad: Uint8Array): void;
  /** @throws ClusterError internal when the value is damaged, of another place, or names a key that is not there. */
  open(sealed: Uint8Array, aad: Uint8Array): Uint8Array;
}

/** A sealer over a key ring that may change while it is in use. */
export interface KeyRingSealer extends Sealer {
  /** From now on seals with the new ring's current key; opens with any key of the new ring. */
  rotate(keys: DataKeys): void;
}

const formatVersion = 1;
const saltBytes = 16;
const headerBytes = 1 + 4 + saltBytes + 6;
const tagBytes = 16;
/** Bytes a sealed value is longer than the plain one. */
export const sealOverheadBytes = headerBytes + tagBytes;

/** Derived keys remembered for opening: one per open of the database whose values are still there. */
const derivedKeysMax = 256;
/** The counter has 48 bits; GCM itself asks for a new key far earlier than that is reached, at 2^32 values. */
const valuesPerSaltMax = 2 ** 32;

/**
 * A sealer for one use.
 *
 * @param label The use, such as `raft log`; values sealed under one label never open under another.
 * @param random Must be the system's outside tests: the salt is what keeps nonces from repeating.
 */
export function newSealer(options: {
  readonly keys: DataKeys;
  readonly label: string;
  readonly random: Random;
}): KeyRingSealer {
  return new RingSealer(options.keys, options.label, options.random);
}

/** The id of the data key a value was sealed with, so that unused keys can be dropped. */
export function sealedKeyId(sealed: Uint8Array): number {
  checkHeader(sealed);
  return viewOf(sealed).getUint32(1);
}

class RingSealer implements KeyRingSealer {
  readonly #label: string;
  readonly #random: Random;
  readonly #derived = new Map<string, Uint8Array>();
  readonly #nonce = Buffer.alloc(12);
  #keys: DataKeys;
  #header: Buffer;
  #key: Uint8Array;
  #sealed = 0;

  constructor(keys: DataKeys, label: string, random: Random) {
    this.#keys = keys;
    this.#label = label;
    this.#random = random;
    this.#header = freshHeader(keys.currentId, random);
    this.#key = deriveKey(keys, this.#header, label);
  }

  rotate(keys: DataKeys): void {
    this.#keys = keys;
    this.#derived.clear();
    this.#freshKey();
  }

  seal(plain: Uint8Array, aad: Uint8Array): Uint8Array {
    const sealed = Buffer.allocUnsafe(plain.length + sealOverheadBytes);
    this.sealInto(sealed, 0, plain, aad);
    return sealed;
  }

  sealInto(to: Uint8Array, at: number, plain: Uint8Array, aad: Uint8Array): void {
    if (this.#sealed >= valuesPerSaltMax) this.#freshKey();
    this.#sealed++;
    const counterAt = headerBytes - 6;
    this.#header.writeUIntBE(this.#sealed, counterAt, 6);
    this.#header.copy(this.#nonce, 6, counterAt, headerBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#key, this.#nonce);
    cipher.setAAD(aad);
    const body = cipher.update(plain);
    // GCM is a stream mode: `final` adds no bytes, it only completes the tag.
    cipher.final();
    to.set(this.#header, at);
    to.set(body, at + headerBytes);
    to.set(cipher.getAuthTag(), at + headerBytes + body.length);
  }

  open(sealed: Uint8Array, aad: Uint8Array): Uint8Array {
    checkHeader(sealed);
    const key = this.#openingKey(sealed);
    const nonce = Buffer.alloc(12);
    nonce.set(sealed.subarray(headerBytes - 6, headerBytes), 6);
    const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
    decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
    const plain = decipher.update(sealed.subarray(headerBytes, sealed.length - tagBytes));
    try {
      decipher.final();
    } catch (cause) {
      throw new ClusterError("internal", `sealed value is damaged (${this.#label})`, { cause });
    }
    return plain;
  }

  #freshKey(): void {
    this.#header = freshHeader(this.#keys.currentId, this.#random);
    this.#key = deriveKey(this.#keys, this.#header, this.#label);
    this.#sealed = 0;
  }

  #openingKey(sealed: Uint8Array): Uint8Array {
    const name = Buffer.from(sealed.buffer, sealed.byteOffset + 1, 4 + saltBytes).toString(
      "latin1",
    );
    const known = this.#derived.get(name);
    if (known !== undefined) return known;
    const key = deriveKey(this.#keys, sealed, this.#label);
    if (this.#derived.size >= derivedKeysMax) {
      const oldest = this.#derived.keys().next();
      if (!oldest.done) this.#derived.delete(oldest.value);
    }
    this.#derived.set(name, key);
    return key;
  }
}

function freshHeader(keyId: number, random: Random): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(formatVersion, 0);
  header.writeUInt32BE(keyId, 1);
  header.set(random.bytes(saltBytes), 5);
  return header;
}

function deriveKey(keys: DataKeys, header: Uint8Array, label: string): Uint8Array {
  const key = dataKey(keys, viewOf(header).getUint32(1));
  const salt = header.subarray(5, 5 + saltBytes);
  return new Uint8Array(hkdfSync("sha256", key, salt, `skep seal 1: ${label}`, 32));
}

function checkHeader(sealed: Uint8Array): void {
  if (sealed.length < sealOverheadBytes) {
    throw new ClusterError("internal", "sealed value is cut short");
  }
  if (sealed[0] !== formatVersion) {
    throw new ClusterError(
      "failed-precondition",
      `sealed value has format ${sealed[0]}, this version knows ${formatVersion}`,
    );
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
