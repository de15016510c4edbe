/**
 * Reads a container's log: across rotated files, backwards for the last records, and on behind the writer.
 *
 * Opens all files before it reads the first, so that rotation takes nothing away from a reader under way. A follower that
 * is slower than the rotation goes on with the oldest file there is.
 */
import { closeSync, fstatSync, openSync, read, readFile } from "node:fs";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { LogOptions } from "../../../src/common/container/containers.ts";
import type { LogFiles } from "./log-files.ts";
import { decodeLogLine, type StoredLogRecord } from "./log-line.ts";

const blockBytes = 256 * 1024;
/** A compressed file is read as a whole; one that is larger than this when unpacked is passed over. */
const unpackedBytesMax = 512 * 1024 * 1024;

/** Something to read a file's bytes from, packed or not. */
interface Source {
  /** What is there from `offset` on, a block at most; empty at the end. */
  read(offset: number): Promise<Buffer>;
  /** How long it was when it was opened; what comes later is for followers. */
  size(): Promise<number>;
  lengthNow(): number;
  close(): void;
}

/**
 * The records that are wanted, oldest first.
 *
 * @param options `untilNs` is inclusive, as `sinceNs`; with `follow` it ends when the log is closed or the signal aborts.
 */
export async function* readLog(
  files: LogFiles,
  options: LogOptions,
): AsyncGenerator<StoredLogRecord, void, void> {
  const { untilNs } = options;
  for await (const record of records(files, options)) {
    if (options.signal.aborted) return;
    if (options.sinceNs !== undefined && record.timeNs < options.sinceNs) continue;
    if (untilNs !== undefined && record.timeNs > untilNs) return;
    if (record.stream === "stdout" ? options.stdout : options.stderr) yield record;
  }
}

async function* records(
  files: LogFiles,
  options: LogOptions,
): AsyncGenerator<StoredLogRecord, void, void> {
  const follow = options.follow && files.isOpen;
  let generation = files.generation;
  const sources = files.paths().flatMap((path) => openSource(path) ?? []);
  try {
    let { skipSources, offset } = await startOf(sources, options.tail);
    for (const [position, source] of sources.entries()) {
      const isLast = position === sources.length - 1;
      if (skipSources > 0) offset = isLast ? await source.size() : offset;
      if (skipSources-- > 0 && !isLast) continue;
      if (isLast && follow) {
        yield* linesOf(source, offset, follower(files, generation, options.signal));
      } else yield* linesOf(source, offset, { end: await source.size() });
      offset = 0;
    }
    while (follow && !options.signal.aborted && files.generation > generation) {
      generation++;
      const source = openGeneration(files, generation);
      if (source === undefined) continue;
      sources.push(source);
      yield* linesOf(source, 0, follower(files, generation, options.signal));
    }
  } finally {
    for (const source of sources) source.close();
  }
}

/** Waits until there is more than `offset` bytes in this generation; false when there will be none. */
function follower(files: LogFiles, generation: number, signal: AbortSignal) {
  let before = -1;
  return async (offset: number): Promise<boolean> => {
    if (signal.aborted || !files.isOpen || files.generation !== generation) return false;
    // Asked twice at the same place the file is shorter than its writer believes: somebody has emptied it.
    if (files.mark.bytes <= offset || before === offset) await files.changed(signal);
    before = offset;
    return !signal.aborted;
  };
}

/**
 * The records of one file.
 *
 * @param until Where to stop, as a writer may be quicker than we are; or what to ask at the end: it is read on, and looked
 *   at a last time when there is no more.
 */
