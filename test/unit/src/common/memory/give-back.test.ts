/** When the heap is collected, and that the real one is. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import { giveBackMemory, type Heap, ownHeap } from "../../../../../src/common/memory/give-back.ts";

const mib = 1024 * 1024;

/** A heap with 15 MiB that are really in use: says what it is told to, and holds `floor` after a collection. */
class TestHeap implements Heap {
  held = 40 * mib;
  floor = 18 * mib;
  busy = 0;
  /** Held at each collection. */
  readonly collected: number[] = [];

  heldBytes() {
    return this.held;
  }

  usedBytes() {
    return 15 * mib;
  }

  busyShare() {
    return this.busy;
  }

  collect() {
    this.collected.push(this.held / mib);
    this.held = Math.min(this.held, this.floor);
  }
}

describe("src/common/memory/give-back", () => {
  let clock: FakeClock;
  let heap: TestHeap;
  let stop: AbortController;
  let running: Promise<void>;

  beforeEach(() => {
    clock = new FakeClock();
    heap = new TestHeap();
    stop = new AbortController();
    running = giveBackMemory(clock, heap, stop.signal);
  });

  afterEach(async () => {
    stop.abort();
    await running;
  });

  it("collects once after a burst and not again while nothing grows", async () => {
    await clock.advance(60_000);
    deepEqual(heap.collected, [40]);
  });

  it("waits for a quiet moment", async () => {
    heap.busy = 0.3;
    await clock.advance(60_000);
    deepEqual(heap.collected, []);
    heap.busy = 0.01;
    await clock.advance(10_000);
    deepEqual(heap.collected, [40]);
  });

  it("collects again when the heap has grown since", async () => {
    await clock.advance(10_000);
    heap.held = 20 * mib;
    await clock.advance(30_000);
    heap.held = 23 * mib;
    await clock.advance(30_000);
    deepEqual(heap.collected, [40, 23]);
  });

  it("goes on until the heap has shrunk, and gives up on one that does not", async () => {
    heap.floor = 40 * mib;
    await clock.advance(20_000);
    deepEqual(heap.collected, [40, 40]);
    await clock.advance(120_000);
    deepEqual(heap.collected, [40, 40, 40]);
    heap.held = 60 * mib;
    heap.floor = 18 * mib;
    await clock.advance(60_000);
    deepEqual(heap.collected, [40, 40, 40, 60]);
  });

  it("leaves a large heap to V8", async () => {
    heap.held = 200 * mib;
    await clock.advance(60_000);
    deepEqual(heap.collected, []);
  });

  it("collects what nothing refers to in the heap of this thread", () => {
    const own = ownHeap();
    const gone = new WeakRef(Array.from({ length: 1000 }, (_, index) => ({ index })));
    // A WeakRef holds its target until the end of the turn in which it was made.
    return new Promise<void>((resolve, reject) => {
      setImmediate(() => {
        try {
          own.collect();
          equal(gone.deref(), undefined);
          ok(own.heldBytes() > mib);
          ok(own.busyShare() >= 0);
          equal("gc" in globalThis, false);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  });
});
