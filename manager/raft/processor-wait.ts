/**
 * How long the calling thread has been ready to run without being let, as Linux counts it (`/proc`, schedstat: the second
 * number, nanoseconds).
 *
 * By it, `log-files.ts` tells a slow disk from a busy processor: after a synced write the thread has to wait for its turn again,
 * often longer than for the disk. A reading takes 10 to 30 us, so it is asked for only where something was late.
 */
import { closeSync, openSync, readSync } from "node:fs";

/** The count of one thread. */
export interface ProcessorWait {
  /** Milliseconds so far; always 0 where the kernel does not tell. */
  readonly readMs: () => number;
  readonly close: () => void;
}

/** That of the thread that calls, which alone may read it. */
export function ownProcessorWait(path = "/proc/thread-self/schedstat"): ProcessorWait {
  let file: number | undefined;
  try {
    // Not through the thread pool: the name stands for whoever opens it.
    file = openSync(path, "r");
  } catch {
    // A kernel without it, or no /proc: then all of a write counts as the disk's.
  }
  const bytes = Buffer.alloc(64);
  return {
    readMs: () => {
      if (file === undefined) return 0;
      const length = readSync(file, bytes, 0, bytes.length, 0);
      return waitedMs(bytes.toString("latin1", 0, length));
    },
    close: () => {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}

/** Of a line of schedstat: time on the processor, time spent waiting for it, turns. */
function waitedMs(line: string): number {
  const waited = Number(line.split(" ")[1]);
  return Number.isFinite(waited) ? waited / 1e6 : 0;
}
