/**
 * The floor: a small file of its own that says how far the Raft log reached a second ago, so that a tail the database
 * lost without a word shows at the next start (`docs/decisions/0004-lost-tail.md`).
 *
 * Two slots of one page each are written in turn and in place, each with sequence number and checksum; a torn write
 * leaves the other one. Besides index and checksum of the log it keeps term and vote, written through at every change:
 * a member must not vote twice in a term because its database forgot the first vote.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { RaftFloor } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { logFormat, sameBytes } from "./log-record.ts";

const slotBytes = 4096;
const digestBytes = 32;

/** What the floor says, less its bookkeeping. */
export type FloorState = Omit<RaftFloor, "format" | "sequence">;

/** The open floor file. */
export class Floor {
  readonly #file: FileHandle;
  #sequence: number;
  #state: FloorState | undefined;

  private constructor(file: FileHandle, newest: RaftFloor | undefined) {
    this.#file = file;
    this.#sequence = newest?.sequence ?? 0;
    this.#state = newest;
  }

  /**
   * Opens or creates the file.
   *
   * @throws ClusterError failed-precondition when a newer version wrote it.
   */
  static async open(path: string): Promise<Floor> {
    const file = await open(path, "a+", 0o600).then(async (created) => {
      await created.close();
      return open(path, "r+");
    });
    const bytes = Buffer.alloc(2 * slotBytes);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    if (bytesRead < bytes.length) {
      // Takes both pages now, so that a full disk cannot stop a later write in place.
      await file.write(bytes, bytesRead, bytes.length - bytesRead, bytesRead);
      await file.sync();
    }
    const slots = [bytes.subarray(0, slotBytes), bytes.subarray(slotBytes)].map(readSlot);
    const newest = slots.reduce((a, b) => ((b?.sequence ?? 0) > (a?.sequence ?? 0) ? b : a));
    if (newest !== undefined && newest.format !== logFormat) {
      await file.close();
      throw new ClusterError(
        "failed-precondition",
        `${path} has format ${newest.format}, this version knows ${logFormat}`,
      );
    }
    return new Floor(file, newest);
  }

  /** What was last written, `undefined` for a new or wholly damaged file. */
  get state(): FloorState | undefined {
    return this.#state;
  }

  /** Writes and syncs; one call at a time. */
  async write(state: FloorState): Promise<void> {
    const sequence = this.#sequence + 1;
    const payload = RaftFloor.encode({ ...state, format: logFormat, sequence });
    const slot = Buffer.alloc(slotBytes);
    slot.writeUInt32BE(payload.length, 0);
    slot.set(digest(payload), 4);
    slot.set(payload, 4 + digestBytes);
    const at = (sequence % 2) * slotBytes;
    await this.#file.write(slot, 0, slotBytes, at);
    await this.#file.datasync();
    this.#sequence = sequence;
    this.#state = state;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function readSlot(slot: Buffer): RaftFloor | undefined {
  const length = slot.readUInt32BE(0);
  if (length === 0 || length > slotBytes - 4 - digestBytes) return undefined;
  const payload = slot.subarray(4 + digestBytes, 4 + digestBytes + length);
  if (!sameBytes(digest(payload), slot.subarray(4, 4 + digestBytes))) return undefined;
  return RaftFloor.decode(payload);
}

function digest(payload: Uint8Array): Buffer {
  return createHash("sha256").update(payload).digest();
}
