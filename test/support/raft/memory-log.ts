/**
 * A stable log in memory, with the operations a driver needs to write it.
 */
import {
  type ConfState,
  type Entry,
  emptyConfState,
  entrySize,
  type HardState,
  type LogStorage,
  type Snapshot,
} from "../../../manager/raft/core/types.ts";

/** Entries after a compacted part whose last position is kept. */
export class MemoryLog implements LogStorage {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  /** What `snapshot()` gives: the newest state of the test's state machine. */
  newestSnapshot: () => Snapshot | undefined = () => undefined;
  #confState: ConfState = emptyConfState;
  #compactedIndex = 0;
  #compactedTerm = 0;
  #entries: Entry[] = [];

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.hardState, confState: this.#confState };
  }

  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined {
    if (lo <= this.#compactedIndex) return undefined;
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = lo; index < hi; index++) {
      const entry = this.#entries[index - this.#compactedIndex - 1];
      if (entry === undefined) throw new Error(`entry ${index} was never stored`);
      bytes += entrySize(entry);
      if (bytes > bytesMax && found.length > 0) break;
      found.push(entry);
    }
    return found;
  }

  term(index: number): number | undefined {
    if (index === this.#compactedIndex) return this.#compactedTerm;
    return this.#entries[index - this.#compactedIndex - 1]?.term;
  }

  firstIndex(): number {
    return this.#compactedIndex + 1;
  }

  lastIndex(): number {
    return this.#compactedIndex + this.#entries.length;
  }

  snapshot(): Snapshot | undefined {
    return this.newestSnapshot();
  }

  /** Replaces the log from the first of `entries` on. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const at = entry.index - this.#compactedIndex - 1;
      if (at < 0) continue;
      if (at > this.#entries.length) throw new Error(`a hole before entry ${entry.index}`);
      this.#entries.length = at;
      this.#entries.push(entry);
    }
  }

  /** Replaces everything by a snapshot. */
  install({ index, term, confState }: Snapshot): void {
    this.#compactedIndex = index;
    this.#compactedTerm = term;
    this.#confState = confState;
    this.#entries = [];
  }

  /** Drops the entries up to and including `index`. */
  compact(index: number): void {
    const term = this.term(index);
    if (term === undefined) throw new Error(`cannot compact to ${index}`);
    this.#entries = this.#entries.slice(index - this.#compactedIndex);
    this.#compactedIndex = index;
    this.#compactedTerm = term;
  }
}
