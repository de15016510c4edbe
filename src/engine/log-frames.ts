/**
 * Log records out of the frames in which a node sends a container's log: `frames.ts` the other way round.
 */

/** One record of a log, as it came over the wire. */
export interface FramedRecord {
  readonly stream: "stdout" | "stderr";
  /** RFC 3339 with nine digits of the second. */
  readonly time: string;
  /** What the log options add to each record; mostly empty. */
  readonly details: string;
  /** With its line end, if it had one. */
  readonly data: Uint8Array;
}

/** Header by which a manager asks a node for frames also where clients get the bare output of a terminal. */
export const framesHeader = "x-skep-frames";

const headBytes = 8;

/** The records in a stream of frames, each of which begins with a time, and details if they were asked for. */
export async function* recordsFromFrames(
  pieces: AsyncIterable<Buffer>,
  hasDetails: boolean,
): AsyncGenerator<FramedRecord, void, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let at = 0;
    while (rest.length - at >= headBytes) {
      const end = at + headBytes + rest.readUInt32BE(at + 4);
      if (rest.length < end) break;
      const stream = rest[at] === 2 ? "stderr" : "stdout";
      yield recordFrom(stream, rest.subarray(at + headBytes, end), hasDetails);
      at = end;
    }
    rest = rest.subarray(at);
  }
}

function recordFrom(
  stream: FramedRecord["stream"],
  line: Buffer,
  hasDetails: boolean,
): FramedRecord {
  const [time, afterTime] = cutWord(line);
  const [details, data] = hasDetails ? cutWord(afterTime) : ["", afterTime];
  return { stream, time, details, data };
}

/** What stands before the first space, and what after it. */
function cutWord(line: Buffer): [string, Buffer] {
  const at = line.indexOf(" ");
  return at < 0 ? ["", line] : [line.toString("latin1", 0, at), line.subarray(at + 1)];
}
