/**
 * The replicated store: the tables of this manager, changed only by what Raft has committed.
 *
 * Reads are synchronous (`view`). Writers hand in a decision (`update`, `batch`): it runs over the tables as they are,
 * its changes are proposed, and the promise resolves when they are applied here. A decision that lost a race is run
 * again. `applyBatch` takes committed entries in order, on leader and followers alike; `watch` tells of what changed.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { noLeader } from "../../src/common/errors/no-leader.ts";
import { newRaftId } from "../../src/common/ids/ids.ts";
import { transactionChangesMax } from "../../src/common/limits/limits.ts";
import { sliceMs, transactionBytesMax, updateAttemptsMax } from "../../src/common/limits/store.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { encodeTransaction } from "./action.ts";
import { applyEntry } from "./apply.ts";
import { type BatchOptions, runBatch } from "./batch.ts";
import { checkChanges, checkPreconditions, type Refusal } from "./check.ts";
import type { CommittedEntry, Proposer } from "./proposer.ts";
import { type Fate, Queue } from "./queue.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";
import { type Frozen, State } from "./state.ts";
import { Staging, type Tx } from "./transaction.ts";
import { type View, viewOf } from "./view.ts";
import { type Selector, type Watch, Watchers, type WatchOptions } from "./watch.ts";

/** What a store needs. */
export interface StoreOptions {
  /** Absent in tests that only apply. */
  readonly proposer?: Proposer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Runs a function once the present turn of the event loop is over; the simulator has its own. */
  readonly defer?: (run: () => void) => void;
}

/** How to run a decision. */
export interface UpdateOptions {
  /** Leader-only loops: the term the decision holds in; it is refused under another one. */
  readonly term?: number;
  readonly signal?: AbortSignal;
}

/** The tables of one manager, and the way to change them. */
export class Store {
  readonly #o: StoreOptions;
  readonly #defer: (run: () => void) => void;
  readonly #clientId: number;
  readonly #watchers = new Watchers();
  #queue: Queue | undefined;
  #proposer: Proposer | undefined;
  #state = new State();
  #view = viewOf(this.#state);
  #sequence = 0;
  #replacements = 0;
  #failure: unknown;

  constructor(options: StoreOptions) {
    this.#o = options;
    this.#defer = options.defer ?? setImmediate;
    this.#clientId = newRaftId(options.random);
    if (options.proposer !== undefined) this.connect(options.proposer);
  }

