/**
 * What a leader knows about the log of one member, and how it sends to it.
 *
 * A member is probed (one message at a time) until the place where the logs meet is known, then streamed to, up to the
 * window of `Inflights`; when the entries it needs are compacted away it waits for a snapshot.
 */
import { assert } from "./assert.ts";
import { Inflights } from "./inflights.ts";
import type { ProgressState, ProgressStatus } from "./types.ts";

/** What a progress starts with. */
export interface ProgressStart {
  readonly match: number;
  readonly next: number;
  readonly isLearner: boolean;
  readonly recentActive: boolean;
  readonly inflights: Inflights;
}

/** Bounds of the window of each member. */
export interface InflightLimits {
  readonly maxInflightMsgs: number;
  readonly maxInflightBytes: number;
}

/** Progress of one member; 0 <= match < next always holds. */
export class Progress {
  match: number;
  next: number;
  state: ProgressState = "probe";
  /** Highest commit index sent; falls back when messages may have been lost. */
  sentCommit = 0;
  /** Index of the snapshot under way while in state `snapshot`, else 0. */
  pendingSnapshot = 0;
  recentActive: boolean;
  /** Whether nothing is sent until the member answers: a probe is out, or the window is full. */
  flowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;

  constructor(start: ProgressStart) {
    this.match = start.match;
    this.next = start.next;
    this.isLearner = start.isLearner;
    this.recentActive = start.recentActive;
    this.inflights = start.inflights;
    this.#check();
  }

  /** A copy that shares the window; for configurations that are worked out before they come into force. */
  copy(): Progress {
    const copied = new Progress(this);
    copied.state = this.state;
    copied.sentCommit = this.sentCommit;
    copied.pendingSnapshot = this.pendingSnapshot;
    copied.flowPaused = this.flowPaused;
    return copied;
  }

  /** Goes (back) to probing, from what is known to match or from the snapshot that was just sent. */
  becomeProbe(): void {
    const snapshot = this.state === "snapshot" ? this.pendingSnapshot : 0;
    this.#enter("probe");
    this.next = Math.max(this.match, snapshot) + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  /** Starts streaming right after what is known to match. */
  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  /** Stops sending entries until a snapshot at `index` has arrived. */
  becomeSnapshot(index: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
    this.#check();
  }

  /** Accounts for `count` entries of `bytes` payload sent from `next` on; 0 for a message that only tells the commit. */
  sentEntries(count: number, bytes: number): void {
    assert(this.state !== "snapshot", "entries were sent to a member that waits for a snapshot");
    if (this.state === "probe") {
      if (count > 0) this.flowPaused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    // A message into a full window serves as a probe: the next one waits for an answer or a heartbeat.
    this.flowPaused = this.inflights.full;
  }

  /** Whether telling the member of commit index `index` could move its own. */
  canBumpCommit(index: number): boolean {
    return index > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** Takes an acknowledgement up to `index`; false when it is old news. */
  acknowledge(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /**
   * Takes the refusal of a message that followed on index `rejected`; `hint` is where the logs may meet.
   *
   * @returns False when the refusal answers a message from before the present state; nothing has changed then.
   */
  reject(rejected: number, hint: number): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      // Probes go out one at a time, so a refusal of anything but the last one is late.
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.flowPaused = false;
    }
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    this.#check();
    return true;
  }

  /** Whether entries are held back for now. */
  get paused(): boolean {
    return this.state === "snapshot" || this.flowPaused;
  }

  /** A copy for showing. */
  status(): ProgressStatus {
    return {
      match: this.match,
      next: this.next,
      state: this.state,
      paused: this.paused,
      pendingSnapshot: this.pendingSnapshot,
      recentActive: this.recentActive,
      isLearner: this.isLearner,
      inflightMsgs: this.inflights.count,
      inflightBytes: this.inflights.bytes,
      inflightFull: this.inflights.full,
    };
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.inflights.reset();
  }

  #check(): void {
    assert(
      this.match >= 0 && this.match < this.next,
      "a member's next index is not above its match",
    );
  }
}

/** Progress of a member nothing is known about, with an empty window. */
export function freshProgress(
  start: Omit<ProgressStart, "inflights">,
  limits: InflightLimits,
): Progress {
  const inflights = new Inflights(limits.maxInflightMsgs, limits.maxInflightBytes);
  return new Progress({ ...start, inflights });
}
