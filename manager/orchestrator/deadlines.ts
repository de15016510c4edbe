/**
 * What is due when: keys by time, the earliest first. Pure.
 *
 * A heap, so that a hundred thousand waiting tasks cost nothing but when their time comes.
 */

interface Deadline {
  readonly key: string;
  readonly atMs: number;
}

/** Keys and their times; a key that is put in again has the new time only. */
export class Deadlines {
  #heap: Deadline[] = [];
  readonly #atMs = new Map<string, number>();

  set(key: string, atMs: number): void {
    if (this.#atMs.get(key) === atMs) return;
    this.#atMs.set(key, atMs);
    this.#heap.push({ key, atMs });
    this.#up(this.#heap.length - 1);
  }

  delete(key: string): void {
    this.#atMs.delete(key);
  }

  clear(): void {
    this.#heap = [];
    this.#atMs.clear();
  }

  /** When the first one is due; infinity when there is none. */
  nextMs(): number {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return Number.POSITIVE_INFINITY;
      if (this.#atMs.get(first.key) === first.atMs) return first.atMs;
      // Deleted, or put in again with another time.
      this.#pop();
    }
  }

  /** Takes out what is due. */
  take(nowMs: number): string[] {
    const due: string[] = [];
    while (this.nextMs() <= nowMs) {
      const first = this.#heap[0];
      if (first === undefined) break;
      this.#pop();
      this.#atMs.delete(first.key);
      due.push(first.key);
    }
    return due;
  }

  /** Takes out what is due, hands it to `work`, and puts it back as due when that fails. */
  async drain(nowMs: number, work: (due: readonly string[]) => Promise<void>): Promise<void> {
    const due = this.take(nowMs);
    try {
      await work(due);
    } catch (error) {
      for (const key of due) this.set(key, nowMs);
      throw error;
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(from: number): void {
    for (let at = from; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      let least = at;
      if (this.#isBefore(left, least)) least = left;
      if (this.#isBefore(right, least)) least = right;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a], this.#heap[b]];
    return one !== undefined && other !== undefined && one.atMs < other.atMs;
  }

  #swap(a: number, b: number): void {
    const [one, other] = [this.#heap[a], this.#heap[b]];
    if (one === undefined || other === undefined) return;
    this.#heap[a] = other;
    this.#heap[b] = one;
  }
}
