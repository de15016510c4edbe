/**
 * One line of a container's log as Docker's json-file driver writes it: `{"log":…,"stream":…,"attrs":{…},"time":…}`.
 *
 * Written by `output-pump.ts`, read by `log-reader.ts`.
 */
import type { LogRecord } from "../../../src/common/container/containers.ts";

/** Longer lines are cut into several records, only the last of which has a line end; as Docker does it. */
export const logRecordBytesMax = 16 * 1024;

/** The last three digits of a time, and its end. */
const nanosTexts = Array.from({ length: 1000 }, (_, n) => `${String(n).padStart(3, "0")}Z`);

/** Times of records: never twice the same, never back, even when the clock is set back or does not move. */
export class LogTimes {
  #second = 0;
  #micros = 0;
  /** Below 1000; -1 before the first time of all. */
  #nanos = -1;
  /** Everything up to the microseconds. */
  #prefix = "";

  /** Moves on to this moment, unless times given out are beyond it. */
  advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    const micros = Math.floor((nowMs - second * 1000) * 1000);
    if (second < this.#second || (second === this.#second && micros <= this.#micros)) return;
    this.#second = second;
    this.#micros = micros;
    this.#nanos = -1;
    this.#setPrefix();
  }

  /** The last one given out, or the one before the first; nanoseconds since the epoch. */
  get last(): bigint {
    return BigInt(this.#second) * 1_000_000_000n + BigInt(this.#micros * 1000 + this.#nanos);
  }

  /** The next time, as RFC 3339 with nanoseconds. */
  next(): string {
    if (++this.#nanos === 1000) this.#nextMicro();
    return this.#prefix + nanosTexts[this.#nanos];
  }

  #nextMicro(): void {
    this.#nanos = 0;
    if (++this.#micros === 1e6) {
      this.#micros = 0;
      this.#second++;
    }
    this.#setPrefix();
  }

  #setPrefix(): void {
    const second = new Date(this.#second * 1000).toISOString().slice(0, 19);
    this.#prefix = `${second}.${String(this.#micros).padStart(6, "0")}`;
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
  const middle = `,"stream":"${stream}"${attributes === "" ? "" : `,"attrs":${attributes}`},"time":"`;
  const after = `"${middle}`;
  // Decoding a block at once and looking once for what JSON must escape is several times quicker than line by line.
  const text = bytes.toString();
  const isPlain = !mustEscape.test(text);
  const encoded: string[] = [];
  const lines = text.split("\n");
  const last = lines.length - 1;
  for (let position = 0; position <= last; position++) {
    const line = lines[position] ?? "";
    const end = position < last ? "\\n" : "";
    if (line.length > logRecordBytesMax / 4 && Buffer.byteLength(line) >= logRecordBytesMax) {
      const whole = position < last ? `${line}\n` : line;
      for (const piece of pieces(Buffer.from(whole))) {
        encoded.push(`{"log":${JSON.stringify(piece)}${middle}${times.next()}"}\n`);
      }
    } else if (line !== "" || end !== "") {
      const escaped = isPlain ? line : JSON.stringify(line).slice(1, -1);
      encoded.push(`{"log":"${escaped}${end}${after}${times.next()}"}\n`);
    }
  }
  return encoded;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what JSON does not take as they are.
const mustEscape = /[\u0000-\u0009\u000b-\u001f"\\]/;

/** A line that is too long for one record. */
function pieces(bytes: Buffer): string[] {
  const found: string[] = [];
  let at = 0;
  while (bytes.length - at > logRecordBytesMax) {
    const cut = characterStart(bytes, at + logRecordBytesMax);
    found.push(bytes.toString("utf8", at, cut));
    at = cut;
  }
  return [...found, bytes.toString("utf8", at)];
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
