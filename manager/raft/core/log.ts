/**
 * The replicated log of one member: the stable part behind `LogStorage`, the unstable end in memory, and how far it is
 * committed, handed out for applying, and applied.
 *
 * Indexes are inclusive unless a half-open range [lo, hi) is named. Always: applied <= applying <= committed <= last.
 */
import { assert, fail } from "./assert.ts";
import { noEntries } from "./message.ts";
import {
  type Entry,
  entrySize,
  type LogStorage,
  type Position,
  type RaftLogger,
  type Snapshot,
} from "./types.ts";
import { Unstable } from "./unstable.ts";

/** Settings of a log. */
export interface RaftLogOptions {
  readonly storage: LogStorage;
  /** Most bytes of committed entries handed out and not yet applied. */
  readonly maxApplyingBytes: number;
  readonly logger: RaftLogger | undefined;
}

/** A log with its commit index; it knows nothing of members or terms in force. */
export class RaftLog {
  readonly unstable: Unstable;
  /** Highest index known to be stored by a quorum; never falls. */
  committed: number;
  /** Highest index handed out for applying. */
  applying: number;
  /** Highest index the state machine has applied. */
  applied: number;
  readonly #storage: LogStorage;
  readonly #logger: RaftLogger | undefined;
  readonly #maxApplyingBytes: number;
  #applyingBytes = 0;
  #applyingPaused = false;

  constructor({ storage, maxApplyingBytes, logger }: RaftLogOptions) {
    this.#storage = storage;
    this.#logger = logger;
    this.#maxApplyingBytes = maxApplyingBytes;
    this.unstable = new Unstable(storage.lastIndex() + 1, logger);
    const compacted = storage.firstIndex() - 1;
    this.committed = compacted;
    this.applying = compacted;
    this.applied = compacted;
  }

  /** Index of the first entry that can be read; one more than the last when there is none. */
  firstIndex(): number {
    const { snapshot } = this.unstable;
    return snapshot === undefined ? this.#storage.firstIndex() : snapshot.index + 1;
  }

