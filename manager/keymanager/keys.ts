/**
 * The keys file of a manager, `<data>/node/keys`: the data keys, sealed. It lies beside the node's certificate, whose key it
 * seals, so that a manager that lost its Raft folder is still who it was.
 *
 * Everything a manager keeps at rest is sealed with data keys. They in turn are sealed here, by the node's own sealing key
 * (a file elsewhere) or, with autolock on, by the unlock key, which no disk holds. The file is replaced as a whole, through
 * a temporary file, a sync and a rename, so that a crash leaves either the old one or the new one. The few writes there are
 * (autolock switched, a key rotated) are synchronous: their order is then plain, and nothing seals with a key not yet kept.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import { type DataKeys, dataKeyBytes } from "../../src/common/seal/data-keys.ts";
import { newSealer } from "../../src/common/seal/sealer.ts";
import { replaceFile } from "./replace-file.ts";

/** What seals the data keys. */
export interface SealingKeys {
  /** 32 bytes of the node itself. */
  readonly nodeKey: Uint8Array;
  /** Bytes of the unlock key; undefined with autolock off, or before anybody gave it. */
  readonly unlockKey?: Uint8Array | undefined;
}

/** The text of the error for a wrong unlock key, as Docker's daemon has it. */
export const wrongUnlockKeyText = "swarm could not be unlocked: invalid key provided";

const format = 1;

interface KeysFile {
  readonly format: number;
  /** Sealed by the unlock key, else by the node key. */
  readonly locked: boolean;
  readonly sealed: string;
  /** SHA-256 of what is above, to tell a damaged file from a wrong key. */
  readonly checksum: string;
}

interface Payload {
  readonly currentId: number;
  readonly keys: readonly (readonly [id: number, key: string])[];
}

/** Whether there is a keys file, and whether it takes the unlock key to open it. */
export function keysFileState(path: string): "absent" | "open" | "locked" {
  const file = readKeysFile(path);
  if (file === undefined) return "absent";
  return file.locked ? "locked" : "open";
}

/** Makes the first data key of a manager and writes its keys file; with an unlock key the file starts out locked. */
export function createKeyRing(path: string, sealing: SealingKeys, random: Random): KeyRing {
  const keys = new Map([[1, random.bytes(dataKeyBytes)]]);
  const ring = { currentId: 1, keys };
  writeKeysFile(path, ring, sealing, random);
  return new KeyRing({ path, sealing, random, keys: ring });
}

/**
 * Opens the keys file.
 *
 * @throws ClusterError not-found without a file; failed-precondition when it is locked and no unlock key was given;
 *   invalid-argument, in Docker's words, for a wrong unlock key; internal when it is damaged or of another node.
 */
export function openKeyRing(path: string, sealing: SealingKeys, random: Random): KeyRing {
  const file = readKeysFile(path);
  if (file === undefined) throw new ClusterError("not-found", `no keys file at ${path}`);
  const { unlockKey } = sealing;
  if (file.locked && unlockKey === undefined) {
    throw new ClusterError("failed-precondition", "the swarm is locked: its unlock key is needed");
  }
  // An unlock key that was given for a file that is not locked is of no use; the loop locks the file if it should be.
  const used: SealingKeys = file.locked ? sealing : { nodeKey: sealing.nodeKey };
  const keys = openPayload(path, file, used, random);
  return new KeyRing({ path, sealing: used, random, keys });
}

/** The data keys of a running manager, and their file. */
export class KeyRing {
  readonly #path: string;
  readonly #random: Random;
  #sealing: SealingKeys;
  #keys: DataKeys;

  /** Use `createKeyRing` or `openKeyRing`. */
  constructor(options: {
    readonly path: string;
    readonly sealing: SealingKeys;
    readonly random: Random;
    readonly keys: DataKeys;
  }) {
    this.#path = options.path;
    this.#random = options.random;
    this.#sealing = options.sealing;
    this.#keys = options.keys;
  }

  /** The ring for sealers and the Raft host. */
  dataKeys(): DataKeys {
    return this.#keys;
  }

  /** Whether the file is sealed by the unlock key. */
  isLocked(): boolean {
    return this.#sealing.unlockKey !== undefined;
  }

  /** Whether the file is sealed by just this unlock key; undefined asks whether it is not locked. */
  isSealedBy(unlockKey: Uint8Array | undefined): boolean {
    const now = this.#sealing.unlockKey;
    if (now === undefined || unlockKey === undefined) return now === unlockKey;
    return Buffer.from(now).equals(unlockKey);
  }

  /** Seals the file by this unlock key from now on, or by the node key alone when it is undefined. */
  setUnlockKey(unlockKey: Uint8Array | undefined): void {
    this.#replace({ nodeKey: this.#sealing.nodeKey, unlockKey }, this.#keys);
  }

