/**
 * The logs of all members as branches of one tree.
 *
 * Two logs that hold an entry of the same index and term must be equal up to there (log matching), so an entry seen
 * anywhere is one `Spot` with one predecessor. Logs are then compared by comparing single spots.
 */
import type { Entry } from "../../../manager/raft/core/types.ts";
import { Violation } from "./violation.ts";

/** One entry in the tree. */
export interface Spot {
  readonly index: number;
  readonly term: number;
  readonly entry: Entry | undefined;
  readonly previous: Spot | undefined;
}

/** Before the first entry. */
export const root: Spot = { index: 0, term: 0, entry: undefined, previous: undefined };

/** All entries ever seen in any log. */
export class ChainTree {
  readonly #spots = new Map<number, Spot>();

  /** The spot of an entry that follows on `previous`. @throws Violation when it followed on another one elsewhere. */
  follow(previous: Spot, entry: Entry): Spot {
    const key = keyOf(entry.index, entry.term);
    const known = this.#spots.get(key);
    if (known === undefined) {
      if (entry.index !== previous.index + 1 || entry.term < previous.term) {
        throw new Violation(
          "log matching",
          `entry ${text(entry)} was put after entry ${text(previous)}`,
        );
      }
      const spot: Spot = { index: entry.index, term: entry.term, entry, previous };
      this.#spots.set(key, spot);
      return spot;
    }
    if (known.previous !== previous || !sameEntry(known.entry, entry)) {
      throw new Violation("log matching", `two logs differ although both hold ${text(entry)}`);
    }
    return known;
  }

  /** The place all logs of a new group begin behind. */
  plant({ index, term }: { readonly index: number; readonly term: number }): Spot {
    const spot: Spot = { index, term, entry: undefined, previous: root };
    this.#spots.set(keyOf(index, term), spot);
    return spot;
  }

  /** The spot at an index and term, if any log ever had it. */
  find(index: number, term: number): Spot | undefined {
    return index === 0 ? root : this.#spots.get(keyOf(index, term));
  }
}

function keyOf(index: number, term: number): number {
  return index * 1_000_000 + term;
}

function sameEntry(a: Entry | undefined, b: Entry): boolean {
  if (a === undefined) return false;
  if (a === b || a.data === b.data) return a.type === b.type;
  return a.type === b.type && Buffer.compare(a.data, b.data) === 0;
}

function text({ index, term }: { readonly index: number; readonly term: number }): string {
  return `${index} of term ${term}`;
}

/** One member's log as a row of spots. */
export class ChainLog {
  #base: Spot = root;
  #spots: Spot[] = [];

  /** What everything up to was cut off. */
  get base(): Spot {
    return this.#base;
  }

  get last(): Spot {
    return this.#spots[this.#spots.length - 1] ?? this.#base;
  }

  /** The spot at `index`; undefined when it is cut off or past the end. */
  at(index: number): Spot | undefined {
    return index === this.#base.index ? this.#base : this.#spots[index - this.#base.index - 1];
  }

  /** Whether the log holds the spot, or has cut it off as applied. */
  holds(spot: Spot): boolean {
    return spot.index <= this.#base.index
      ? isBefore(spot, this.#base)
      : this.at(spot.index) === spot;
  }

  /** Appends, replacing what is there from the first entry's index on. */
  append(tree: ChainTree, entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const keep = first.index - this.#base.index - 1;
    if (keep < 0 || keep > this.#spots.length) {
      throw new Violation(
        "hole in the log",
        `entry ${text(first)} was put after ${text(this.last)}`,
      );
    }
    this.#spots.length = keep;
    let last = this.last;
    for (const entry of entries) {
      last = tree.follow(last, entry);
      this.#spots.push(last);
    }
  }

  /** Cuts off everything up to `index`. */
  compact(index: number): void {
    const base = this.at(index);
    if (base === undefined || index <= this.#base.index) return;
    this.#spots = this.#spots.slice(index - this.#base.index);
    this.#base = base;
  }

  /** Starts anew behind `base`. */
  restore(base: Spot): void {
    this.#base = base;
    this.#spots = [];
  }

  /** Becomes a copy of another log. */
  copyFrom(other: ChainLog): void {
    this.#base = other.#base;
    this.#spots = other.#spots.slice();
  }
}

/** Whether a log that begins behind `base` went through `spot`; walks back, so only for rare checks. */
function isBefore(spot: Spot, base: Spot): boolean {
  let at: Spot | undefined = base;
  while (at !== undefined && at.index > spot.index) at = at.previous;
  return at === spot;
}
