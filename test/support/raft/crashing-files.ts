/**
 * The files of a Raft log on a disk that fills up, fails or loses its power at a chosen moment.
 *
 * Around the real files in a folder of the test: a power cut leaves there what a disk may be left with, and every call after
 * it fails, so the test can open the folder again as the next start would.
 */
import { type FileHandle, open, rename } from "node:fs/promises";
import { join } from "node:path";
import { type LogFiles, openLogFiles, type SegmentFile } from "../../../manager/raft/log-files.ts";

/** What a write that a power cut meets leaves of `length` bytes: those from `from` to `to`; before them zeros. */
export interface Torn {
  readonly from: number;
  readonly to: number;
}

/** A disk under a log. */
export class TestDisk {
  /** Calls that change something, so far. */
  calls = 0;
  /** Names of these calls. */
  readonly done: string[] = [];
  /** The power goes in the call of this number. */
  cutAt = Number.POSITIVE_INFINITY;
  torn: (length: number) => Torn = () => ({ from: 0, to: 0 });
  /** Bytes that can still be written. */
  room = Number.POSITIVE_INFINITY;
  /** Thrown by the next write. */
  failure: Error | undefined;
  #isOff = false;
  #path = "";

  /** To be given to the log in place of the real opener. */
  readonly openFiles = async (path: string): Promise<LogFiles> => {
    this.#path = path;
    const files = await openLogFiles(path);
    return {
      list: () => files.list(),
      read: (name) => files.read(name),
      create: (name, bytes) => this.#create(files, name, bytes),
      open: async (name) => this.#segment(await files.open(name), name),
      remove: (name) => this.#call(`remove ${name}`, () => files.remove(name)),
      syncNames: () => files.syncNames(),
      close: () => files.close(),
    };
  };

  /** Counts a call and makes it, unless the power goes or is gone. */
  async #call<T>(name: string, work: () => Promise<T>, cut?: () => Promise<unknown>): Promise<T> {
    if (!this.#isOff && ++this.calls === this.cutAt) {
      this.#isOff = true;
      this.done.push(`${name} (cut)`);
      await cut?.();
    }
    if (this.#isOff) throw new Error("the power is off");
    this.done.push(name);
    return work();
  }

  async #create(files: LogFiles, name: string, bytes: Uint8Array): Promise<SegmentFile> {
    const beside = `${name}.new`;
    const leave = async () => this.#leave(await open(join(this.#path, beside), "w"), bytes, 0);
    await this.#call(`write ${beside}`, async () => {}, leave);
    if (this.room < bytes.length) {
      await leave();
      throw fullError();
    }
    this.room -= bytes.length;
    // Between the rename and its durability: both names may come out of it.
    await this.#call(
      `rename ${beside}`,
      async () => {},
      async () => {
        const file = await open(join(this.#path, beside), "w");
        await file.write(bytes);
        await file.close();
        if (this.torn(2).to > 0) await rename(join(this.#path, beside), join(this.#path, name));
      },
    );
    return this.#segment(await files.create(name, bytes), name);
  }

  #segment(file: SegmentFile, name: string): SegmentFile {
    return {
      write: (bytes, at) =>
        this.#call(
          `write ${name}`,
          () => this.#write(file, bytes, at),
          async () => this.#leave(await open(join(this.#path, name), "r+"), bytes, at),
        ),
      cut: (size) => this.#call(`cut ${name}`, () => file.cut(size)),
      close: () => file.close(),
    };
  }

  async #write(file: SegmentFile, bytes: Uint8Array, at: number): Promise<void> {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    const fits = Math.min(this.room, bytes.length);
    await file.write(bytes.subarray(0, fits), at);
    this.room -= fits;
    if (fits < bytes.length) throw fullError();
  }

  async #leave(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
    const { from, to } = this.torn(bytes.length);
    const left = Buffer.from(bytes.subarray(0, to)).fill(0, 0, Math.min(from, to));
    if (left.length > 0) await file.write(left, 0, left.length, at);
    await file.close();
  }
}

function fullError(): Error {
  return Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
}
