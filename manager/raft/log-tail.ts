/**
 * The part of the Raft log that is on disk and not yet compacted, in memory: what the core reads synchronously.
 *
 * `storage.ts` changes it after each durable write; the core sees through the `LogStorage` interface.
 */
import assert from "node:assert/strict";
import {
  type ConfState,
  type Entry,
  entrySize,
  type HardState,
  type LogStorage,
  type Snapshot,
} from "./core/types.ts";

/** What a tail begins with; everything up to the anchor has been compacted. */
export interface TailStart {
  readonly anchor: { readonly index: number; readonly term: number };
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly confState: ConfState;
}

/** In-memory log over the disk. */
export class LogTail implements LogStorage {
  #start: { readonly hardState: HardState; readonly confState: ConfState };
  readonly #snapshot: () => Snapshot | undefined;
  #anchor: { readonly index: number; readonly term: number };
  #entries: Entry[];
  #bytes = 0;

  /** @param snapshot Says which snapshot a peer could be sent right now. */
  constructor(start: TailStart, snapshot: () => Snapshot | undefined) {
    this.#start = { hardState: start.hardState, confState: start.confState };
    this.#snapshot = snapshot;
    this.#anchor = start.anchor;
    this.#entries = [...start.entries];
    for (const entry of this.#entries) this.#bytes += entrySize(entry);
  }

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return this.#start;
  }

  /** Sets what the core is to begin with, before it is made. */
  beginWith(start: { readonly hardState: HardState; readonly confState: ConfState }): void {
    this.#start = start;
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot();
  }

  firstIndex(): number {
    return this.#anchor.index + 1;
  }

  lastIndex(): number {
    return this.#anchor.index + this.#entries.length;
  }

  /** Size of what is held, as the core counts it. */
  get bytes(): number {
    return this.#bytes;
  }

  term(index: number): number | undefined {
    if (index === this.#anchor.index) return this.#anchor.term;
    return this.#entries[index - this.#anchor.index - 1]?.term;
  }

  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined {
    if (lo <= this.#anchor.index) return undefined;
    const from = lo - this.#anchor.index - 1;
    const to = Math.min(hi - this.#anchor.index - 1, this.#entries.length);
    let bytes = 0;
    let end = from;
    while (end < to) {
      const entry = this.#entries[end];
      if (entry === undefined) break;
      bytes += entrySize(entry);
      if (bytes > bytesMax && end > from) break;
      end++;
    }
    return this.#entries.slice(from, end);
  }

  /** Appends entries, which replace everything from the first one's index on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.#anchor.index && first.index <= this.lastIndex() + 1);
    const keep = first.index - this.#anchor.index - 1;
    for (const entry of this.#entries.splice(keep)) this.#bytes -= entrySize(entry);
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#bytes += entrySize(entry);
    }
  }

  /** Drops everything up to `index`, which must be held. */
  compact(index: number): void {
    const term = this.term(index);
    assert(term !== undefined);
    for (const entry of this.#entries.splice(0, index - this.#anchor.index)) {
      this.#bytes -= entrySize(entry);
    }
    this.#anchor = { index, term };
  }

  /** Replaces the whole log by a snapshot's position. */
  restore(anchor: { readonly index: number; readonly term: number }): void {
    this.#anchor = anchor;
    this.#entries = [];
    this.#bytes = 0;
  }

  /** The entry at `index`, if held. */
  entry(index: number): Entry | undefined {
    return this.#entries[index - this.#anchor.index - 1];
  }
}
