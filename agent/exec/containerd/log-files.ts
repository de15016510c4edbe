/**
 * The files of one container's log: the one that is written, and rotated ones beside it (`.1` is the newest of them,
 * `.gz` when they are to be compressed).
 *
 * There is one writer, the container's `output-pump.ts`; readers in the same process learn from `generation` and
 * `changed` what it did. Renaming is done in one go, so that between two turns of the event loop a generation is found
 * under one name.
 */
import { closeSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { OpenFile } from "./open-file.ts";

/** When files are rotated, and how many are kept. */
export interface RotationSettings {
  readonly fileBytesMax: number;
  readonly filesMax: number;
  readonly compress: boolean;
}

/** Where the log stood: its file, and how long it was. */
export interface LogMark {
  readonly inode: number;
  readonly bytes: number;
}

/** The files of one log; also while nothing is written to it. */
export class LogFiles {
  readonly path: string;
  #settings: RotationSettings;
  #file: OpenFile | undefined;
  #inode = 0;
  #bytes = 0;
  #generation = 0;
  #compressing: Promise<void> = Promise.resolve();
  readonly #waiting = new Set<() => void>();

  constructor(path: string, settings: RotationSettings) {
    this.path = path;
    this.#settings = settings;
  }

  /** Grows by one with each rotation. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether it is being written to. */
  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  /** Where the log stands. */
  get mark(): LogMark {
    return { inode: this.#inode, bytes: this.#bytes };
  }

  /**
   * Opens the log for writing at the place that was marked when its content was last known to be whole: what came after
   * was written by a daemon that was killed before it could note where it had read to, and is written again.
   */
  async open(mark: LogMark | undefined, settings: RotationSettings): Promise<void> {
    this.#settings = settings;
    this.#file?.close();
    this.#openFile();
    // In a file other than the marked one nothing was noted yet: it was made by the rotation after the mark.
    const bytes = this.#inode === mark?.inode ? Math.min(mark.bytes, this.#bytes) : 0;
    if (mark !== undefined && bytes < this.#bytes) {
      await this.#file?.truncate(bytes);
      this.#bytes = bytes;
    }
  }

  /** Writes records, and rotates in between where a file is full. */
  async append(lines: readonly string[]): Promise<void> {
    let first = 0;
    let size = 0;
    for (const [position, line] of lines.entries()) {
      if (this.#bytes + size >= this.#settings.fileBytesMax) {
        await this.#write(lines.slice(first, position));
        await this.#rotate();
        first = position;
        size = 0;
      }
      // Of the bytes at least; lines with other than ASCII letters are longer, and counted when written.
      size += line.length;
    }
    await this.#write(lines.slice(first));
    this.#wake();
  }

  /** Resolves at the next change, or when it is closed. */
  changed(signal: AbortSignal): Promise<void> {
    if (signal.aborted || !this.isOpen) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }

  /** Closes it; followers come to its end. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#wake();
    file?.close();
    await this.#compressing;
  }

  /** Paths that a reader may find records in, oldest first. */
  paths(): string[] {
    const found: string[] = [];
    for (let number = 1; ; number++) {
      const path = [`${this.path}.${number}`, `${this.path}.${number}.gz`].find(exists);
      if (path === undefined) break;
      found.push(path);
    }
    return [...found.reverse(), ...(exists(this.path) ? [this.path] : [])];
  }

  #openFile(): void {
    const file = OpenFile.open(this.path, "a", 0o640);
    const { ino, size } = file.stat();
    this.#file = file;
    this.#inode = ino;
    this.#bytes = size;
  }

  async #write(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const bytes = Buffer.from(lines.join(""));
    let written = 0;
    while (written < bytes.length && this.#file !== undefined) {
      const more = await this.#file.write(bytes, written, null);
      written += more;
      this.#bytes += more;
    }
  }

  async #rotate(): Promise<void> {
    const { filesMax, compress } = this.#settings;
    await this.#compressing;
    this.#file?.close();
    for (let number = filesMax - 1; number >= 1; number--) {
      for (const end of ["", ".gz"]) {
        const from = `${this.path}.${number}${end}`;
        if (!exists(from)) continue;
        if (number === filesMax - 1) rmSync(from, { force: true });
        else renameSync(from, `${this.path}.${number + 1}${end}`);
      }
    }
    if (filesMax > 1) renameSync(this.path, `${this.path}.1`);
    else rmSync(this.path, { force: true });
    closeSync(openSync(this.path, "a", 0o640));
    this.#generation++;
    this.#bytes = 0;
    this.#openFile();
    if (compress) this.#compressing = compressFile(`${this.path}.1`);
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

/** Compresses one rotated file; it is there under one of the two names at any time. */
async function compressFile(path: string): Promise<void> {
  const partial = `${path}.gz.new`;
  try {
    const from = await open(path, "r");
    const to = await open(partial, "w", 0o640);
    await pipeline(from.createReadStream(), createGzip(), to.createWriteStream());
    renameSync(partial, `${path}.gz`);
    rmSync(path, { force: true });
  } catch {
    // It stays as it is, which readers understand as well; the next rotation goes on.
    rmSync(partial, { force: true });
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
