/**
 * One end of a connection that carries frames both ways: what comes waits until it is asked for, and whoever sends waits while
 * the other end is slow.
 *
 * Each side says that it has sent all with its last frame. A connection that ends without one was given up, or broke.
 *
 * Small frames are written in pieces that fit into the first buffer Node's TLS has for what it sends, one after the other: a
 * piece that finds it full makes it take another one of 16 KiB, and keep it for as long as the connection lasts
 * (node 20, crypto_bio.cc). A manager has thousands of these connections, on which next to nothing is said.
 */
import type { Duplex } from "node:stream";
import { ClusterError } from "../errors/cluster-error.ts";
import {
  directLingerMs,
  directPieceBytesMax,
  directReadFramesMax,
  directWriteBytesMax,
  rpcMessageBytesMax,
} from "../limits/limits.ts";
import { type Frame, FrameReader, frameOf } from "./frames.ts";

/** One end. */
export class FrameStream {
  readonly #socket: Duplex;
  readonly #reader: FrameReader;
  readonly #onGone: () => void;
  /** Frames that came and were not asked for. */
  #frames: Frame[] = [];
  /** Frames, or what is left of them, that wait to be written. */
  #toWrite: Buffer[] = [];
  #bytesToWrite = 0;
  #isWriting = false;
  #isEnding = false;
  #failure: ClusterError | undefined;
  /** Whoever waits for the next frame, and for what is to be written to become less. */
  #wakeReader: (() => void) | undefined;
  #wakeWriters: (() => void)[] = [];

  /** @param onGone Called once the connection is over, however it ended. */
  constructor(socket: Duplex, onGone: () => void = () => {}) {
    this.#socket = socket;
    this.#onGone = onGone;
    this.#reader = new FrameReader(rpcMessageBytesMax, (frame) => {
      this.#frames.push(frame);
      if (this.#frames.length >= directReadFramesMax) socket.pause();
    });
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    socket.on("end", () => socket.destroy());
    socket.on("error", (error) => this.#fail(brokenOff(error)));
    socket.on("close", () => {
      this.#fail(brokenOff());
      this.#onGone();
    });
  }

  /** The next frame. @throws ClusterError unavailable when the connection is over before there is one. */
  async next(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        if (this.#frames.length === 0 && this.#socket.isPaused()) this.#socket.resume();
        return frame;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }

  /** Sends a frame; resolves once the next may follow. @throws ClusterError unavailable when the connection is over. */
  async write(bytes: Uint8Array, isLast = false): Promise<void> {
    if (this.#failure !== undefined || this.#isEnding || this.#socket.destroyed) {
      throw this.#failure ?? brokenOff();
    }
    const frame = frameOf(bytes, isLast);
    this.#toWrite.push(frame);
    this.#bytesToWrite += frame.length;
    this.#writeNext();
    while (this.#bytesToWrite > directWriteBytesMax) {
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  /** Sends the last frame and closes, once the other end has had the time to read it. */
  end(bytes: Uint8Array): void {
    if (this.#failure !== undefined || this.#isEnding) return;
    this.write(bytes, true).catch(() => {
      // It is over already.
    });
    this.#isEnding = true;
    const timer = setTimeout(() => this.#socket.destroy(), directLingerMs).unref();
    this.#socket.once("close", () => clearTimeout(timer));
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    try {
      this.#reader.take(bytes);
    } catch (error) {
      this.#fail(error instanceof ClusterError ? error : brokenOff(error));
      this.#socket.destroy();
    }
    this.#wakeReader?.();
    this.#wakeReader = undefined;
  }

  #writeNext(): void {
    if (this.#isWriting || this.#failure !== undefined) return;
    if (this.#bytesToWrite === 0) {
      if (this.#isEnding) this.#socket.end();
      return;
    }
    this.#isWriting = true;
    this.#socket.write(this.#nextPiece(), () => {
      this.#isWriting = false;
      if (this.#bytesToWrite <= directWriteBytesMax) this.#wakeAllWriters();
      this.#writeNext();
    });
  }

  #nextPiece(): Buffer {
    const isMuch = this.#bytesToWrite > directWriteBytesMax;
    const bytesMax = isMuch ? directWriteBytesMax : directPieceBytesMax;
    const parts: Buffer[] = [];
    let left = bytesMax;
    for (let first = this.#toWrite[0]; first !== undefined && left > 0; first = this.#toWrite[0]) {
      const part = first.subarray(0, left);
      parts.push(part);
      left -= part.length;
      if (part.length === first.length) this.#toWrite.shift();
      else this.#toWrite[0] = first.subarray(part.length);
    }
    this.#bytesToWrite -= bytesMax - left;
    const [only = Buffer.alloc(0)] = parts;
    return parts.length === 1 ? only : Buffer.concat(parts);
  }

  #fail(error: ClusterError): void {
    this.#failure ??= error;
    this.#toWrite = [];
    this.#bytesToWrite = 0;
    this.#wakeReader?.();
    this.#wakeReader = undefined;
    this.#wakeAllWriters();
  }

  #wakeAllWriters(): void {
    const writers = this.#wakeWriters;
    if (writers.length === 0) return;
    this.#wakeWriters = [];
    for (const wake of writers) wake();
  }
}

function brokenOff(cause?: unknown): ClusterError {
  return new ClusterError("unavailable", "the connection broke off", { cause });
}
