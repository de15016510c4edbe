/**
 * A Raft log of one member in memory, for tests of the store: takes entries, commits them when told to or by itself.
 */

import type { CommittedEntry, LogPosition, Proposer } from "../../manager/state/proposer.ts";
import { Store, type StoreOptions } from "../../manager/state/store.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../src/common/log/log.ts";
import { seededRandom } from "../../src/common/random/random.ts";

/** Entries in the order they were appended; stores attached to it apply what is committed. */
export class LocalLog implements Proposer {
  readonly entries: CommittedEntry[] = [];
  readonly stores: Store[] = [];
  currentTerm = 1;
  leader = true;
  /** Commits each entry in the turn after it was appended. */
  automatic = true;
  committed = 0;
  /** What every proposal is refused with, while set. */
  refusal: ClusterError | undefined;

  async propose(data: Uint8Array): Promise<LogPosition> {
    if (this.refusal !== undefined) throw this.refusal;
    if (!this.leader) throw new ClusterError("unavailable", "not the leader");
    const position = { index: this.entries.length + 1, term: this.currentTerm };
    this.entries.push({ ...position, data });
    if (this.automatic) setImmediate(() => this.commit());
    return position;
  }

  /** What keeps the log from being written. */
  trouble: string | undefined;

  stalled(): string | undefined {
    return this.trouble;
  }

  isLeader(): boolean {
    return this.leader;
  }

  term(): number {
    return this.currentTerm;
  }

  /** Applies everything that was appended. */
  commit(): void {
    const batch = this.entries.slice(this.committed);
    this.committed = this.entries.length;
    for (const store of this.stores) {
      store.applyBatch(batch.filter((entry) => entry.index > store.appliedIndex()));
    }
  }

  /** Another leader's entry takes the place of what is not committed. */
  overwrite(data: Uint8Array = new Uint8Array(0)): void {
    this.currentTerm++;
    this.entries.splice(this.committed);
    this.entries.push({ index: this.committed + 1, term: this.currentTerm, data });
  }
}

/** A store over a log of its own that commits by itself. */
export function localStore(options: Partial<StoreOptions> = {}): { store: Store; log: LocalLog } {
  const log = new LocalLog();
  const store = new Store({
    proposer: log,
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    ...options,
  });
  log.stores.push(store);
  return { store, log };
}
