/**
 * What changed in one network, in order: readers come back with the place they had got to. Bounded. Pure.
 */
import { networkLogEntriesMax } from "../../src/common/limits/agent.ts";

/** One thing that changed; what it is now is looked up by its id. */
export interface NetworkEntry {
  readonly kind: "network" | "service" | "endpoint" | "peer";
  readonly id: string;
}

/** The changes of one network, or of the peers. */
export class NetworkLog {
  #entries: NetworkEntry[] = [];
  /** Place of the first entry that is still here. */
  #base = 0;

  /** Place after the last entry. */
  get end(): number {
    return this.#base + this.#entries.length;
  }

  push(entry: NetworkEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length <= networkLogEntriesMax) return;
    const gone = this.#entries.length >>> 1;
    this.#entries = this.#entries.slice(gone);
    this.#base += gone;
  }

  /** Calls `see` with each entry from a place on; false when some of them are not here any more. */
  read(from: number, see: (entry: NetworkEntry) => void): boolean {
    if (from < this.#base || from > this.end) return false;
    for (let at = from - this.#base; at < this.#entries.length; at++) {
      const entry = this.#entries[at];
      if (entry !== undefined) see(entry);
    }
    return true;
  }
}
