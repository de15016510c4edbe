/**
 * Reading the Raft log's segments at start: all frames in order, into the index.
 *
 * What a crash can leave is put right: a file that was not finished, segments that were no longer needed, a last write
 * that was cut off. Anything else that is missing or does not fit had been acknowledged: then nothing is changed, and what
 * stands before the damage can be read.
 */
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { type LogFiles, type SegmentFile, unfinishedSuffix } from "./log-files.ts";
import { LogIndex, type Segment } from "./log-index.ts";
import { logFormat } from "./log-record.ts";
import {
  type Chain,
  chainOf,
  decodeFrame,
  decodeSegmentHeader,
  isDamaged,
  type SegmentHeader,
  segmentHeaderBytes,
  segmentName,
  segmentNumber,
} from "./log-segment.ts";

/** A log that is not whole. */
export interface DamagedLog {
  /** Why. */
  readonly damage: string;
  /** What stands before the damage. */
  readonly index: LogIndex;
}

/** A log as found. */
export interface FoundLog {
  readonly damage?: undefined;
  readonly index: LogIndex;
  /** All that are needed, the oldest first; the last one is written on. */
  readonly segments: readonly Segment[];
  /** The last segment, with nothing behind its last frame. */
  readonly file: SegmentFile;
  /** What the next frame follows. */
  readonly chain: Chain;
}

/**
 * Reads the log in a folder; `undefined` when there is none yet.
 *
 * All that is read is durable when this resolves: a process that was killed may have left a write that only the kernel knew.
 *
 * @throws ClusterError failed-precondition when its format is not this version's.
 */
export async function readLogFolder(files: LogFiles): Promise<FoundLog | DamagedLog | undefined> {
  const names = await files.list();
  if (names.includes("CURRENT")) {
    throw new ClusterError(
      "failed-precondition",
      `the raft log is a LevelDB of format 1, this version knows ${logFormat}: start with an empty data folder`,
    );
  }
  const numbers = names
    .map(segmentNumber)
    .filter((number) => number !== undefined)
    .sort((a, b) => a - b);
  const found = numbers.length === 0 ? undefined : await readSegments(files, numbers);
  if (found?.damage !== undefined) return found;
  try {
    const oldest = found?.segments[0]?.number ?? 0;
    for (const name of names) {
      const isSpare = (segmentNumber(name) ?? oldest) < oldest;
      if (isSpare || name.endsWith(unfinishedSuffix)) await files.remove(name);
    }
  } catch (error) {
    await found?.file.close();
    throw error;
  }
  return found;
}

async function readSegments(
  files: LogFiles,
  numbers: readonly number[],
): Promise<FoundLog | DamagedLog> {
  const index = new LogIndex();
  const segments: Segment[] = [];
  let chain: Chain;
  try {
    chain = await readAll(files, numbers, { index, segments });
  } catch (error) {
    if (!(error instanceof ClusterError && hasCode(error, "internal"))) throw error;
    return { damage: errorText(error), index };
  }
  const last = segments.at(-1);
  const file = await files.open(segmentName(last?.number ?? 0));
  try {
    await file.cut(last?.size ?? 0);
    await files.syncNames();
  } catch (error) {
    await file.close();
    throw error;
  }
  return { index, segments, file, chain };
}

/**
 * Reads all segments that are needed, in order; gives what the next frame follows.
 *
 * @throws ClusterError internal at the first damage; what stands before it is then in the index.
 */
async function readAll(
  files: LogFiles,
  numbers: readonly number[],
  into: { readonly index: LogIndex; readonly segments: Segment[] },
): Promise<Chain> {
  const last = numbers.at(-1) ?? 0;
  const bytesOfLast = await files.read(segmentName(last));
  // Where the last one is damaged, all that are there are read as far as it goes.
  const first = decodeSegmentHeader(bytesOfLast)?.first ?? numbers[0] ?? last;
  let chain: Chain | undefined;
  for (let number = first; number <= last; number++) {
    if (!numbers.includes(number)) throw damaged(number, "is missing");
    const bytes = number === last ? bytesOfLast : await files.read(segmentName(number));
    const header = headerOf(bytes, number);
    if (chain !== undefined && header.previous !== chain.previous) {
      throw damaged(number, "does not follow the one before it");
    }
    const read = readSegment(bytes, number, into.index);
    const { size } = read.segment;
    const isWhole = size === bytes.length;
    if (!isWhole && (number !== last || isDamaged(bytes, size, read.chain))) {
      throw damaged(number, `is damaged at byte ${size}`);
    }
    into.segments.push(read.segment);
    chain = read.chain;
  }
  if (chain === undefined) throw damaged(last, "is older than it says");
  return chain;
}

function headerOf(bytes: Uint8Array, number: number): SegmentHeader {
  const header = decodeSegmentHeader(bytes);
  if (header === undefined) throw damaged(number, "has a damaged header");
  if (header.number !== number) throw damaged(number, `says to be segment ${header.number}`);
  return header;
}

/** Reads the frames up to the first one that is not whole. */
function readSegment(
  bytes: Uint8Array,
  number: number,
  index: LogIndex,
): { readonly segment: Segment; readonly chain: Chain } {
  let chain = chainOf(bytes);
  const whole = decodeFrame(bytes, segmentHeaderBytes, chain);
  // Its file got its name only once this frame was durable.
  if (whole?.kind !== "whole") throw damaged(number, "has a damaged first frame");
  const segment: Segment = {
    number,
    head: whole.end,
    size: whole.end,
    records: 0,
    recordBytes: 0,
  };
  index.clearSmall();
  for (let frame: typeof whole | undefined = whole; frame !== undefined; ) {
    index.apply(frame.operations, frame.offsets, segment);
    segment.size = frame.end;
    chain = { ...chain, previous: frame.check };
    frame = decodeFrame(bytes, segment.size, chain);
  }
  return { segment, chain };
}

function damaged(number: number, what: string): ClusterError {
  return new ClusterError("internal", `segment ${number} of the raft log ${what}`);
}
