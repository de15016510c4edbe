/**
 * How far the output of a container was taken into its log: what makes a daemon that was killed go on without losing a
 * line or writing one twice.
 *
 * One short record, overwritten in place by a single write after each batch: the offsets in the raw files, and where the
 * log stood then. A batch that was written but not noted is cut off the log again (`LogFiles.open`) and read once more.
 */
import { constants, existsSync, readFileSync } from "node:fs";
import type { LogMark } from "./log-files.ts";
import { OpenFile } from "./open-file.ts";

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
  readonly #file: OpenFile;

  private constructor(file: OpenFile) {
    this.#file = file;
  }

  /** Opens the record, which may not be there yet. @throws Error of the system. */
  static open(path: string): PositionFile {
    // Made when missing, and neither emptied nor appended to otherwise.
    return new PositionFile(OpenFile.open(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  }

  async write(position: OutputPosition): Promise<void> {
    await this.#file.write(recordOf(position), 0, 0);
  }

  /** The first one: a start waits for it. */
  writeNow(position: OutputPosition): void {
    this.#file.writeNow(recordOf(position), 0);
  }

  close(): void {
    this.#file.close();
  }
}

function recordOf(position: OutputPosition): Buffer {
  return Buffer.from(`${JSON.stringify(position).padEnd(recordBytes - 1)}\n`);
}

/** The last record; undefined when there is none that can be read. */
export function readPosition(path: string): OutputPosition | undefined {
  // Most often it is not: an error costs more than the look.
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as OutputPosition;
  } catch {
    // The machine went down before it came to the disk.
    return undefined;
  }
}
