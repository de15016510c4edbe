/**
 * Virtual time of the simulator: one queue of events, taken in the order of their time.
 *
 * Events of the same time are taken in the order they were put in, so a run depends on nothing but its seed. Times are
 * microseconds since the start of the history.
 */

/** Milliseconds as virtual time. */
export function milliseconds(ms: number): number {
  return Math.round(ms * 1000);
}

interface Event {
  readonly time: number;
  readonly order: number;
  readonly run: () => void;
}

/** What is still to happen: a binary heap. */
export class EventQueue {
  /** Time of the event that runs. */
  now = 0;
  /** Events that have run. */
  count = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  /** Lets `run` happen `delay` microseconds from now. */
  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run);
  }

  /** Lets `run` happen at `time`, which must not have passed. */
  at(time: number, run: () => void): void {
    const heap = this.#heap;
    const event = { time, order: this.#order++, run };
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt];
      if (parent === undefined || isBefore(parent, event)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return false;
    if (heap.length > 0) this.#sink(last);
    this.now = first.time;
    this.count++;
    first.run();
    return true;
  }

  #sink(event: Event): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let childAt = 2 * at + 1;
      let child = heap[childAt];
      if (child === undefined) break;
      const right = heap[childAt + 1];
      if (right !== undefined && isBefore(right, child)) {
        childAt++;
        child = right;
      }
      if (isBefore(event, child)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = event;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}
