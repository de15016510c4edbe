/**
 * The LevelDB under the Raft log: atomic synced batches that ride out a full disk.
 *
 * LevelDB refuses everything after a failed write, so the database is closed, opened again and the same batch tried
 * until there is room; the caller's promise waits meanwhile. Any other failure is final: after a failed sync nobody knows
 * what is on the disk, so the member stops and reads it back at its next start.
 */
import { ClassicLevel } from "classic-level";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { diskFullRetryMs } from "../../src/common/limits/limits.ts";

/** One change of a batch. */
export type LogOperation =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: string };

/** The database as storage uses it; tests put a failing one in its place. */
export interface LogDatabase {
  get(key: string): Promise<Uint8Array | undefined>;
  /** Values of all keys in [from, to), in order. */
  range(from: string, to: string): AsyncIterable<readonly [string, Uint8Array]>;
  /** Applies all or nothing; durable when resolved if `sync`. */
  batch(operations: readonly LogOperation[], sync: boolean): Promise<void>;
  close(): Promise<void>;
}

/** Told when writes stand still because the device is full, and when they go on. */
export type StalledListener = (reason: string | undefined) => void;

type Level = ClassicLevel<string, Uint8Array>;

/**
 * Opens or creates the database in folder `path`.
 *
 * @throws ClusterError resource-exhausted when there is no room to open it, internal when it is damaged.
 */
export async function openLogDatabase(
  path: string,
  onStalled: StalledListener,
): Promise<LogDatabase> {
  return new LevelLog(path, await openLevel(path), onStalled);
}

/** Whether an error of the database says that the device or quota is full; LevelDB gives nothing but the text. */
export function isDiskFull(error: unknown): boolean {
  for (let e = error; e instanceof Error; e = e.cause) {
    if (/no space left|disk quota exceeded|file too large|ENOSPC|EDQUOT/i.test(e.message))
      return true;
  }
  return false;
}

class LevelLog implements LogDatabase {
  readonly #path: string;
  readonly #onStalled: StalledListener;
  #level: Level;
  #closing = new AbortController();

  constructor(path: string, level: Level, onStalled: StalledListener) {
    this.#path = path;
    this.#level = level;
    this.#onStalled = onStalled;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return this.#level.get(key);
  }

  async *range(from: string, to: string): AsyncIterable<readonly [string, Uint8Array]> {
    for await (const pair of this.#level.iterator({ gte: from, lt: to, fillCache: false })) {
      yield pair;
    }
  }

  async batch(operations: readonly LogOperation[], sync: boolean): Promise<void> {
    const list = [...operations];
    let stalled = false;
    for (;;) {
      try {
        await this.#level.batch(list, { sync });
        if (stalled) this.#onStalled(undefined);
        return;
      } catch (cause) {
        if (!isDiskFull(cause) || this.#closing.signal.aborted) {
          throw new ClusterError(
            "internal",
            `the raft log cannot be written: ${errorText(cause)}`,
            {
              cause,
            },
          );
        }
        stalled = true;
        this.#onStalled(errorText(cause));
      }
      await this.#reopen();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#level.close();
  }

  async #reopen(): Promise<void> {
    for (;;) {
      await pause(diskFullRetryMs, this.#closing.signal);
      if (this.#closing.signal.aborted) {
        throw new ClusterError("unavailable", "the raft log was closed before there was room");
      }
      try {
        await this.#level.close();
        this.#level = await openLevel(this.#path);
        if (!this.#closing.signal.aborted) return;
        await this.#level.close();
      } catch (error) {
        if (!isDiskFull(error) || this.#closing.signal.aborted) throw error;
      }
    }
  }
}

async function openLevel(path: string): Promise<Level> {
  // Values are sealed, so compression would only cost time.
  const level: Level = new ClassicLevel(path, {
    valueEncoding: "view",
    compression: false,
    writeBufferSize: 4 << 20,
    cacheSize: 1 << 20,
  });
  try {
    await level.open();
    return level;
  } catch (cause) {
    const code = isDiskFull(cause) ? "resource-exhausted" : "internal";
    const reason =
      cause instanceof Error && cause.cause ? errorText(cause.cause) : errorText(cause);
    throw new ClusterError(code, `the raft log cannot be opened: ${reason}`, { cause });
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
