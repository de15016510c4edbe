/**
 * The folder of the Raft log's segments: every call on the file system that `log-database.ts` makes.
 *
 * What is created or written is durable when the promise resolves: files are opened with O_DSYNC, so that one call
 * writes and syncs. Small writes are made at once while the disk is fast (`write-pace.ts`). Tests put a failing or crashing one in its place.
 */
import { constants, write, writeSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type FolderLock, lockFolder } from "./log-lock.ts";
import { ownProcessorWait, type ProcessorWait } from "./processor-wait.ts";
import { directMsMax, WritePace } from "./write-pace.ts";

/** A segment that is being written. */
export interface SegmentFile {
  /**
   * Writes at byte `at`; durable when resolved.
   *
   * When it fails, any part of `bytes` may be there.
   */
  write(bytes: Uint8Array, at: number): Promise<void>;
  /** Makes the file this long, and all of it durable. */
  cut(size: number): Promise<void>;
  close(): Promise<void>;
}

/** The files of one log, by name. */
export interface LogFiles {
  list(): Promise<readonly string[]>;
  read(name: string): Promise<Uint8Array>;
  /** Creates a file with this content: whole and durable under its name, or not there; in place of one of that name. */
  create(name: string, bytes: Uint8Array): Promise<SegmentFile>;
  /** Opens a file that is there, for writing. */
  open(name: string): Promise<SegmentFile>;
  remove(name: string): Promise<void>;
  /** Makes the names in the folder durable. */
  syncNames(): Promise<void>;
  /** Gives the folder free for others. */
  close(): Promise<void>;
}

/** What decides about the writes of all segments of a log. */
export interface WriteTiming {
  readonly pace: Pick<WritePace, "isDirect" | "isWatching" | "took">;
  readonly wait: Pick<ProcessorWait, "readMs" | "close">;
  readonly nowMs: () => number;
}

/** Makes a write and tells the pace how long it took, and of a late one how long the thread waited for the processor. */
export function timedWrite({ pace, wait, nowMs }: WriteTiming, write: () => number): number {
  const waitedBefore = pace.isWatching ? wait.readMs() : undefined;
  const start = nowMs();
  try {
    return write();
  } finally {
    const ms = nowMs() - start;
    const isKnown = waitedBefore !== undefined && ms > directMsMax;
    pace.took(ms, isKnown ? wait.readMs() - waitedBefore : undefined);
  }
}

/** Suffix of a file that is not whole yet. */
export const unfinishedSuffix = ".new";

/**
 * Opens or creates the folder, for this opener alone.
 *
 * @throws ClusterError unavailable while somebody else has it open.
 */
export async function openLogFiles(path: string): Promise<LogFiles> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 });
  const lock = await lockFolder(path);
  try {
    if (made !== undefined) await syncFolder(dirname(path));
    return new FolderFiles(path, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

const writeFlags = constants.O_WRONLY | constants.O_DSYNC;

class FolderFiles implements LogFiles {
  readonly #path: string;
  readonly #lock: FolderLock;
  readonly #timing: WriteTiming = {
    pace: new WritePace(),
    wait: ownProcessorWait(),
    nowMs: () => performance.now(),
  };

  constructor(path: string, lock: FolderLock) {
    this.#path = path;
    this.#lock = lock;
  }

  list(): Promise<readonly string[]> {
    return readdir(this.#path);
  }

  read(name: string): Promise<Uint8Array> {
    return readFile(join(this.#path, name));
  }

  async create(name: string, bytes: Uint8Array): Promise<SegmentFile> {
    const beside = join(this.#path, name + unfinishedSuffix);
    const flags = writeFlags | constants.O_CREAT | constants.O_TRUNC;
    const file = new OpenSegment(await open(beside, flags, 0o600), this.#timing);
    try {
      await file.write(bytes, 0);
      await rename(beside, join(this.#path, name));
      await this.syncNames();
      return file;
    } catch (error) {
      await file.close();
      await rm(beside, { force: true });
      throw error;
    }
  }

  async open(name: string): Promise<SegmentFile> {
    return new OpenSegment(await open(join(this.#path, name), writeFlags), this.#timing);
  }

  remove(name: string): Promise<void> {
    return rm(join(this.#path, name));
  }

  syncNames(): Promise<void> {
    return syncFolder(this.#path);
  }

  close(): Promise<void> {
    this.#timing.wait.close();
    return this.#lock.release();
  }
}

class OpenSegment implements SegmentFile {
  readonly #file: FileHandle;
  readonly #timing: WriteTiming;

  constructor(file: FileHandle, timing: WriteTiming) {
    this.#file = file;
    this.#timing = timing;
  }

  async write(bytes: Uint8Array, at: number): Promise<void> {
    // A write that stops short was stopped by something: the next one says by what.
    for (let done = 0; done < bytes.length; ) {
      const left = { from: done, at: at + done };
      const written = this.#timing.pace.isDirect(bytes.length - done)
        ? this.#writeNow(bytes, left)
        : await writeAt(this.#file.fd, bytes, left);
      if (written === 0) {
        throw Object.assign(new Error("no space left on device: nothing was written"), {
          code: "ENOSPC",
        });
      }
      done += written;
    }
  }

  #writeNow(
    bytes: Uint8Array,
    { from, at }: { readonly from: number; readonly at: number },
  ): number {
    return timedWrite(this.#timing, () =>
      writeSync(this.#file.fd, bytes, from, bytes.length - from, at),
    );
  }

  async cut(size: number): Promise<void> {
    await this.#file.truncate(size);
    await this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Plain `fs.write`: the promise of a file handle costs as much again as the call itself. */
function writeAt(
  fd: number,
  bytes: Uint8Array,
  { from, at }: { readonly from: number; readonly at: number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, from, bytes.length - from, at, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
