/**
 * The durable side of the store: objects that changed are written, sealed, to a LevelDB every few seconds.
 *
 * One atomic synced batch holds the changed objects and the index they are of; only then is that index reported as
 * durable, and the Raft log may be cut up to it. A restart loads the checkpoint and replays the log from there. Nothing
 * ever rewrites the whole state but a snapshot from a peer and a rotation of keys. A damaged checkpoint is never used:
 * the manager then has to be rebuilt from its peers.
 */
import { CheckpointMeta, StoreClient } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  checkpointDirtyMax,
  checkpointIdleEntriesMax,
  checkpointPeriodMs,
  checkpointRewriteBytes,
  sliceMs,
} from "../../src/common/limits/store.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Sealer } from "../../src/common/seal/sealer.ts";
import { CheckpointBatch } from "./checkpoint-batch.ts";
import {
  createDatabase,
  currentGeneration,
  type Database,
  databaseErrorText,
  makeCurrent,
  nextGeneration,
  openDatabase,
  removeOthers,
} from "./checkpoint-files.ts";
import { type Contents, emptyContents, loadCheckpoint } from "./checkpoint-load.ts";
import { Digests, metaKey } from "./checkpoint-records.ts";
import type { Dirty } from "./dirty.ts";
import type { Frozen, State } from "./state.ts";
import type { Store } from "./store.ts";
import type { AnyObject, TableKey } from "./tables.ts";

/** What a checkpointer needs. */
export interface CheckpointerOptions {
  /** `<data>/raft/state`. */
  readonly dir: string;
  readonly sealer: Sealer;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Everything up to this index survives a crash from now on. */
  readonly onDurable: (index: number) => void;
}

/** What was found when the checkpoint was opened; when damaged, the store is empty and has to come from the peers. */
export type Found =
  | { readonly state: "empty" }
  | { readonly state: "loaded"; readonly index: number; readonly term: number }
  | { readonly state: "damaged"; readonly error: ClusterError };

/** How often the loop looks whether there is something to write. */
const pollMs = 500;

/**
 * Opens the checkpoint and fills the store from it.
 *
 * @throws ClusterError unavailable when another process has it open, unimplemented when a newer version wrote it.
 */
export async function openCheckpointer(
  options: CheckpointerOptions,
): Promise<{ checkpointer: Checkpointer; found: Found }> {
  const { dir, sealer, store, clock } = options;
  const generation = await currentGeneration(dir);
  if (generation === undefined) {
    return { checkpointer: new Checkpointer(options, generation), found: { state: "empty" } };
  }
  let database: Database | undefined;
  try {
    database = await openDatabase(dir, generation);
    const { state, contents } = await loadCheckpoint(database, sealer, slicePause(clock));
    if (state !== undefined) store.replace(state);
    const checkpointer = new Checkpointer(options, generation, { database, contents });
    await removeOthers(dir, generation);
    if (state === undefined) return { checkpointer, found: { state: "empty" } };
    return { checkpointer, found: { state: "loaded", index: state.index, term: state.term } };
  } catch (error) {
    await closeQuietly(database);
    if (error instanceof ClusterError && error.code !== "internal") throw error;
    const checkpointer = new Checkpointer(options, generation);
    return { checkpointer, found: { state: "damaged", error: damagedError(dir, error) } };
  }
}

/** An open checkpoint and what it holds. */
interface Opened {
  readonly database: Database;
  contents: Contents;
}

/** What one checkpoint is to write, taken in one go. */
interface Taken {
  readonly state: State;
  readonly dirty: Dirty;
  readonly index: number;
  readonly term: number;
  readonly objects: readonly {
    table: TableKey;
    id: string;
    versionBefore: number;
    object: AnyObject | undefined;
  }[];
  readonly unused: readonly string[];
  readonly clients: readonly { id: number; bytes: Uint8Array | undefined }[];
}

/** Writes checkpoints of one store. */
export class Checkpointer {
  readonly #o: CheckpointerOptions;
  readonly #digests = new Digests();
  #generation: string | undefined;
  /** Undefined: the next checkpoint is written anew. */
  #opened: Opened | undefined;
  /** Which state of the store the checkpoint follows. */
  #replacements: number;
  #durable: number;
  #busy: Promise<void> = Promise.resolve();
  #failing = false;
  #bytes = 0;

