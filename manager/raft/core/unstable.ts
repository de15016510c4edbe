/**
 * The end of the log that is not known to be durable yet: entries, or a snapshot that replaces everything.
 *
 * Entries stay here while they are being written, so that the log can be read as a whole; only once the storage says that
 * they are durable, and cannot be overwritten by a write under way, are they dropped.
 */
import { assert, fail } from "./assert.ts";
import type { Entry, Position, RaftLogger, Snapshot } from "./types.ts";

/** The part of a log that waits to be, or is being, stored. */
export class Unstable {
  /** Index of the first entry held, or of the next one when none is; may lie inside the stable log, which it overrules. */
  offset: number;
  /** Entries below this index have been handed out for writing. */
  offsetInProgress: number;
  snapshot: Snapshot | undefined;
  #snapshotInProgress = false;
  #entries: Entry[] = [];
  /** Position of the first live entry in `#entries`; the ones before it are durable and wait to be cut off. */
  #head = 0;
  readonly #logger: RaftLogger | undefined;

  constructor(offset: number, logger: RaftLogger | undefined) {
    this.offset = offset;
    this.offsetInProgress = offset;
    this.#logger = logger;
  }

  /** Number of entries held. */
  get length(): number {
    return this.#entries.length - this.#head;
  }

  /** Index of the last entry or of the snapshot, or `undefined` when there is neither. */
  lastIndex(): number | undefined {
    return this.length > 0 ? this.offset + this.length - 1 : this.snapshot?.index;
  }

  /** Term at `index` as far as it is known here. */
  term(index: number): number | undefined {
    if (index >= this.offset) return this.#entries[this.#head + index - this.offset]?.term;
    return this.snapshot?.index === index ? this.snapshot.term : undefined;
  }

  /** The entry at `index`, which must be held. */
  entry(index: number): Entry {
    const entry = this.#entries[this.#head + index - this.offset];
    if (index < this.offset || entry === undefined) fail(`no unstable entry at index ${index}`);
    return entry;
  }

  /** A new list of the entries in [lo, hi), all of which must be held. */
  slice(lo: number, hi: number): Entry[] {
    assert(
      lo >= this.offset && lo <= hi && hi <= this.offset + this.length,
      "entries outside the unstable log were asked for",
    );
    const shift = this.#head - this.offset;
    return this.#entries.slice(lo + shift, hi + shift);
  }

  /** Whether there are entries that have not been handed out for writing. */
  hasNextEntries(): boolean {
    return this.offset + this.length > this.offsetInProgress;
  }

  /** The entries that have not been handed out for writing. */
  nextEntries(): Entry[] {
    return this.slice(this.offsetInProgress, this.offset + this.length);
  }

  /** The snapshot, unless it has been handed out for installing. */
  nextSnapshot(): Snapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.snapshot;
  }

  /** Marks everything held as handed out. */
  acceptInProgress(): void {
    if (this.length > 0) this.offsetInProgress = this.offset + this.length;
    if (this.snapshot !== undefined) this.#snapshotInProgress = true;
  }

  /**
   * Drops the entries up to `upTo`, which are durable.
   *
   * Ignored when another entry has taken that place since. The caller vouches that no write under way can overwrite them.
   */
  stableTo(upTo: Position): void {
    const { index } = upTo;
    if (index < this.offset || index >= this.offset + this.length) {
      this.#logger?.debug(`entry ${index} was stored but is not in the unstable log`);
      return;
    }
    if (this.entry(index).term !== upTo.term) {
      this.#logger?.info(`entry ${index} of term ${upTo.term} was replaced while being stored`);
      return;
    }
    this.#head += index + 1 - this.offset;
    this.offset = index + 1;
    this.offsetInProgress = Math.max(this.offsetInProgress, this.offset);
    // Cutting when half is dead keeps the cost per entry constant and frees the memory soon.
    if (this.#head * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }

  /** Drops the snapshot at `index`, which is installed. */
  stableSnapshotTo(index: number): void {
    if (this.snapshot?.index !== index) return;
    this.snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** Replaces everything by `snapshot`. */
  restore(snapshot: Snapshot): void {
    this.#restart(snapshot.index + 1);
    this.snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Appends `entries`, which follow each other, first cutting off what they overlap. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const first = entries[0]?.index ?? 0;
    const end = this.offset + this.length;
    assert(first > 0 && first <= end, "entries were appended past the end of the log");
    if (first < this.offset) {
      this.#logger?.info(`the log is replaced from index ${first} on`);
      this.#restart(first);
    } else if (first < end) {
      this.#logger?.info(`the log is cut off before index ${first}`);
      this.#entries.length = this.#head + first - this.offset;
      this.offsetInProgress = Math.min(this.offsetInProgress, first);
    }
    let next = first;
    for (const entry of entries) {
      assert(entry.index === next++, "appended entries do not follow each other");
      this.#entries.push(entry);
    }
  }

  #restart(offset: number): void {
    this.#entries = [];
    this.#head = 0;
    this.offset = offset;
    this.offsetInProgress = offset;
  }
}
