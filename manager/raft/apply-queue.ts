/**
 * Committed entries on their way to the main thread: in order, once, and no more than it can take.
 *
 * `raft-node.ts` pushes what the core hands out; each push ends with its `done` once the main thread has applied it, and
 * only then does the core hand out more. Entries the store has already (from its checkpoint) are passed over.
 */
import { committedBatchBytesMax, committedBytesMax } from "../../src/common/limits/limits.ts";
import { type Entry, entrySize } from "./core/types.ts";

/** Consecutive committed entries. */
export interface CommittedEntries {
  readonly entries: readonly Entry[];
  readonly lastIndex: number;
}

interface Item {
  readonly entries: readonly Entry[];
  readonly lastIndex: number;
  readonly bytes: number;
  readonly done: () => void;
  sent: boolean;
}

/** The queue; `deliver` posts to the main thread, which answers through `acknowledged`. */
export class ApplyQueue {
  readonly #deliver: (batch: CommittedEntries) => void;
  #items: Item[] = [];
  #outstandingBytes = 0;
  #appliedIndex: number;
  #held = false;

  /** @param appliedIndex What the store has applied at the start. */
  constructor(appliedIndex: number, deliver: (batch: CommittedEntries) => void) {
    this.#appliedIndex = appliedIndex;
    this.#deliver = deliver;
  }

  /** What the store has applied. */
  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  /** Adds entries that follow those of the last push. */
  push(entries: readonly Entry[], done: () => void): void {
    const groups = split(entries);
    groups.forEach((group, at) => {
      this.#items.push({
        entries: group.entries,
        lastIndex: group.entries.at(-1)?.index ?? 0,
        bytes: group.bytes,
        done: at === groups.length - 1 ? done : () => {},
        sent: false,
      });
    });
    this.#pump();
  }

  /** The main thread has applied everything up to `index`. */
  acknowledged(index: number): void {
    this.#appliedIndex = Math.max(this.#appliedIndex, index);
    this.#pump();
  }

  /** Delivers nothing until `release`, while a snapshot is put in place of the state. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on; with `index`, the state is now that of a snapshot. */
  release(index?: number): void {
    this.#held = false;
    if (index !== undefined) this.#appliedIndex = index;
    this.#pump();
  }

  #pump(): void {
    for (const item of this.#items) {
      if (item.sent || item.lastIndex <= this.#appliedIndex) continue;
      const full = this.#outstandingBytes + item.bytes > committedBytesMax;
      if (this.#held || (full && this.#outstandingBytes > 0)) break;
      item.sent = true;
      this.#outstandingBytes += item.bytes;
      const entries = item.entries.filter((entry) => entry.index > this.#appliedIndex);
      this.#deliver({ entries, lastIndex: item.lastIndex });
    }
    this.#finish();
  }

  #finish(): void {
    let count = 0;
    while ((this.#items[count]?.lastIndex ?? Number.POSITIVE_INFINITY) <= this.#appliedIndex)
      count++;
    if (count === 0) return;
    const finished = this.#items.splice(0, count);
    for (const item of finished) if (item.sent) this.#outstandingBytes -= item.bytes;
    for (const item of finished) item.done();
    this.#pump();
  }
}

function split(entries: readonly Entry[]): { entries: Entry[]; bytes: number }[] {
  const groups: { entries: Entry[]; bytes: number }[] = [];
  for (const entry of entries) {
    const size = entrySize(entry);
    const group = groups.at(-1);
    if (group === undefined || group.bytes + size > committedBatchBytesMax) {
      groups.push({ entries: [entry], bytes: size });
    } else {
      group.entries.push(entry);
      group.bytes += size;
    }
  }
  return groups;
}