  /** Gives the store its way into the log, when that is only there after the store. */
  connect(proposer: Proposer): void {
    this.#proposer = proposer;
    this.#queue = new Queue({
      proposer,
      clock: this.#o.clock,
      defer: this.#defer,
      appliedIndex: () => this.#state.index,
    });
  }

  /** The tables as they are now; use it before the next `await`. */
  view(): View {
    return this.#view;
  }

  /** Index of the last entry applied. */
  appliedIndex(): number {
    return this.#state.index;
  }

  /** Term of the last entry applied. */
  appliedTerm(): number {
    return this.#state.term;
  }

  /** How often the state was replaced as a whole, by a snapshot or a checkpoint. */
  get replacements(): number {
    return this.#replacements;
  }

  /** The state itself, for checkpoints. @throws what stopped the store, so that nothing half applied is kept. */
  state(): State {
    this.#assertSound();
    return this.#state;
  }

  /**
   * Runs a decision and commits what it staged; resolves with its result once that is applied here.
   *
   * The decision must be synchronous and may run several times. Without changes nothing is proposed.
   *
   * @throws what the decision throws; ClusterError `aborted` (lost races too often, or leadership was lost before the
   *   change was committed: trying again is safe), `already-exists`, `invalid-argument` (too large), `unavailable` (not the
   *   leader; or `outcome unknown`), `resource-exhausted` (too many changes wait), `cancelled`.
   */
  update<T>(decide: (tx: Tx) => T, options: UpdateOptions = {}): Promise<T> {
    return this.#update(decide, options);
  }

  /**
   * Runs a decision for each item, in as few transactions as the limits allow; several are under way at a time.
   *
   * Items are independent: those before a failing one may have been committed.
   *
   * @throws as `update`.
   */
  batch<I>(
    items: Iterable<I>,
    decide: (tx: Tx, item: I) => void,
    options: BatchOptions = {},
  ): Promise<void> {
    const store = {
      update: (decideGroup: (tx: Staging) => void) => this.#update(decideGroup, options),
      pause: () => new Promise<void>((resolve) => this.#defer(resolve)),
    };
    return runBatch(store, items, decide);
  }

  /**
   * Applies committed entries, which must follow the last one applied, and settles the updates they hold.
   *
   * @throws ClusterError unimplemented when an entry was written by a newer version; the store takes nothing more then.
   */
  applyBatch(entries: readonly CommittedEntry[]): void {
    this.#assertSound();
    for (const entry of entries) this.#apply(entry);
    this.#queue?.passed(this.#state.index);
  }

  /** As `applyBatch`, but lets others have a turn in between. */
  async applyCommitted(entries: readonly CommittedEntry[]): Promise<void> {
    const { clock } = this.#o;
    let begin = clock.monotonic();
    for (const entry of entries) {
      this.#assertSound();
      this.#apply(entry);
      if (clock.monotonic() - begin < sliceMs) continue;
      this.#queue?.passed(this.#state.index);
      await new Promise<void>((resolve) => this.#defer(resolve));
      begin = clock.monotonic();
    }
    this.#queue?.passed(this.#state.index);
  }

  /** Watches what is applied from now on, or after an index. */
  watch(selector: Selector = {}, options: WatchOptions = {}): Watch {
    return this.#watchers.add(selector, options);
  }

  /** The whole state as it is now, unaffected by later changes. */
  freeze(): Frozen {
    return this.state().freeze();
  }

  /** The bytes of a snapshot of a frozen state, in chunks; equal states give equal bytes. */
  snapshot(frozen: Frozen): AsyncIterable<Uint8Array> {
    return writeSnapshot(frozen, this.#pause());
  }

  /**
   * Replaces the state by a snapshot, all or nothing; every watcher has to read again.
   *
   * @throws ClusterError internal when the stream is damaged or cut, unimplemented when it is of a newer version; the
   *   state is as before then.
   */
  async restore(chunks: AsyncIterable<Uint8Array>, index: number, term: number): Promise<void> {
    const state = await readSnapshot(chunks, this.#pause());
    if (state.index !== index || state.term !== term) {
      throw new ClusterError(
        "internal",
        `the snapshot is of entry ${state.index} in term ${state.term}, not ${index} in term ${term}`,
      );
    }
    this.replace(state);
  }

  /** Replaces the state as a whole. */
  replace(state: State): void {
    this.#failure = undefined;
    this.#state = state;
    this.#view = viewOf(state);
    this.#replacements++;
    this.#watchers.reset(state.index);
    this.#queue?.replaced(state.index, (sequence) =>
      state.clients.verdict(this.#clientId, sequence),
    );
  }

  async #update<T>(decide: (tx: Staging) => T, options: UpdateOptions): Promise<T> {
    let refusal: Refusal | undefined;
    for (let attempt = 0; attempt < updateAttemptsMax; attempt++) {
      if (refusal === lost && !this.#proposer?.isLeader()) break;
      this.#assertReady(options);
      const tx = new Staging(this.#state, this.#view);
      const result = decide(tx);
      const fate = await this.#commit(tx, options);
      if (fate.state === "applied") return result;
      if (fate.state === "lost") refusal = lost;
      else if (fate.refusal.retry) refusal = fate.refusal;
      else throw refusalError(fate.refusal);
      if (options.signal?.aborted) break;
    }
    throw refusalError(refusal ?? lost);
  }

  #apply(entry: CommittedEntry): void {
    try {
      const { changes, outcomes } = applyEntry(this.#state, entry);
      this.#watchers.publish({ index: entry.index, changes });
      this.#queue?.applied(entry.index, this.#clientId, outcomes);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  async #commit(tx: Staging, options: UpdateOptions): Promise<Fate> {
    const changes = tx.changes();
    if (changes.length === 0) return { state: "applied", index: this.#state.index };
    if (changes.length > transactionChangesMax) throw tooManyChanges(changes.length);
    const preconditions = tx.preconditions();
    this.#refuseEarly(changes, preconditions);
    const sequence = ++this.#sequence;
    const clientId = this.#clientId;
    const term = options.term ?? 0;
    const bytes = encodeTransaction({ changes, preconditions, term, clientId, sequence });
    if (bytes.length > transactionBytesMax) throw tooLarge(bytes.length);
    const queue = this.#queue;
    if (queue === undefined) throw noLeader();
    return await queue.submit(sequence, bytes, options.signal);
  }

  /** Spares a round for what would be refused as things are. */
  #refuseEarly(
    changes: Parameters<typeof checkChanges>[1],
    preconditions: Parameters<typeof checkPreconditions>[1],
  ): void {
    const place = { index: this.#state.index, term: 0, timeMs: this.#o.clock.now() };
    const refusal =
      checkPreconditions(this.#state, preconditions) ??
      checkChanges(this.#state, changes, place).refusal;
    if (refusal !== undefined) throw refusalError(refusal);
  }

  #assertReady({ term, signal }: UpdateOptions): void {
    this.#assertSound();
    if (signal?.aborted) {
      throw new ClusterError("cancelled", "the change was cancelled", { cause: signal.reason });
    }
    if (this.#proposer === undefined || !this.#proposer.isLeader()) throw noLeader();
    if (term !== undefined && this.#proposer.term() !== term) {
      throw new ClusterError("aborted", "decided in an earlier term of leadership");
    }
  }

  #assertSound(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #pause(): () => Promise<void> | undefined {
    const { clock } = this.#o;
    let begin = clock.monotonic();
    return () => {
      if (clock.monotonic() - begin < sliceMs) return undefined;
      return new Promise<void>((resolve) =>
        this.#defer(() => {
          begin = clock.monotonic();
          resolve();
        }),
      );
    };
  }
}

const lost: Refusal = {
  code: "aborted",
  message: "leadership was lost before the change was committed; it was not made",
  retry: true,
};

function refusalError({ code, message }: Refusal): ClusterError {
  return new ClusterError(code, message);
}

function tooManyChanges(count: number): ClusterError {
  return new ClusterError(
    "invalid-argument",
    `a transaction holds at most ${transactionChangesMax} changes, not ${count}: use batch`,
  );
}

function tooLarge(bytes: number): ClusterError {
  return new ClusterError(
    "invalid-argument",
    `the change is too large: ${bytes} bytes, at most ${transactionBytesMax} can be committed at once`,
  );
}
