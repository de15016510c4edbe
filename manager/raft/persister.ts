/**
 * The core's "append thread": makes its `storage-append` messages durable, many in one write, and then releases their
 * responses in order.
 *
 * While one write is on its way to the disk the next ones gather; that is the group commit. A failed write releases
 * nothing and ends the member (a full disk is waited out below, in `log-database.ts`).
 */
import type { RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { hardStateOfAppend } from "./core/message.ts";
import type { Entry, HardState, Message, Snapshot } from "./core/types.ts";
import type { LogWrite } from "./storage.ts";

/** What a persister works with. */
export interface PersisterOptions {
  readonly write: (write: LogWrite) => Promise<void>;
  /** Takes the responses that may go out now. */
  readonly release: (responses: readonly Message[]) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Queue and writer in one. */
export class Persister {
  readonly #options: PersisterOptions;
  #queue: Message[] = [];
  #config: RaftSnapshotMeta | undefined;
  #writing = false;
  #stopped = false;

  constructor(options: PersisterOptions) {
    this.#options = options;
  }

  /** Adds a `storage-append`. */
  push(append: Message): void {
    this.#queue.push(append);
    this.#start();
  }

  /** Has the configuration written with the next batch; the latest one counts. */
  pushConfig(config: RaftSnapshotMeta): void {
    this.#config = config;
    this.#start();
  }

  /** Writes nothing more and releases nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#queue = [];
  }

  #start(): void {
    if (this.#writing || this.#stopped) return;
    this.#writing = true;
    this.#run().catch((error: unknown) => {
      this.stop();
      this.#options.onFailed(error);
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopped && (this.#queue.length > 0 || this.#config !== undefined)) {
      const appends = this.#queue;
      const config = this.#config;
      this.#queue = [];
      this.#config = undefined;
      await this.#options.write(mergeAppends(appends, config));
      if (this.#stopped) return;
      this.#options.release(appends.flatMap((append) => append.responses));
    }
    this.#writing = false;
  }
}

/** One write that leaves the log as the appends would, one after the other. Pure. */
export function mergeAppends(
  appends: readonly Message[],
  config: RaftSnapshotMeta | undefined,
): LogWrite {
  let entries: Entry[] = [];
  let hardState: HardState | undefined;
  let snapshot: Snapshot | undefined;
  let newest = config;
  for (const append of appends) {
    hardState = hardStateOfAppend(append) ?? hardState;
    if (append.snapshot !== undefined) {
      snapshot = append.snapshot;
      entries = [];
      const meta = snapshot.data as RaftSnapshotMeta;
      if (newest === undefined || newest.index < meta.index) newest = meta;
    }
    entries = joined(entries, append.entries);
  }
  return { entries, hardState, config: newest, snapshot };
}

function joined(before: Entry[], entries: readonly Entry[]): Entry[] {
  const first = entries[0];
  if (first === undefined) return before;
  const start = before[0]?.index ?? first.index;
  if (first.index <= start) return [...entries];
  const kept = before.length > first.index - start ? before.slice(0, first.index - start) : before;
  for (const entry of entries) kept.push(entry);
  return kept;
}
