/**
 * Messages as frames on a connection: a word of four bytes, then the bytes of the message.
 *
 * The word is the length; its highest bit marks the last frame that its sender has to send (`frame-stream.ts`).
 */
import { ClusterError } from "../errors/cluster-error.ts";

/** One frame. */
export interface Frame {
  readonly bytes: Buffer;
  /** Nothing follows from this side. */
  readonly isLast: boolean;
}

/** What stands before the bytes of a frame. */
const wordBytes = 4;
const lastBit = 0x8000_0000;
const nothing = Buffer.alloc(0);

/** The bytes as a frame. */
export function frameOf(bytes: Uint8Array, isLast = false): Buffer {
  const frame = Buffer.allocUnsafe(wordBytes + bytes.length);
  frame.writeUInt32BE(bytes.length + (isLast ? lastBit : 0), 0);
  frame.set(bytes, wordBytes);
  return frame;
}

/** Finds the frames in what comes, however it is cut. */
export class FrameReader {
  readonly #bytesMax: number;
  readonly #onFrame: (frame: Frame) => void;
  /** The first bytes of a word. */
  #word: Buffer = nothing;
  /** The frame that comes in parts, and how many of its bytes have come. */
  #frame: Frame | undefined;
  #filled = 0;

  /** @param onFrame The bytes are the receiver's to keep. */
  constructor(bytesMax: number, onFrame: (frame: Frame) => void) {
    this.#bytesMax = bytesMax;
    this.#onFrame = onFrame;
  }

  /** Takes what came. @throws ClusterError resource-exhausted for a frame that is too large. */
  take(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      at = this.#frame === undefined ? this.#begin(bytes, at) : this.#fill(this.#frame, bytes, at);
    }
  }

  /** Takes the word, and the frame when it is there as a whole; gives where that ends. */
  #begin(bytes: Buffer, from: number): number {
    const at = from + wordBytes - this.#word.length;
    const part = bytes.subarray(from, at);
    const word = this.#word.length === 0 ? part : Buffer.concat([this.#word, part]);
    if (word.length < wordBytes) {
      this.#word = word;
      return bytes.length;
    }
    this.#word = nothing;
    const value = word.readUInt32BE(0);
    const isLast = value >= lastBit;
    const length = isLast ? value - lastBit : value;
    if (length > this.#bytesMax) {
      const text = `a message of ${length} bytes is larger than ${this.#bytesMax}`;
      throw new ClusterError("resource-exhausted", text);
    }
    if (bytes.length - at >= length) {
      this.#onFrame({ bytes: bytes.subarray(at, at + length), isLast });
      return at + length;
    }
    this.#frame = { bytes: Buffer.allocUnsafeSlow(length), isLast };
    this.#filled = 0;
    return at;
  }

  /** Takes more of a frame; gives where that ends. */
  #fill(frame: Frame, bytes: Buffer, at: number): number {
    const copied = bytes.copy(frame.bytes, this.#filled, at);
    this.#filled += copied;
    if (this.#filled === frame.bytes.length) {
      this.#frame = undefined;
      this.#onFrame(frame);
    }
    return at + copied;
  }
}
