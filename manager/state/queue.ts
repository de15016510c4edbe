/**
 * Group commit: transactions that were queued in one turn share an entry, several entries are under way at a time.
 *
 * What an entry costs, on every manager, hardly depends on how many transactions are in it. So while one is under way the
 * next ones gather until it is applied, or a little while, whichever is shorter: far members do not make it long.
 *
 * Follows each transaction until its outcome is certain: applied or refused (the entry came back), lost (another entry
 * stands at its place in the log, so it can never be applied), or unknown after a time (leadership was lost and no
 * later entry came). Matching is by proposer id and sequence, which are in the entry itself and in the state.
 */
import { StoreEntryParts } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { maySafelyRetry, noLeader } from "../../src/common/errors/no-leader.ts";
import { proposalBytesMax, proposalsWaitingBytesMax } from "../../src/common/limits/limits.ts";
import {
  entriesInFlightMax,
  entryGatherBytesMax,
  entryGatherMs,
  outcomeSweepMs,
  outcomeWaitMs,
  updatesWaitingMax,
} from "../../src/common/limits/store.ts";
import { entryFormat, type Outcome } from "./apply.ts";
import type { Refusal } from "./check.ts";
import type { Verdict } from "./clients.ts";
import type { Proposer } from "./proposer.ts";

/** What became of a transaction: `lost` means it is certain that it is never applied. */
export type Fate =
  | { readonly state: "applied"; readonly index: number }
  | { readonly state: "refused"; readonly refusal: Refusal }
  | { readonly state: "lost" };

/** What the queue needs. */
export interface QueueOptions {
  readonly proposer: Proposer;
  readonly clock: Clock;
  /** Runs a function once the present turn of the event loop is over. */
  readonly defer: (run: () => void) => void;
  /** Index of the last entry applied. */
  readonly appliedIndex: () => number;
}

interface Waiting {
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly deadline: number;
  readonly settle: (fate: Fate | ClusterError) => void;
  /** The entry it is in, once it is proposed. */
  entry: { unsettled: number } | undefined;
  /** Place in the log, once there is one. */
  index: number;
}

/** Transactions between decision and outcome. */
export class Queue {
  readonly #o: QueueOptions;
  #queued: Waiting[] = [];
  readonly #waiting = new Map<number, Waiting>();
  #bytes = 0;
  #entries = 0;
  /** Bytes of what is queued and not proposed. */
  #queuedBytes = 0;
  #flushing = false;
  #gathering = false;
  #sweeping = false;

  constructor(options: QueueOptions) {
    this.#o = options;
  }