  /** Index of the last entry, stored or not. */
  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.#storage.lastIndex();
  }

  /** Position of the last entry. */
  last(): Position {
    const index = this.lastIndex();
    return { index, term: this.term(index) ?? fail(`the last entry, ${index}, has no term`) };
  }

  /** Term at `index`; `undefined` when that is compacted away or past the end. */
  term(index: number): number | undefined {
    const unstable = this.unstable.term(index);
    if (unstable !== undefined) return unstable;
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.#storage.term(index);
  }

  /** Whether the entry at `index` is of `term`, and hence the logs are equal up to there. */
  matches(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /** Whether a log that ends at `their` holds at least what this one does (thesis 3.6.1). */
  isUpToDate(their: Position): boolean {
    const our = this.last();
    return their.term > our.term || (their.term === our.term && their.index >= our.index);
  }

  /** Appends entries that follow on what is kept; a new tail replaces an old one above the commit index. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.committed, "a committed entry was to be replaced");
    this.unstable.truncateAndAppend(entries);
  }

  /**
   * Takes a leader's entries that follow on `previous`, and its commit index.
   *
   * Only what conflicts is cut off: a late message with fewer entries must not shorten the log.
   *
   * @returns The last index the logs now share, or `undefined` when `previous` does not match.
   */
  appendAfter(
    previous: Position,
    entries: readonly Entry[],
    leaderCommit: number,
  ): number | undefined {
    if (!this.matches(previous.index, previous.term)) return undefined;
    const last = previous.index + entries.length;
    const known = this.#countKnown(entries);
    if (known < entries.length) this.append(known === 0 ? entries : entries.slice(known));
    this.commitTo(Math.min(leaderCommit, last));
    return last;
  }

  /** Number of leading entries the log holds already. */
  #countKnown(entries: readonly Entry[]): number {
    let known = 0;
    for (const { index, term } of entries) {
      const present = this.term(index);
      if (present !== term) {
        if (present !== undefined) {
          this.#logger?.info(
            `entry ${index} of term ${present} conflicts with one of term ${term}`,
          );
        }
        break;
      }
      known++;
    }
    return known;
  }

  /**
   * Guesses where this log meets another one that has an entry at (`index`, `term`): the highest index not above it whose
   * term is not above `term`, since terms only grow along a log. Term 0 says that it is not known.
   */
  findConflict(index: number, term: number): Position {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at);
      if (ours === undefined) return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Raises the commit index to `index`, never lowers it. */
  commitTo(index: number): void {
    if (index <= this.committed) return;
    if (index > this.lastIndex()) {
      fail(`commit index ${index} is past the end of the log at ${this.lastIndex()}; was it lost?`);
    }
    this.committed = index;
  }

  /** Commits up to `index` if that entry is of `term`; an older one is committed only by one after it (thesis 3.6.2). */
  commitIfOfTerm(index: number, term: number): boolean {
    if (index <= this.committed || term === 0 || !this.matches(index, term)) return false;
    this.commitTo(index);
    return true;
  }

  /** Replaces the whole log by `snapshot`, which must be ahead of the commit index. */
  restore(snapshot: Snapshot): void {
    assert(snapshot.index > this.committed, "a snapshot would undo committed entries");
    this.#logger?.info(`the log is replaced by a snapshot at index ${snapshot.index}`);
    this.committed = snapshot.index;
    this.unstable.restore(snapshot);
  }

  /** The newest snapshot, installed or not; `undefined` when none can be had right now. */
  snapshot(): Snapshot | undefined {
    return this.unstable.snapshot ?? this.#storage.snapshot();
  }

  /** Entries from `lo` to the end, as many as `bytesMax` allows but at least one; `undefined` when compacted away. */
  entriesFrom(lo: number, bytesMax: number): readonly Entry[] | undefined {
    const last = this.lastIndex();
    return lo > last ? noEntries : this.slice(lo, last + 1, bytesMax);
  }

  /** Entries in [lo, hi), as many as `bytesMax` allows but at least one; `undefined` when `lo` is compacted away. */
  slice(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined {
    assert(
      lo <= hi && hi <= this.lastIndex() + 1,
      "entries past the end of the log were asked for",
    );
    if (lo < this.firstIndex()) return undefined;
    const { offset } = this.unstable;
    if (lo >= offset) return this.#unstableWithin(lo, hi, bytesMax);

    const cut = Math.min(hi, offset);
    const stable = this.#storage.entries(lo, cut, bytesMax);
    if (stable === undefined) return undefined;
    assert(lo === cut || stable.length > 0, "the stable log lacks entries it should have");
    if (hi <= offset || stable.length < cut - lo) return stable;

    const rest = bytesMax - totalSize(stable);
    if (rest <= 0 || entrySize(this.unstable.entry(offset)) > rest) return stable;
    return [...stable, ...this.#unstableWithin(offset, hi, rest)];
  }

  #unstableWithin(lo: number, hi: number, bytesMax: number): readonly Entry[] {
    if (lo === hi) return noEntries;
    let bytes = entrySize(this.unstable.entry(lo));
    let end = lo + 1;
    while (end < hi) {
      bytes += entrySize(this.unstable.entry(end));
      if (bytes > bytesMax) break;
      end++;
    }
    return this.unstable.slice(lo, end);
  }

  /** Whether a snapshot waits to be installed or is being installed. */
  hasSnapshotPending(): boolean {
    return this.unstable.snapshot !== undefined;
  }

  /** Whether there are committed entries to hand out for applying. */
  hasNextCommitted(allowUnstable: boolean): boolean {
    // A snapshot must be installed first, else entries could be applied to the state before it.
    if (this.#applyingPaused || this.hasSnapshotPending()) return false;
    return this.applying < this.#appliableTo(allowUnstable);
  }

  /**
   * Committed entries to hand out for applying, within the limit on what is being applied.
   *
   * @param allowUnstable Whether entries may be applied that this member has not stored itself.
   */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return noEntries;
    const bytesMax = this.#maxApplyingBytes - this.#applyingBytes;
    const hi = this.#appliableTo(allowUnstable) + 1;
    return (
      this.slice(this.applying + 1, hi, bytesMax) ??
      fail(`entry ${this.applying + 1} was compacted away before it was applied`)
    );
  }

  /** Marks committed entries up to `index`, of `bytes`, as handed out. */
  acceptApplying(index: number, bytes: number, allowUnstable: boolean): void {
    assert(index <= this.committed, "an uncommitted entry was handed out for applying");
    this.applying = index;
    this.#applyingBytes += bytes;
    // Less was handed out than could have been: the next entry would pass the limit.
    this.#applyingPaused =
      this.#applyingBytes >= this.#maxApplyingBytes || index < this.#appliableTo(allowUnstable);
  }

  /** Marks entries up to `index`, of `bytes`, as applied. */
  appliedTo(index: number, bytes: number): void {
    if (index < this.applied || index > this.committed) {
      fail(`applied index ${index} is outside ${this.applied} to ${this.committed}`);
    }
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes);
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes;
  }

  /** Whether an entry in [lo, hi) is of type conf-change; reads in portions, as the range may be long. */
  hasConfChange(lo: number, hi: number): boolean {
    for (let at = lo; at < hi; ) {
      const entries = this.slice(at, hi, this.#maxApplyingBytes);
      if (entries === undefined) fail(`entry ${at} was compacted away before it was applied`);
      if (entries.some((entry) => entry.type === "conf-change")) return true;
      at += entries.length;
    }
    return false;
  }

  #appliableTo(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }
}

/** Size of all `entries` against the limits on messages and on applying. */
export function totalSize(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entrySize(entry);
  return bytes;
}

/** Bytes of data in all `entries`; no-ops count nothing. */
export function totalPayload(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  return bytes;
}