  /** Use `openCheckpointer`. */
  constructor(options: CheckpointerOptions, generation: string | undefined, opened?: Opened) {
    this.#o = options;
    this.#generation = generation;
    this.#opened = opened;
    this.#replacements = options.store.replacements;
    this.#durable = opened === undefined ? 0 : options.store.appliedIndex();
    options.store.state().takeDirty();
  }

  /** Index up to which everything survives a crash. */
  get durableIndex(): number {
    return this.#durable;
  }

  /** Sealed bytes handed to the database so far. */
  get bytesWritten(): number {
    return this.#bytes;
  }

  /** Writes checkpoints until the signal, and a last one then; closes the database. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, store } = this.#o;
    let last = clock.monotonic();
    while (!signal.aborted) {
      await clock.sleep(pollMs, signal).catch(() => {
        // The signal only ends the wait.
      });
      const dirty = store.state().dirty;
      const many = dirty === undefined || dirty.objectCount >= checkpointDirtyMax;
      const due = clock.monotonic() - last >= checkpointPeriodMs;
      if (!many && !(due && this.#worthwhile(dirty))) continue;
      last = clock.monotonic();
      await this.#attempt();
    }
    await this.#attempt();
    await this.close();
  }

  /** Writes what changed since the last checkpoint; resolves once it is durable. */
  flush(): Promise<void> {
    return this.#serialised(() => this.#write());
  }

  /**
   * Writes the whole state anew, for instance because a data key is to be given up; after a snapshot was restored the
   * next `flush` does so by itself.
   */
  rewrite(): Promise<void> {
    return this.#serialised(() => this.#rewrite());
  }

