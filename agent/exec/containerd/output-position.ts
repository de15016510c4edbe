/**
 * How far the output of a container was taken into its log: what makes a daemon that was killed go on without losing a
 * line or writing one twice.
 *
 * One short record, overwritten in place by a single write after each batch: the offsets in the raw files, and where the
 * log stood then. A batch that was written but not noted is cut off the log again (`LogFiles.open`) and read once more.
 */
import { constants } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import type { LogMark } from "./log-files.ts";

/** What the record says. */
export interface OutputPosition {
  /** Starts of the container are counted: each has raw files of its own. */
  readonly run: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Undefined where no log is kept. */
  readonly log: LogMark | undefined;
  /** Everything of this run is in the log. */
  readonly ended: boolean;
}

/** Longer than any record: a shorter one must cover all of a longer one before it. */
const recordBytes = 256;

/** The record, open for overwriting. */
export class PositionFile {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Opens the record, which may not be there yet. */
  static async open(path: string): Promise<PositionFile> {
    // Made when missing, and neither emptied nor appended to otherwise.
    return new PositionFile(await open(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  }

  async write(position: OutputPosition): Promise<void> {
    const text = `${JSON.stringify(position).padEnd(recordBytes - 1)}\n`;
    await this.#file.write(text, 0, "utf8");
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** The last record; undefined when there is none that can be read. */
export async function readPosition(path: string): Promise<OutputPosition | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as OutputPosition;
  } catch {
    // Never started, or the machine went down before it came to the disk.
    return undefined;
  }
}
