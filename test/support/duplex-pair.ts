/**
 * Two streams that are each other's far end: what is written to one is read from the other, and each direction ends alone.
 */
import { Duplex } from "node:stream";

/** A pair; destroying one destroys the other. */
export function duplexPair(): readonly [Duplex, Duplex] {
  /** The writers that wait until the reader of an end wants more. */
  const waiting: ((() => void) | undefined)[] = [undefined, undefined];
  const end = (self: 0 | 1): Duplex => {
    const other = () => pair[1 - self] as Duplex;
    return new Duplex({
      allowHalfOpen: true,
      read: () => {
        const go = waiting[self];
        waiting[self] = undefined;
        go?.();
      },
      write: (chunk: Buffer, _encoding, done) => {
        if (other().push(chunk)) done();
        else waiting[1 - self] = done;
      },
      final: (done) => {
        other().push(null);
        done();
      },
      destroy: (error, done) => {
        const isWhole = other().readableEnded && other().writableFinished;
        if (!other().destroyed && !isWhole) other().destroy(error ?? undefined);
        done(error);
      },
    });
  };
  const pair: readonly [Duplex, Duplex] = [end(0), end(1)];
  for (const stream of pair) stream.on("error", () => {});
  return pair;
}
