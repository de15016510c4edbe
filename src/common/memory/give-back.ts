/**
 * Gives memory back once a burst of work is over.
 *
 * V8 collects when it allocates. A node that has just started, or has started its containers, allocates next to nothing
 * from then on, so what the burst left (modules' parse trees, answers, and a young generation grown to 32 MB for it) would stay
 * resident for hours: a fifth of a daemon. One collection in a quiet moment frees it and shrinks the young generation; it takes
 * 20 to 50 ms of a heap of 20 MB, and the thread has nothing else to do then. The larger size of the young generation, which
 * makes bursts fast, stays allowed, unlike with `--max-semi-space-size`.
 *
 * Each thread with a heap of its own runs this.
 */
import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../clock/clock.ts";

/** The heap of one thread. */
export interface Heap {
  /** Bytes that it holds from the system; they fall some time after a collection. */
  heldBytes(): number;
  /** Bytes in use, with what could be collected. */
  usedBytes(): number;
  /** Share of the time since the last call in which the thread worked, 0 to 1. */
  busyShare(): number;
  /** Collects everything that nothing refers to; the thread stands still meanwhile. */
  collect(): void;
}

/** How often to look, milliseconds: also how long a moment has to be quiet. */
const periodMs = 10_000;
/** A thread that works more than this is not at rest; an idle manager's main thread is at 1 to 2 %. */
const busyShareMax = 0.05;
/** A heap that holds this much more than is in use is worth a collection; an idle daemon's holds 1 to 4 MB more. */
const slackBytesMax = 6 * 1024 * 1024;
/** Collections one after the other: the young generation shrinks at the second sometimes, by what V8 saw before. */
const repeatsMax = 3;
/** A larger heap is left to V8: a collection takes about 1 to 5 ms for a megabyte, by the machine. */
const heldBytesMax = 96 * 1024 * 1024;

/** Looks now and then until the signal aborts. */
export async function giveBackMemory(clock: Clock, heap: Heap, signal: AbortSignal): Promise<void> {
  /** In use after the last collection, or what the heap holds when collections did not bring it down. */
  let baseBytes = 0;
  let repeats = 0;
  heap.busyShare();
  for (;;) {
    try {
      await clock.sleep(periodMs, signal);
    } catch {
      // Stopped: the only way in which a sleep fails.
      return;
    }
    const heldBytes = heap.heldBytes();
    if (heap.busyShare() > busyShareMax || heldBytes > heldBytesMax) continue;
    if (heldBytes <= baseBytes + slackBytesMax) {
      repeats = 0;
    } else if (repeats === repeatsMax) {
      baseBytes = heldBytes;
    } else {
      repeats += 1;
      heap.collect();
      baseBytes = heap.usedBytes();
    }
  }
}

/** The heap of the thread that calls. */
export function ownHeap(): Heap {
  let before = performance.eventLoopUtilization();
  let collect: (() => void) | undefined;
  return {
    heldBytes: () => process.memoryUsage().heapTotal,
    usedBytes: () => process.memoryUsage().heapUsed,
    busyShare: () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, before);
      before = now;
      return utilization;
    },
    collect: () => {
      collect ??= exposedCollector();
      collect();
    },
  };
}

/** V8's own function, which only contexts made under the flag have. */
function exposedCollector(): () => void {
  setFlagsFromString("--expose-gc");
  try {
    return runInNewContext("gc") as () => void;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
