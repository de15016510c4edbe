/**
 * Watching the tables: commits as they are applied, cut to what the watcher asked for.
 *
 * A watcher names a table, or an index and a key of it, or nothing for everything, or tables it has no use for; delivery is by
 * look-up, so that ten thousand watchers of single nodes cost no more than the changes that concern them. Nothing is kept without bound: a
 * watcher that lags too far behind loses its buffer and is told to read everything again (`resync`). A watcher may
 * resume after an index it has seen, as far as the history reaches.
 */
import {
  historyChangesMax,
  historyCommitsMax,
  watchBufferChangesMax,
} from "../../src/common/limits/store.ts";
import type { Change, Commit } from "./change.ts";
import { keyText } from "./index-map.ts";
import type { AnyObject, IndexDeclaration, IndexKey, TableKey } from "./tables.ts";
import { indexDeclarations } from "./tables.ts";

/** What to watch: everything, everything but some tables, a table, or a key of an index of a table. */
export interface Selector {
  readonly table?: TableKey;
  readonly index?: readonly [name: string, key: IndexKey];
  /** Tables whose changes are not told; with a table of its own it has no meaning. Watchers of one set are served together. */
  readonly without?: ReadonlySet<TableKey>;
}

/** Changes of one entry, or the word that some were lost: read everything again, then go on. */
export type WatchItem = (Commit & { readonly resync: false }) | Resync;

/** Changes were lost; `index` is the state at which the mark was handed out. */
export interface Resync {
  readonly resync: true;
  readonly index: number;
}

/** How to watch. */
export interface WatchOptions {
  /** Begin with the commits after this index; a resync mark comes first when they are no longer known. */
  readonly fromIndex?: number;
  /** Changes that may wait; see `watchBufferChangesMax`. */
  readonly bufferMax?: number;
  /** Ends the watch. */
  readonly signal?: AbortSignal;
}

/** A stream of commits; must be closed, by leaving `for await`, by `close`, or by the signal. */
export interface Watch extends AsyncIterable<WatchItem> {
  /** The next item; undefined once closed. */
  next(): Promise<WatchItem | undefined>;
  close(): void;
}

/** All watchers of a store, and the history they may resume from. */
export class Watchers {
  readonly #everything = new Set<Subscription>();
  readonly #without = new Map<ReadonlySet<TableKey>, Set<Subscription>>();
  readonly #byTable = new Map<TableKey, Set<Subscription>>();
  /** Per table and index name: watchers by key. */
  readonly #byKey = new Map<TableKey, Map<string, Map<string, Set<Subscription>>>>();
  readonly #history = new History();
  #index = 0;

  /** Starts a watch. */
  add(selector: Selector = {}, options: WatchOptions = {}): Watch {
    const { index } = selector;
    if (index !== undefined && declarationOf(selector.table, index[0]) === undefined) {
      throw new Error(`table ${selector.table} has no index ${index[0]}`);
    }
    const home = this.#home(selector);
    const subscription = new Subscription(options.bufferMax ?? watchBufferChangesMax, {
      index: () => this.#index,
      close: () => this.#drop(selector, home, subscription),
    });
    home.add(subscription);
    if (options.fromIndex !== undefined) this.#replay(subscription, selector, options.fromIndex);
    const { signal } = options;
    if (signal?.aborted) subscription.close();
    else signal?.addEventListener("abort", () => subscription.close(), { once: true });
    return subscription;
  }