  /** As `setUnlockKey`, with a new current data key in the same write: it never lies open. */
  lockWithNewDataKey(unlockKey: Uint8Array): DataKeys {
    const keys = withNewKey(this.#keys, this.#random);
    this.#replace({ nodeKey: this.#sealing.nodeKey, unlockKey }, keys);
    return keys;
  }

  /** Makes a new current data key; the older ones still open what they sealed. */
  rotateDataKey(): DataKeys {
    const keys = withNewKey(this.#keys, this.#random);
    this.#replace(this.#sealing, keys);
    return keys;
  }

  /** Forgets data keys nothing at rest names any more. The current one stays. */
  dropDataKeys(ids: Iterable<number>): DataKeys {
    const keys = new Map(this.#keys.keys);
    for (const id of ids) if (id !== this.#keys.currentId) keys.delete(id);
    const left = { currentId: this.#keys.currentId, keys };
    this.#replace(this.#sealing, left);
    return left;
  }

  /** Writes first: what is in memory is what is in the file, also when the disk is full. */
  #replace(sealing: SealingKeys, keys: DataKeys): void {
    writeKeysFile(this.#path, keys, sealing, this.#random);
    this.#sealing = sealing;
    this.#keys = keys;
  }
}

function withNewKey(ring: DataKeys, random: Random): DataKeys {
  const id = Math.max(...ring.keys.keys()) + 1;
  return {
    currentId: id,
    keys: new Map(ring.keys).set(id, random.bytes(dataKeyBytes)),
  };
}

function writeKeysFile(path: string, keys: DataKeys, sealing: SealingKeys, random: Random): void {
  replaceFile(path, `${JSON.stringify(sealPayload(keys, sealing, random))}\n`);
}

function readKeysFile(path: string): KeysFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new ClusterError("internal", `cannot read the keys file ${path}`, { cause: error });
  }
  const file = parseKeysFile(text);
  if (file === undefined) {
    throw new ClusterError(
      "internal",
      `the keys file ${path} is damaged; restore it, or let this node leave and join again`,
    );
  }
  if (file.format !== format) {
    throw new ClusterError(
      "unimplemented",
      `the keys file ${path} has format ${file.format}, this version knows ${format}`,
    );
  }
  return file;
}

function parseKeysFile(text: string): KeysFile | undefined {
  let value: Partial<Record<keyof KeysFile, unknown>>;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON: damaged, as the caller says.
    return undefined;
  }
  const { format: version, locked, sealed, checksum } = value ?? {};
  if (typeof version !== "number" || typeof locked !== "boolean") return undefined;
  if (typeof sealed !== "string" || typeof checksum !== "string") return undefined;
  if (checksum !== checksumOf({ format: version, locked, sealed })) return undefined;
  return { format: version, locked, sealed, checksum };
}

function sealPayload(ring: DataKeys, sealing: SealingKeys, random: Random): KeysFile {
  const payload: Payload = {
    currentId: ring.currentId,
    keys: [...ring.keys].map(([id, key]) => [id, Buffer.from(key).toString("base64")]),
  };
  const locked = sealing.unlockKey !== undefined;
  const sealed = fileSealer(sealing, random).seal(
    Buffer.from(JSON.stringify(payload)),
    placeOf(locked),
  );
  const body = { format, locked, sealed: Buffer.from(sealed).toString("base64") };
  return { ...body, checksum: checksumOf(body) };
}

function openPayload(path: string, file: KeysFile, sealing: SealingKeys, random: Random): DataKeys {
  let plain: Uint8Array;
  try {
    const sealed = Buffer.from(file.sealed, "base64");
    plain = fileSealer(sealing, random).open(sealed, placeOf(file.locked));
  } catch (cause) {
    if (file.locked) throw new ClusterError("invalid-argument", wrongUnlockKeyText, { cause });
    throw new ClusterError("internal", `the keys file ${path} is not of this node`, { cause });
  }
  const { currentId, keys }: Payload = JSON.parse(Buffer.from(plain).toString("utf8"));
  return {
    currentId,
    keys: new Map(keys.map(([id, key]) => [id, new Uint8Array(Buffer.from(key, "base64"))])),
  };
}

function fileSealer(sealing: SealingKeys, random: Random) {
  const label = sealing.unlockKey === undefined ? "keys file: node key" : "keys file: unlock key";
  const keys = new Map([[1, sealing.unlockKey ?? sealing.nodeKey]]);
  return newSealer({ keys: { currentId: 1, keys }, label, random });
}

function placeOf(locked: boolean): Uint8Array {
  return Buffer.from(`keys file ${format} ${locked ? "locked" : "open"}`);
}

function checksumOf(body: Omit<KeysFile, "checksum">): string {
  return createHash("sha256").update(`${body.format} ${body.locked} ${body.sealed}`).digest("hex");
}
