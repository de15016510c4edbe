/**
 * Reading a stream piece by piece, at the reader's pace, without ending it when the reader stops early.
 *
 * Node's own iterator destroys the stream then, and with it the connection over which the answer is still to go.
 */
import type { Readable } from "node:stream";
import { ClusterError } from "../common/errors/cluster-error.ts";

/**
 * The pieces of a stream up to its end. The stream's errors must be listened to by its owner.
 * @throws ClusterError `cancelled` while iterating, when the stream was cut before its end.
 */
export async function* piecesOf(source: Readable): AsyncIterable<Buffer> {
  for (;;) {
    const piece: Buffer | null = source.read();
    if (piece !== null) {
      yield piece;
      continue;
    }
    if (source.readableEnded) return;
    if (source.destroyed) throw new ClusterError("cancelled", "the client has left");
    await mayHaveMore(source);
  }
}

/**
 * Takes exactly so many bytes from a stream and leaves the rest in it.
 * @throws ClusterError `cancelled` when it ends before.
 */
export async function takeBytes(source: Readable, count: number): Promise<Buffer> {
  if (count === 0) return Buffer.alloc(0);
  for (;;) {
    const bytes: Buffer | null = source.read(count);
    if (bytes !== null && bytes.length === count) return bytes;
    // At its end a stream gives what is left, which is too little.
    if (bytes !== null || source.readableEnded || source.destroyed)
      throw new ClusterError("cancelled", "the client has left");
    await mayHaveMore(source);
  }
}

function mayHaveMore(source: Readable): Promise<void> {
  return new Promise((resolve) => {
    const names = ["readable", "end", "close", "error"];
    const done = () => {
      for (const name of names) source.off(name, done);
      resolve();
    };
    for (const name of names) source.on(name, done);
  });
}
