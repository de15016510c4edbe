/**
 * The frames of a tunnel as an ordinary Node stream, at either end: bytes both ways, each way with an end of its own.
 *
 * Whoever reads or writes the stream sets the pace: a frame is taken from the call only when its bytes are wanted, and a
 * write is done when the call has taken its frames. So what lies between two slow ends is a few frames, however much is sent.
 */
import { Duplex } from "node:stream";
import { TunnelFrame } from "../api/generated/api.ts";
import type { Clock } from "../clock/clock.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { tunnelFrameBytesMax } from "../limits/tunnel.ts";
import type { MessageStream } from "./handler.ts";

/** What a byte stream is made over. */
export interface ByteStreamOptions {
  readonly frames: MessageStream<TunnelFrame, TunnelFrame>;
  /** Called once: with undefined when what was written is still to arrive, else with why the stream broke off. */
  readonly onClose: (error: Error | undefined) => void;
  /**
   * Whether a stream that is destroyed without an error once it has ended its side is over in order, as a socket would be:
   * what was written arrives, what still comes is dropped. Otherwise both sides must have ended.
   */
  readonly lingers: boolean;
}

/** A stream over the frames; an error of the call, or its end before that of the bytes, destroys it. */
export function byteStream({ frames, onClose, lingers }: ByteStreamOptions): Duplex {
  const wanted = new Gate();
  let isBroken = false;
  const stream = new Duplex({
    allowHalfOpen: true,
    read: () => wanted.open(),
    write: (chunk: Buffer, _encoding, done) => {
      writePieces(frames, chunk).then(() => done(), done);
    },
    final: (done) => {
      frames.write(TunnelFrame.create({ end: true })).then(() => done(), done);
    },
    destroy: (error, done) => {
      wanted.open();
      const isWhole = stream.writableFinished && (lingers || stream.readableEnded);
      isBroken = error !== null || !isWhole;
      const cut = error ?? new ClusterError("cancelled", "the tunnel is closed");
      onClose(isBroken ? cut : undefined);
      done(error);
    },
  });
  void pump(frames, { stream, wanted, isBroken: () => isBroken });
  return stream;
}

/** Sends an empty frame whenever nothing else was sent for `periodMs`, until the signal aborts. Never rejects. */
export async function beat(
  stream: MessageStream<TunnelFrame, TunnelFrame>,
  o: { readonly periodMs: number; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  try {
    for (;;) {
      await o.clock.sleep(o.periodMs, o.signal);
      await stream.write(TunnelFrame.create());
    }
  } catch {
    // The call is over, or the signal aborted: whoever reads the stream learns why.
  }
}

/** Moves frames into the stream for as long as it takes them. Never rejects. */
async function pump(
  frames: AsyncIterable<TunnelFrame>,
  to: { readonly stream: Duplex; readonly wanted: Gate; readonly isBroken: () => boolean },
): Promise<void> {
  const { stream, wanted } = to;
  let hasEnded = false;
  try {
    for await (const { data, end } of frames) {
      // To stop reading would give the call up.
      if (to.isBroken()) return;
      if (hasEnded || stream.destroyed) continue;
      if (data.length > 0) {
        wanted.close();
        if (!stream.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength))) {
          await wanted.passed();
        }
      }
      if (end) {
        hasEnded = true;
        stream.push(null);
      }
    }
    if (!hasEnded && !stream.destroyed)
      stream.destroy(new ClusterError("unavailable", "the tunnel broke off"));
  } catch (error) {
    stream.destroy(error instanceof Error ? error : undefined);
  }
}

async function writePieces(
  frames: MessageStream<TunnelFrame, TunnelFrame>,
  chunk: Buffer,
): Promise<void> {
  for (let at = 0; at < chunk.length; at += tunnelFrameBytesMax) {
    const data = chunk.subarray(at, at + tunnelFrameBytesMax);
    await frames.write(TunnelFrame.create({ data }));
  }
}

/** Something to wait at until it is opened. */
class Gate {
  #isOpen = true;
  #waiting: (() => void) | undefined;

  open(): void {
    this.#isOpen = true;
    this.#waiting?.();
    this.#waiting = undefined;
  }

  close(): void {
    this.#isOpen = false;
  }

  passed(): Promise<void> {
    if (this.#isOpen) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}
