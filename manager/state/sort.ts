/**
 * Sorts many objects by id without holding the main thread: sorted runs first, then a merge as far as it is read.
 */
import type { AnyObject } from "./tables.ts";

/** Objects of one run: sorting this many takes a few milliseconds. */
const runObjects = 8_192;
/** Objects handed out at a time. */
const sliceObjects = 512;

/** The objects in the order of their ids, in slices. */
export async function* sortedById(
  objects: Iterable<AnyObject>,
  pause: () => Promise<void> | undefined,
): AsyncIterable<readonly AnyObject[]> {
  const runs: Run[] = [];
  let run: AnyObject[] = [];
  for (const object of objects) {
    if (run.length === 0) runs.push({ objects: run, at: 0 });
    run.push(object);
    if (run.length < runObjects) continue;
    run.sort(byId);
    run = [];
    await pause();
  }
  run.sort(byId);
  const heap = new RunHeap(runs);
  for (;;) {
    const slice: AnyObject[] = [];
    while (slice.length < sliceObjects) {
      const next = heap.take();
      if (next === undefined) break;
      slice.push(next);
    }
    if (slice.length === 0) return;
    yield slice;
  }
}

function byId(a: AnyObject, b: AnyObject): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

interface Run {
  readonly objects: readonly AnyObject[];
  at: number;
}

/** A binary heap of runs by their next id. */
class RunHeap {
  readonly #runs: Run[];

  constructor(runs: readonly Run[]) {
    this.#runs = [...runs];
    for (let at = this.#runs.length >> 1; at >= 0; at--) this.#sink(at);
  }

  take(): AnyObject | undefined {
    const first = this.#runs[0];
    const object = first?.objects[first.at];
    if (first === undefined || object === undefined) return undefined;
    first.at++;
    if (first.at === first.objects.length) {
      const last = this.#runs.pop();
      if (last !== undefined && last !== first) this.#runs[0] = last;
    }
    this.#sink(0);
    return object;
  }

  #sink(from: number): void {
    for (let at = from; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#runs.length && this.#less(child, least)) least = child;
      }
      if (least === at) return;
      const moved = this.#runs[at] as Run;
      this.#runs[at] = this.#runs[least] as Run;
      this.#runs[least] = moved;
      at = least;
    }
  }

  #less(a: number, b: number): boolean {
    return idOf(this.#runs[a]) < idOf(this.#runs[b]);
  }
}

function idOf(run: Run | undefined): string {
  return run?.objects[run.at]?.id ?? "";
}
