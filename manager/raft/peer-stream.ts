/**
 * Frames over one connection between two managers: a length of four bytes, then as many bytes.
 *
 * HTTP/2 under gRPC makes a frame wait for the next turn of the event loop, and costs more than all the rest of a commit
 * (`docs/decisions/0011-raft-streams.md`). Here a frame is one write, which is on its way when `write` returns. An empty
 * frame asks for a sign of life, and is answered by one: a partition leaves connections that look alive for minutes.
 */
import type { Duplex } from "node:stream";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { peerLingerMs, peerMessageBytesMax, peerProbeMs } from "../../src/common/limits/limits.ts";

/** Which end of a connection this is: the one that dialled asks for signs of life. */
export type PeerStreamEnd = "dialling" | "accepting";

/** What happens on a stream. */
export interface PeerStreamHandler {
  /** A frame came; the bytes are the receiver's to keep. What it throws ends the stream. */
  onFrame(frame: Buffer): void;
  /** It takes frames again after it was full. */
  onDrain(): void;
  /** It is over, which is told once; with the reason when it broke. */
  onEnd(error: Error | undefined): void;
}

/** Length of what stands before the bytes of a frame. */
export const frameLengthBytes = 4;

/** Periods after which an accepting end that has heard nothing takes the other one for gone: two unanswered probes. */
const silentPeriodsMax = 4;

const probe = Buffer.alloc(frameLengthBytes);

/** The bytes as a frame. */
export function framed(bytes: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(frameLengthBytes + bytes.length);
  frame.writeUInt32BE(bytes.length, 0);
  frame.set(bytes, frameLengthBytes);
  return frame;
}

/** One end of a connection. */
export class PeerStream {
  readonly #socket: Duplex;
  readonly #end: PeerStreamEnd;
  readonly #handler: PeerStreamHandler;
  readonly #timer: NodeJS.Timeout;
  readonly #length = Buffer.alloc(frameLengthBytes);
  /** How many bytes of the length have come. */
  #lengthFilled = 0;
  /** The frame that comes in parts, and how many of its bytes have come. */
  #frame: Buffer | undefined;
  #frameFilled = 0;
  #silentPeriods = 0;
  #over = false;

  constructor(socket: Duplex, end: PeerStreamEnd, handler: PeerStreamHandler) {
    this.#socket = socket;
    this.#end = end;
    this.#handler = handler;
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    socket.on("drain", () => {
      if (!this.#over) handler.onDrain();
    });
    socket.on("end", () => this.#finish(undefined));
    socket.on("error", (error) => this.#finish(error));
    socket.on("close", () => this.#finish(undefined));
    // What arrived while the thread was busy is read first.
    this.#timer = setInterval(() => setImmediate(() => this.look()), peerProbeMs);
    this.#timer.unref();
  }

  /** Sends a frame made by `framed`; false when it is full, until `onDrain`. */
  write(frame: Buffer): boolean {
    return this.#over || this.#socket.write(frame);
  }

  /** Sends a last frame and closes, once the other end has had the time to read it; `onEnd` is not told. */
  end(frame: Buffer): void {
    if (this.#over) return;
    this.#stop();
    const timer = setTimeout(() => this.#socket.destroy(), peerLingerMs).unref();
    this.#socket.once("close", () => clearTimeout(timer));
    this.#socket.end(frame);
  }

  /** Closes at once; `onEnd` is not told. */
  destroy(): void {
    this.#stop();
    this.#socket.destroy();
  }

  /** Asks for a sign of life, and looks whether there was one. Called once a period. */
  look(): void {
    if (this.#over) return;
    const periodsMax = this.#end === "dialling" ? 1 : silentPeriodsMax;
    if (this.#silentPeriods >= periodsMax) {
      this.#finish(new ClusterError("unavailable", "the other end does not answer any more"));
      return;
    }
    this.#silentPeriods++;
    if (this.#end === "dialling") this.#socket.write(probe);
  }

  #take(bytes: Buffer): void {
    this.#silentPeriods = 0;
    try {
      for (let at = 0; at < bytes.length && !this.#over; ) {
        at = this.#frame === undefined ? this.#begin(bytes, at) : this.#fill(bytes, at);
      }
    } catch (error) {
      this.#finish(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Takes the length of a frame, and the frame when it is there as a whole; gives where that ends. */
  #begin(bytes: Buffer, from: number): number {
    let at = from;
    let length: number;
    if (this.#lengthFilled === 0 && bytes.length - at >= frameLengthBytes) {
      length = bytes.readUInt32BE(at);
      at += frameLengthBytes;
    } else {
      while (at < bytes.length && this.#lengthFilled < frameLengthBytes) {
        this.#length[this.#lengthFilled++] = bytes[at++] ?? 0;
      }
      if (this.#lengthFilled < frameLengthBytes) return at;
      this.#lengthFilled = 0;
      length = this.#length.readUInt32BE(0);
    }
    if (length > peerMessageBytesMax) {
      const text = `a frame of ${length} bytes is larger than ${peerMessageBytesMax}`;
      throw new ClusterError("resource-exhausted", text);
    }
    if (length === 0) {
      if (this.#end === "accepting") this.#socket.write(probe);
      return at;
    }
    if (bytes.length - at >= length) {
      this.#handler.onFrame(bytes.subarray(at, at + length));
      return at + length;
    }
    // Not of the pool: entries keep it for as long as they are in the log.
    this.#frame = Buffer.allocUnsafeSlow(length);
    this.#frameFilled = 0;
    return at;
  }

  /** Takes more of a frame; gives where that ends. */
  #fill(bytes: Buffer, at: number): number {
    const frame = this.#frame;
    if (frame === undefined) return at;
    const copied = bytes.copy(frame, this.#frameFilled, at);
    this.#frameFilled += copied;
    if (this.#frameFilled === frame.length) {
      this.#frame = undefined;
      this.#handler.onFrame(frame);
    }
    return at + copied;
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.destroy();
    this.#handler.onEnd(error);
  }

  #stop(): void {
    this.#over = true;
    clearInterval(this.#timer);
  }
}