  /** Hands a commit to those it concerns. */
  publish(commit: Commit): void {
    this.#index = commit.index;
    if (commit.changes.length === 0) return;
    this.#history.push(commit);
    for (const subscription of this.#everything) subscription.push(commit);
    for (const [tables, set] of this.#without) {
      const changes = commit.changes.filter((change) => !tables.has(change.table));
      if (changes.length === 0) continue;
      for (const subscription of set) subscription.push({ index: commit.index, changes });
    }
    if (this.#byTable.size === 0 && this.#byKey.size === 0) return;
    const cut = new Map<Subscription, Change[]>();
    for (const change of commit.changes) this.#route(change, cut);
    for (const [subscription, changes] of cut) {
      subscription.push({ index: commit.index, changes });
    }
  }

  /** The state was replaced as a whole: everybody has to read again. */
  reset(index: number): void {
    this.#index = index;
    this.#history.reset(index);
    for (const subscription of this.#everything) subscription.lose();
    for (const set of this.#without.values()) for (const s of set) s.lose();
    for (const set of this.#byTable.values()) for (const s of set) s.lose();
    for (const names of this.#byKey.values()) {
      for (const keys of names.values())
        for (const set of keys.values()) for (const s of set) s.lose();
    }
  }

  #home({ table, index, without }: Selector): Set<Subscription> {
    if (table === undefined) {
      return without === undefined
        ? this.#everything
        : entry(this.#without, without, () => new Set());
    }
    if (index === undefined) return entry(this.#byTable, table, () => new Set());
    const names = entry(this.#byKey, table, () => new Map());
    const keys = entry(names, index[0], () => new Map<string, Set<Subscription>>());
    return entry(keys, keyText(index[1]), () => new Set());
  }

  #drop(selector: Selector, home: Set<Subscription>, subscription: Subscription): void {
    const { table, index, without } = selector;
    home.delete(subscription);
    if (home.size > 0) return;
    if (table === undefined) {
      if (without !== undefined) this.#without.delete(without);
      return;
    }
    if (index === undefined) {
      this.#byTable.delete(table);
      return;
    }
    const names = this.#byKey.get(table);
    const keys = names?.get(index[0]);
    if (keys?.get(keyText(index[1])) === home) keys.delete(keyText(index[1]));
    if (keys?.size === 0) names?.delete(index[0]);
    if (names?.size === 0) this.#byKey.delete(table);
  }

  #route(change: Change, cut: Map<Subscription, Change[]>): void {
    const put = (subscription: Subscription) => {
      const changes = entry(cut, subscription, () => [] as Change[]);
      if (changes[changes.length - 1] !== change) changes.push(change);
    };
    for (const subscription of this.#byTable.get(change.table) ?? []) put(subscription);
    for (const [name, keys] of this.#byKey.get(change.table) ?? []) {
      forEachKey(change, name, (key) => {
        for (const subscription of keys.get(key) ?? []) put(subscription);
      });
    }
  }

  #replay(subscription: Subscription, selector: Selector, fromIndex: number): void {
    const commits = this.#history.after(fromIndex);
    if (commits === undefined) {
      subscription.lose();
      return;
    }
    for (const commit of commits) {
      const changes = commit.changes.filter((change) => selects(selector, change));
      if (changes.length > 0) subscription.replay({ index: commit.index, changes });
    }
  }
}

/** One watcher's buffer. */
class Subscription implements Watch {
  #bufferMax: number;
  readonly #owner: { index(): number; close(): void };
  #buffer: Commit[] = [];
  #read = 0;
  #waiting = 0;
  #lost = false;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(bufferMax: number, owner: { index(): number; close(): void }) {
    this.#bufferMax = bufferMax;
    this.#owner = owner;
  }

  /** Puts what the watcher resumes from; it comes on top of what may wait. */
  replay(commit: Commit): void {
    this.#bufferMax += commit.changes.length;
    this.push(commit);
  }

  push(commit: Commit): void {
    if (this.#lost || this.#closed) return;
    this.#waiting += commit.changes.length;
    if (this.#waiting > this.#bufferMax) {
      this.lose();
      return;
    }
    this.#buffer.push(commit);
    this.#wakeUp();
  }

  lose(): void {
    this.#buffer = [];
    this.#read = 0;
    this.#waiting = 0;
    this.#lost = true;
    this.#wakeUp();
  }

  next(): Promise<WatchItem | undefined> {
    return this.#soon((item) => item);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#buffer = [];
    this.#owner.close();
    this.#wakeUp();
  }

  /** No generator: it would have each commit wait for several turns of the microtask queue, in every watcher. */
  [Symbol.asyncIterator](): AsyncIterator<WatchItem> {
    return {
      next: () => this.#soon(resultOf),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #soon<T>(told: (item: WatchItem | undefined) => T): Promise<T> {
    const isThere = this.#closed || this.#lost || this.#read < this.#buffer.length;
    if (isThere) return Promise.resolve(told(this.#takeItem()));
    return new Promise((resolve) => {
      this.#wake = () => resolve(told(this.#takeItem()));
    });
  }

  /** What is handed out next, which is there; undefined once closed. */
  #takeItem(): WatchItem | undefined {
    if (this.#closed) return undefined;
    if (this.#lost) {
      this.#lost = false;
      return { resync: true, index: this.#owner.index() };
    }
    const commit = this.#take();
    return commit && { resync: false, index: commit.index, changes: commit.changes };
  }

  #take(): Commit | undefined {
    const commit = this.#buffer[this.#read];
    if (commit === undefined) return undefined;
    this.#read++;
    this.#waiting -= commit.changes.length;
    if (this.#read === this.#buffer.length) {
      this.#buffer = [];
      this.#read = 0;
    } else if (this.#read >= 1_024) {
      this.#buffer.splice(0, this.#read);
      this.#read = 0;
    }
    return commit;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

function resultOf(item: WatchItem | undefined): IteratorResult<WatchItem> {
  return item === undefined ? { done: true, value: undefined } : { done: false, value: item };
}

/** The latest commits, bounded by their number and by their changes. */
class History {
  #commits: Commit[] = [];
  #first = 0;
  #changes = 0;
  /** Commits after this index are all known. */
  #since = 0;

  push(commit: Commit): void {
    this.#commits.push(commit);
    this.#changes += commit.changes.length;
    while (
      this.#commits.length - this.#first > historyCommitsMax ||
      this.#changes > historyChangesMax
    ) {
      const oldest = this.#commits[this.#first];
      if (oldest === undefined) break;
      this.#changes -= oldest.changes.length;
      this.#since = oldest.index;
      this.#first++;
    }
    if (this.#first >= 1_024) {
      this.#commits.splice(0, this.#first);
      this.#first = 0;
    }
  }

  reset(index: number): void {
    this.#commits = [];
    this.#first = 0;
    this.#changes = 0;
    this.#since = index;
  }

  /** The commits after an index; undefined when some of them are no longer known. */
  after(index: number): Commit[] | undefined {
    if (index < this.#since) return undefined;
    let from = this.#commits.length;
    while (from > this.#first && (this.#commits[from - 1]?.index ?? 0) > index) from--;
    return this.#commits.slice(from);
  }
}

function selects({ table, index, without }: Selector, change: Change): boolean {
  if (table === undefined) return without?.has(change.table) !== true;
  if (table !== change.table) return false;
  if (index === undefined) return true;
  const text = keyText(index[1]);
  let found = false;
  forEachKey(change, index[0], (key) => {
    found ||= key === text;
  });
  return found;
}

/** Keys the object has now or had before: a watcher of a node sees a task come and go. */
function forEachKey(change: Change, name: string, see: (key: string) => void): void {
  const declaration = declarationOf(change.table, name);
  declaration?.keys(change.object, (key) => see(keyText(key)));
  if (change.old !== undefined) declaration?.keys(change.old, (key) => see(keyText(key)));
}

function declarationOf(
  table: TableKey | undefined,
  name: string,
): IndexDeclaration<AnyObject> | undefined {
  if (table === undefined) return undefined;
  const declared = indexDeclarations[table] as unknown as Record<
    string,
    IndexDeclaration<AnyObject> | undefined
  >;
  return declared[name];
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