async function* linesOf(
  source: Source,
  from: number,
  until: { readonly end: number } | ((offset: number) => Promise<boolean>),
): AsyncGenerator<StoredLogRecord, void, void> {
  let offset = from;
  let rest: Buffer = Buffer.alloc(0);
  for (let last = false; ; ) {
    const read = await source.read(offset);
    const block = typeof until === "function" ? read : read.subarray(0, until.end - offset);
    if (block.length === 0) {
      if (last || typeof until !== "function") return;
      last = !(await until(offset));
      if (source.lengthNow() < offset) {
        offset = 0;
        rest = Buffer.alloc(0);
      }
      continue;
    }
    offset += block.length;
    const bytes = rest.length === 0 ? block : Buffer.concat([rest, block]);
    const end = bytes.lastIndexOf(10) + 1;
    rest = bytes.subarray(end);
    for (const line of bytes.toString("utf8", 0, end).split("\n")) {
      const record = line === "" ? undefined : decodeLogLine(line);
      if (record !== undefined) yield record;
    }
  }
}

/** Where the last `tail` records begin: so many sources are left out, and the next is read from the offset. */
async function startOf(
  sources: readonly Source[],
  tail: number | undefined,
): Promise<{ skipSources: number; offset: number }> {
  if (tail === undefined || tail < 0) return { skipSources: 0, offset: 0 };
  let missing = tail;
  for (let position = sources.length - 1; position >= 0; position--) {
    const source = sources[position];
    if (source === undefined || missing === 0) return { skipSources: position + 1, offset: 0 };
    const found = await lastLines(source, missing);
    missing -= found.lines;
    if (missing === 0) return { skipSources: position, offset: found.offset };
  }
  return { skipSources: 0, offset: 0 };
}

/** Goes back over at most `wanted` lines; says where they begin and how many there are. */
async function lastLines(
  source: Source,
  wanted: number,
): Promise<{ lines: number; offset: number }> {
  let lines = 0;
  const size = await source.size();
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - blockBytes);
    const block = (await source.read(begin)).subarray(0, end - begin);
    for (let at = block.length - 1; at >= 0; at--) {
      if (block[at] !== 10) continue;
      // The end of the very last line stands before no line yet.
      if (begin + at + 1 === size) continue;
      if (++lines === wanted) return { lines, offset: begin + at + 1 };
    }
    end = begin;
  }
  return { lines: size > 0 ? lines + 1 : 0, offset: 0 };
}

/** The file of a generation, or the oldest one after it that is left. */
function openGeneration(files: LogFiles, generation: number): Source | undefined {
  for (let number = files.generation - generation; number >= 0; number--) {
    const path = number === 0 ? files.path : `${files.path}.${number}`;
    const source = openSource(path) ?? openSource(`${path}.gz`);
    if (source !== undefined) return source;
  }
  return undefined;
}

/** Opens at once, so that all that is opened in one turn of the event loop fits together. */
function openSource(path: string): Source | undefined {
  try {
    const fd = openSync(path, "r");
    return path.endsWith(".gz") ? packedSource(fd) : plainSource(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

const readAt = promisify(read);

function plainSource(fd: number): Source {
  const { size } = fstatSync(fd);
  let isOpen = true;
  return {
    read: async (offset) => {
      const block = Buffer.allocUnsafe(blockBytes);
      const { bytesRead } = await readAt(fd, block, 0, block.length, offset);
      return block.subarray(0, bytesRead);
    },
    size: async () => size,
    lengthNow: () => fstatSync(fd).size,
    close: () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

function packedSource(fd: number): Source {
  let unpacked: Promise<Buffer> | undefined;
  const bytes = () => {
    unpacked ??= unpack(fd);
    return unpacked;
  };
  return {
    read: async (offset) => (await bytes()).subarray(offset, offset + blockBytes),
    size: async () => (await bytes()).length,
    lengthNow: () => Number.POSITIVE_INFINITY,
    close: () => {
      // Read or not: the file is let go when its content was unpacked.
      if (unpacked === undefined) closeSync(fd);
      unpacked = Promise.resolve(Buffer.alloc(0));
    },
  };
}

async function unpack(fd: number): Promise<Buffer> {
  try {
    const packed = await promisify(readFile)(fd);
    return await promisify(gunzip)(packed, { maxOutputLength: unpackedBytesMax });
  } catch {
    // Damaged, or too large to be held: the other files are read all the same.
    return Buffer.alloc(0);
  } finally {
    closeSync(fd);
  }
}
