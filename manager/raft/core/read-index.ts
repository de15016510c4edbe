/**
 * Reads that wait for proof that this member still leads.
 *
 * Every read gets the next position in a sequence that the leader itself counts; heartbeats carry the highest position
 * and their replies confirm everything up to it. Were the proof tied to a name the reader chose, a late reply to an
 * earlier attempt could confirm a later one (thesis 6.4; etcd-io/raft issue 397).
 */
import { jointIndex } from "./quorum.ts";
import type { ConfState } from "./types.ts";

/** A read on its way. */
export interface PendingRead {
  /** The member whose client reads, to which the answer goes. */
  readonly from: number;
  /** Handed back with the answer. */
  readonly context: Uint8Array;
  /** Commit index when the read arrived; it may be served once this is applied. */
  readonly index: number;
}

/** The reads of one leader in one term, in order of arrival. */
export class ReadQueue {
  #waiting: PendingRead[] = [];
  /** Reads confirmed so far, and thus the position of the last one taken out. */
  #confirmed = 0;
  readonly #acknowledged = new Map<number, number>();

  /** Number of reads that wait. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Adds a read at the next position. */
  add(read: PendingRead): void {
    this.#waiting.push(read);
  }

  /** Position a heartbeat is to carry so that its replies confirm all waiting reads; 0 when none waits. */
  position(): number {
    return this.#waiting.length === 0 ? 0 : this.#confirmed + this.#waiting.length;
  }

  /** Notes that member `from` still followed this leader after the read at `position` had arrived. */
  acknowledge(from: number, position: number): void {
    const before = this.#acknowledged.get(from) ?? 0;
    if (position > before) this.#acknowledged.set(from, position);
  }

  /** Takes out the reads that a quorum of `conf` has confirmed. */
  takeConfirmed(conf: ConfState): readonly PendingRead[] {
    const confirmed = jointIndex(conf.voters, conf.votersOutgoing, (id) =>
      this.#acknowledged.get(id),
    );
    const count = confirmed - this.#confirmed;
    if (count <= 0) return [];
    this.#confirmed = confirmed;
    return this.#waiting.splice(0, count);
  }
}