  /** How many transactions wait for their outcome. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Queues a transaction and resolves with its fate.
   *
   * @throws ClusterError resource-exhausted when too many wait; unavailable when it was not taken by the log (as
   *   `noLeader` while nobody leads or another one does), or with the text `outcome unknown` when nothing was heard of it
   *   in time; cancelled when the signal came before it was proposed.
   */
  submit(sequence: number, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<Fate> {
    if (
      this.#bytes + bytes.length > proposalsWaitingBytesMax ||
      this.#waiting.size >= updatesWaitingMax
    ) {
      throw new ClusterError("resource-exhausted", "too many changes wait to be committed");
    }
    return new Promise((resolve, reject) => {
      const settle = (fate: Fate | ClusterError) => {
        if (!this.#waiting.delete(sequence)) return;
        this.#bytes -= bytes.length;
        signal?.removeEventListener("abort", abort);
        this.#leave(waiting.entry);
        if (fate instanceof ClusterError) reject(fate);
        else resolve(fate);
      };
      const deadline = this.#o.clock.monotonic() + outcomeWaitMs;
      const waiting: Waiting = {
        sequence,
        bytes,
        deadline,
        settle,
        entry: undefined,
        index: 0,
      };
      const abort = () => this.#abandon(waiting, signal?.reason);
      this.#waiting.set(sequence, waiting);
      this.#bytes += bytes.length;
      this.#queued.push(waiting);
      this.#queuedBytes += bytes.length;
      signal?.addEventListener("abort", abort, { once: true });
      if (this.#entries === 0 || this.#queuedBytes >= entryGatherBytesMax) this.#schedule();
      else this.#gather();
      void this.#sweep();
    });
  }

  /** Settles the transactions of this proposer that an entry held. */
  applied(index: number, clientId: number, outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      if (outcome.clientId !== clientId) continue;
      const { refusal } = outcome;
      this.#waiting
        .get(outcome.sequence)
        ?.settle(
          refusal === undefined ? { state: "applied", index } : { state: "refused", refusal },
        );
    }
  }

  /** Everything up to `index` is applied: what should have been there by now and is not was lost. */
  passed(index: number): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.index !== 0 && waiting.index <= index) waiting.settle({ state: "lost" });
    }
  }

  /** The state was replaced by a snapshot: what it remembers decides. */
  replaced(index: number, verdict: (sequence: number) => Verdict): void {
    for (const waiting of [...this.#waiting.values()]) {
      const known = verdict(waiting.sequence);
      if (known === "applied") waiting.settle({ state: "applied", index });
      else if (known === "refused") waiting.settle({ state: "lost" });
      else if (known === "forgotten") waiting.settle(outcomeUnknown(undefined));
    }
    this.passed(index);
  }

  /** Lets what comes in the next moment share an entry; one that ends before then takes it along. */
  #gather(): void {
    if (this.#gathering || this.#flushing) return;
    this.#gathering = true;
    void this.#o.clock.sleep(entryGatherMs).then(() => {
      this.#gathering = false;
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#flushing || this.#queued.length === 0 || this.#entries >= entriesInFlightMax) return;
    this.#flushing = true;
    this.#o.defer(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#queued.length > 0 && this.#entries < entriesInFlightMax) {
      const group = this.#nextGroup();
      if (group.length > 0) void this.#propose(group);
    }
  }

  #nextGroup(): Waiting[] {
    const group: Waiting[] = [];
    let bytes = 32;
    let taken = 0;
    for (const waiting of this.#queued) {
      const size = waiting.bytes.length + 6;
      if (group.length > 0 && bytes + size > proposalBytesMax) break;
      taken++;
      // One that was cancelled while it was queued is only skipped.
      if (!this.#waiting.has(waiting.sequence)) continue;
      bytes += size;
      group.push(waiting);
    }
    for (const { bytes: taking } of this.#queued.slice(0, taken))
      this.#queuedBytes -= taking.length;
    this.#queued = this.#queued.slice(taken);
    return group;
  }

  async #propose(group: readonly Waiting[]): Promise<void> {
    this.#entries++;
    const entry = { unsettled: group.length };
    for (const waiting of group) waiting.entry = entry;
    const bytes = StoreEntryParts.encode({
      format: entryFormat,
      timeMs: this.#o.clock.now(),
      transactions: group.map((waiting) => waiting.bytes),
    });
    try {
      const { index } = await this.#o.proposer.propose(bytes);
      for (const waiting of group) waiting.index = index;
      if (index <= this.#o.appliedIndex()) this.passed(this.#o.appliedIndex());
    } catch (cause) {
      const error = notTaken(cause);
      for (const waiting of group) waiting.settle(error);
    }
  }

  /** An entry is no longer under way once nothing in it waits. */
  #leave(entry: Waiting["entry"]): void {
    if (entry === undefined) return;
    entry.unsettled--;
    if (entry.unsettled > 0) return;
    this.#entries--;
    this.#schedule();
  }

  #abandon(waiting: Waiting, cause: unknown): void {
    waiting.settle(
      waiting.entry !== undefined
        ? outcomeUnknown(cause, this.#o.proposer.stalled?.())
        : new ClusterError("cancelled", "the change was cancelled before it was proposed", {
            cause,
          }),
    );
  }

  /** Looks now and then for transactions nothing was heard of; ends when none waits. */
  async #sweep(): Promise<void> {
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      while (this.#waiting.size > 0) {
        await this.#o.clock.sleep(outcomeSweepMs);
        const now = this.#o.clock.monotonic();
        const leads = this.#o.proposer.isLeader();
        for (const waiting of [...this.#waiting.values()]) {
          // Entries of a lost leadership may stand before it for long; another leader can take it at once.
          if (!leads && waiting.entry === undefined) waiting.settle(noLeader());
          else if (now >= waiting.deadline) this.#abandon(waiting, undefined);
        }
      }
    } finally {
      this.#sweeping = false;
    }
  }
}

function notTaken(cause: unknown): ClusterError {
  // Leadership went just before: whoever leads now may take it.
  if (maySafelyRetry(cause)) return noLeader(cause);
  if (hasCode(cause, "unavailable") || hasCode(cause, "resource-exhausted")) {
    return cause as ClusterError;
  }
  return new ClusterError("unavailable", `the change was not proposed: ${errorText(cause)}`, {
    cause,
  });
}

/** @param stalled What keeps the log from being written, if that is known. */
function outcomeUnknown(cause: unknown, stalled?: string): ClusterError {
  const why =
    stalled === undefined
      ? "the cluster did not confirm the change in time"
      : `no space left on the manager's disk, the change waits for room (${stalled})`;
  return new ClusterError(
    "unavailable",
    `outcome unknown: ${why}; look whether it is there before trying again`,
    { cause },
  );
}