  /** Closes the database once what is under way is done. */
  close(): Promise<void> {
    return this.#serialised(async () => {
      const opened = this.#opened;
      this.#opened = undefined;
      await opened?.database.close();
    });
  }

  #worthwhile(dirty: Dirty): boolean {
    const behind = this.#o.store.appliedIndex() - this.#durable;
    return behind > 0 && (dirty.objectCount > 0 || behind >= checkpointIdleEntriesMax);
  }

  /** A failure is logged once and tried again at the next turn: nothing is lost, the log just stays longer. */
  async #attempt(): Promise<void> {
    try {
      await this.flush();
      if (this.#failing)
        this.#o.log.info("checkpoint written again", { "raft.index": this.#durable });
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) {
        this.#o.log.error("cannot write the checkpoint; trying again", {
          err: databaseErrorText(error),
        });
      }
      this.#failing = true;
    }
  }

  #serialised(work: () => Promise<void>): Promise<void> {
    const done = this.#busy.then(work);
    this.#busy = done.catch(() => {
      // The caller has the failure; the next work begins afresh.
    });
    return done;
  }

  async #write(): Promise<void> {
    const { store } = this.#o;
    const follows = store.replacements === this.#replacements;
    if (this.#opened === undefined || !follows) {
      if (store.appliedIndex() > 0) await this.#rewrite();
      return;
    }
    if (store.appliedIndex() === this.#durable) return;
    const taken = take(store.state());
    try {
      await this.#writeDifference(this.#opened, taken);
    } catch (error) {
      taken.state.dirty?.restore(taken.dirty);
      await this.#reopen();
      throw error;
    }
    this.#reached(taken.index);
  }

  async #writeDifference(opened: Opened, taken: Taken): Promise<void> {
    const { sum, shared, clients } = opened.contents;
    const contents = {
      sum: sum.copy(),
      shared: new Set(shared),
      clients: new Map(clients),
    };
    const pause = slicePause(this.#o.clock);
    const batch = this.#batch(opened.database, contents);
    try {
      for (const { table, id, versionBefore, object } of taken.objects) {
        batch.replaceObject(table, id, versionBefore, object);
        await pause();
      }
      for (const digest of taken.unused) batch.removeShared(digest);
      for (const { id, bytes } of taken.clients) batch.replaceClient(id, bytes);
      batch.putMeta(taken.index, taken.term);
      await batch.write();
      this.#bytes += batch.bytes;
    } finally {
      await batch.close();
    }
    opened.contents = contents;
  }

  #batch(database: Database, contents: Contents): CheckpointBatch {
    return new CheckpointBatch(database, contents, this.#o.sealer, this.#digests);
  }

  /** After a failed write the database is opened anew: LevelDB may have cut a record in two and would lose what follows. */
  async #reopen(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await closeQuietly(opened?.database);
    if (opened === undefined || this.#generation === undefined) return;
    try {
      const database = await openDatabase(this.#o.dir, this.#generation);
      const meta = await database.get(metaKey);
      const index = meta && this.#o.sealer.open(meta, Buffer.from(metaKey));
      if (index !== undefined && CheckpointMeta.decode(index).index === this.#durable) {
        this.#opened = { database, contents: opened.contents };
      } else await database.close();
    } catch (error) {
      this.#o.log.warn("checkpoint cannot be opened again; it will be written anew", {
        err: databaseErrorText(error),
      });
    }
  }

  async #rewrite(): Promise<void> {
    const { dir, store, clock } = this.#o;
    const generation = nextGeneration(this.#generation);
    const replacements = store.replacements;
    const state = store.state();
    const frozen = state.freeze();
    const dirty = state.takeDirty();
    const database = await createDatabase(dir, generation);
    const contents = emptyContents();
    try {
      await this.#writeAll(database, contents, frozen, slicePause(clock));
      await makeCurrent(dir, generation);
    } catch (error) {
      state.dirty?.restore(dirty);
      await closeQuietly(database);
      await this.#abandonIfReplaced(generation);
      throw error;
    }
    const before = this.#opened;
    this.#opened = { database, contents };
    this.#generation = generation;
    this.#replacements = replacements;
    await closeQuietly(before?.database);
    await removeOthers(dir, generation);
    this.#reached(frozen.index);
  }

  /** After a failure past the rename that puts a generation in force: the one before must not be written to any more. */
  async #abandonIfReplaced(generation: string): Promise<void> {
    const named = await currentGeneration(this.#o.dir).catch(() => undefined);
    if (named !== generation) return;
    this.#generation = generation;
    const before = this.#opened;
    this.#opened = undefined;
    await closeQuietly(before?.database);
  }

  /** Every batch is synced: LevelDB syncs the log file of the batch only, and changes files in between. */
  async #writeAll(
    database: Database,
    contents: Contents,
    frozen: Frozen,
    pause: () => Promise<void> | undefined,
  ): Promise<void> {
    let batch = this.#batch(database, contents);
    for (const [table, objects] of frozen.tables) {
      for (const object of objects) {
        batch.replaceObject(table, object.id, 0, object);
        await pause();
        if (batch.bytes < checkpointRewriteBytes) continue;
        await batch.write();
        this.#bytes += batch.bytes;
        batch = this.#batch(database, contents);
      }
    }
    for (const bytes of frozen.clients) {
      batch.replaceClient(StoreClient.decode(bytes).clientId, bytes);
    }
    batch.putMeta(frozen.index, frozen.term);
    await batch.write();
    this.#bytes += batch.bytes;
  }

  #reached(index: number): void {
    this.#durable = index;
    this.#o.onDurable(index);
  }
}

/** Takes what changed, as it is now; from here on changes are for the next checkpoint. */
function take(state: State): Taken {
  const dirty = state.takeDirty();
  const objects: Taken["objects"][number][] = [];
  for (const [table, ids] of dirty.objects) {
    for (const [id, versionBefore] of ids) {
      objects.push({ table, id, versionBefore, object: state.get(table, id) });
    }
  }
  const unused = [...dirty.shared].filter((digest) => !state.interner.has(digest));
  const clients = [...dirty.clients].map((id) => ({ id, bytes: state.clients.encoded(id) }));
  return { state, dirty, index: state.index, term: state.term, objects, unused, clients };
}

function slicePause(clock: Clock): () => Promise<void> | undefined {
  let begin = clock.monotonic();
  return () => {
    if (clock.monotonic() - begin < sliceMs) return undefined;
    return new Promise<void>((resolve) => {
      setImmediate(() => {
        begin = clock.monotonic();
        resolve();
      });
    });
  };
}

async function closeQuietly(database: Database | undefined): Promise<void> {
  try {
    await database?.close();
  } catch {
    // It is given up; what it held is in memory and in the log.
  }
}

function damagedError(dir: string, cause: unknown): ClusterError {
  const reason = cause instanceof ClusterError ? cause.message : databaseErrorText(cause);
  return new ClusterError(
    "internal",
    `the checkpoint in ${dir} is damaged (${reason}): this manager rebuilds its state from the other managers; ` +
      "if it is the only one, restore the data directory from a backup",
    { cause },
  );
}
