/**
 * One line of a container's log as Docker's json-file driver writes it: `{"log":…,"stream":…,"attrs":{…},"time":…}`.
 *
 * Written by `output-pump.ts`, read by `log-reader.ts`.
 */
import type { LogRecord } from "../../../src/common/container/containers.ts";

/** Longer lines are cut into several records, only the last of which has a line end; as Docker does it. */
export const logRecordBytesMax = 16 * 1024;

/** Times of records: never twice the same, never back, even when the clock is set back or does not move. */
export class LogTimes {
  #second = 0;
  #nanos = -1;
  #prefix = "";

  /** Moves on to this moment, unless times given out are beyond it. */
  advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    const nanos = Math.floor((nowMs - second * 1000) * 1e6);
    if (second < this.#second || (second === this.#second && nanos <= this.#nanos)) return;
    if (second !== this.#second) this.#setSecond(second);
    this.#nanos = nanos - 1;
  }

  /** The last one given out, or the one before the first; nanoseconds since the epoch. */
  get last(): bigint {
    return BigInt(this.#second) * 1_000_000_000n + BigInt(this.#nanos);
  }

  /** The next time, as RFC 3339 with nanoseconds. */
  next(): string {
    this.#nanos++;
    if (this.#nanos >= 1e9) {
      this.#setSecond(this.#second + 1);
      this.#nanos = 0;
    }
    return `${this.#prefix}${String(this.#nanos).padStart(9, "0")}Z`;
  }

  #setSecond(second: number): void {
    this.#second = second;
    this.#prefix = `${new Date(second * 1000).toISOString().slice(0, 19)}.`;
  }
}

/**
 * The records of whole lines and of pieces of lines that are too long.
 *
 * @param bytes Ends with a line end, or is to be logged up to its end all the same.
 * @param attributes What stands in each line as `attrs`; empty for none.
 */
export function encodeLogLines(
  bytes: Buffer,
  stream: "stdout" | "stderr",
  times: LogTimes,
  attributes: string,
): string[] {
  const lines: string[] = [];
  const middle = `,"stream":"${stream}"${attributes === "" ? "" : `,"attrs":${attributes}`},"time":"`;
  const add = (text: string) =>
    lines.push(`{"log":${JSON.stringify(text)}${middle}${times.next()}"}\n`);
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.indexOf(10, at);
    const end = found < 0 ? bytes.length : found + 1;
    while (end - at > logRecordBytesMax) {
      const cut = characterStart(bytes, at + logRecordBytesMax);
      add(bytes.toString("utf8", at, cut));
      at = cut;
    }
    add(bytes.toString("utf8", at, end));
    at = end;
  }
  return lines;
}

/** The start of the character that `offset` is in. */
export function characterStart(bytes: Buffer, offset: number): number {
  for (let at = offset; at > offset - 4 && at > 0; at--) {
    if (((bytes[at] ?? 0) & 0xc0) !== 0x80) return at;
  }
  return offset; // Not UTF-8 at all.
}

/** A record as it is in the file, its attributes included. */
export interface StoredLogRecord extends LogRecord {
  readonly attributes: Readonly<Record<string, string>>;
}

const noAttributes: Readonly<Record<string, string>> = Object.freeze({});

/** The record of one line; undefined for what a crash of the machine left half-written. */
export function decodeLogLine(line: string): StoredLogRecord | undefined {
  try {
    const { log, stream, time, attrs } = JSON.parse(line) as Record<string, unknown>;
    if (typeof log !== "string" || typeof time !== "string") return undefined;
    return {
      stream: stream === "stderr" ? "stderr" : "stdout",
      timeNs: nanosecondsOf(time),
      data: Buffer.from(log),
      attributes: (attrs as Record<string, string> | undefined) ?? noAttributes,
    };
  } catch {
    // Cut off in the middle: the rest of it never came to the disk.
    return undefined;
  }
}

let lastSecondText = "";
let lastSecondNs = 0n;

/** Most lines in a row are of the same second, and parsing a date costs more than the rest of the line. */
function nanosecondsOf(time: string): bigint {
  const second = time.slice(0, 19);
  if (second !== lastSecondText) {
    lastSecondNs = BigInt(Date.parse(`${second}Z`)) * 1_000_000n;
    lastSecondText = second;
  }
  const fraction = time.charAt(19) === "." ? time.slice(20, -1) : "";
  return lastSecondNs + BigInt(fraction.padEnd(9, "0").slice(0, 9));
}
