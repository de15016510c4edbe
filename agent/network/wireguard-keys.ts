/**
 * The node's keys for encrypted networks, in files that never leave it, and how one follows the other.
 *
 * The next key is made and told first; it is used once the managers tell all of it, this node included, and the others have
 * had time to hear that. Until then the present one holds, also over a restart.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { textOf } from "./wireguard-conf.ts";

/** The keys of one node. */
export class WireguardKeys {
  readonly #file: string;
  readonly #nextFile: string;
  readonly #holdMs: number;
  #key: KeyObject | undefined;
  #next: KeyObject | undefined;
  #hasLooked = false;
  /** When the managers first told of the next key, monotonic. */
  #toldAt: number | undefined;

  /** @param holdMs From when the managers tell of the next key until it is used. */
  constructor(file: string, holdMs: number) {
    this.#file = file;
    this.#nextFile = `${file}.next`;
    this.#holdMs = holdMs;
  }

  /** Public key, 32 bytes. */
  get publicKey(): Uint8Array {
    return publicOf(this.#present());
  }

  /** Public key that will follow; empty while none is to. */
  get nextPublicKey(): Uint8Array {
    const next = this.#following();
    return next === undefined ? new Uint8Array(0) : publicOf(next);
  }

  /** Base64. */
  get privateKey(): string {
    const { d = "" } = this.#present().export({ format: "jwk" });
    return Buffer.from(d, "base64url").toString("base64");
  }

  /** Begins to change the key; nothing when that has begun already. */
  rotate(): void {
    if (this.#following() !== undefined) return;
    this.#next = makeKey(this.#nextFile);
  }

  /**
   * Goes over to the next key when it is time.
   *
   * @param told The next key of this node as the managers tell it; empty when they do not.
   * @returns Whether the key is another one now.
   */
  turn(told: Uint8Array, nowMs: number): boolean {
    const next = this.#following();
    if (next === undefined || textOf(publicOf(next)) !== textOf(told)) {
      this.#toldAt = undefined;
      return false;
    }
    this.#toldAt ??= nowMs;
    if (nowMs < this.#toldAt + this.#holdMs) return false;
    this.#present();
    renameSync(this.#nextFile, this.#file);
    this.#key = next;
    this.#next = undefined;
    this.#toldAt = undefined;
    return true;
  }

  /** Milliseconds until `turn` may do something; infinite while it will not. */
  dueMs(nowMs: number): number {
    return this.#toldAt === undefined ? Infinity : Math.max(0, this.#toldAt + this.#holdMs - nowMs);
  }

  #present(): KeyObject {
    this.#key ??= readKey(this.#file) ?? makeKey(this.#file);
    return this.#key;
  }

  #following(): KeyObject | undefined {
    if (this.#hasLooked) return this.#next;
    this.#hasLooked = true;
    this.#next = readKey(this.#nextFile);
    // One that cannot be read would keep others from being made.
    if (this.#next === undefined && existsSync(this.#nextFile)) rmSync(this.#nextFile);
    return this.#next;
  }
}

function publicOf(key: KeyObject): Uint8Array {
  const { x = "" } = createPublicKey(key).export({ format: "jwk" });
  return new Uint8Array(Buffer.from(x, "base64url"));
}

function readKey(file: string): KeyObject | undefined {
  try {
    return createPrivateKey(readFileSync(file));
  } catch {
    // None was made yet, or it cannot be read: another one does.
    return undefined;
  }
}

function makeKey(file: string): KeyObject {
  const { privateKey } = generateKeyPairSync("x25519");
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, privateKey.export({ type: "pkcs8", format: "pem" }), {
    mode: 0o600,
  });
  renameSync(`${file}.new`, file);
  return privateKey;
}
