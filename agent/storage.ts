/**
 * What this node remembers of its tasks over the lives of the daemon: what is assigned, what became of it, and the
 * cluster's data path as it was last told.
 *
 * A `level` database under the data root. Secrets and configs are never in it, nor the credentials of registries. Writes
 * are not synced: after the crash of a machine the last of them may be missing, and a manager says what holds.
 */
import { rm } from "node:fs/promises";
import { Level } from "level";
import { Node, Task, TaskStatus } from "../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import type { NetworkMemory } from "./network/state.ts";

/** A task as it was last assigned, with the status it last had here. */
export interface StoredTask {
  readonly task: Task;
  /** Undefined when this node has done nothing with it yet. */
  readonly status: TaskStatus | undefined;
}

/** What is to be written, all or nothing. */
export interface StorageChange {
  readonly tasks?: readonly Task[];
  readonly removedTaskIds?: readonly string[];
  /** Highest state index heard of. */
  readonly seenIndex?: number;
  /** The node as the managers have it. */
  readonly node?: Node;
}

/** Everything that was stored. */
export interface StoredState {
  readonly tasks: readonly StoredTask[];
  readonly seenIndex: number;
  readonly node: Node | undefined;
}

/** The agent's memory; implemented by `openStorage`, and in memory for hollow agents and tests. */
export interface Storage {
  load(): Promise<StoredState>;
  write(change: StorageChange): Promise<void>;
  /** Keeps the status of a task that is stored. */
  writeStatus(taskId: string, status: TaskStatus): Promise<void>;
  readonly network: NetworkMemory;
  close(): Promise<void>;
}

const taskPrefix = "task/";
const statusPrefix = "status/";
const networkPrefix = "network/";
const seenKey = "seen-index";
const nodeKey = "node";
/** After every key that begins with the prefix. */
const pastPrefix = "~";

/** Opens the database in a folder, making it if need be; one that is damaged is begun anew. @throws ClusterError */
export async function openStorage(
  folder: string,
  onDamage: (error: unknown) => void,
): Promise<Storage> {
  try {
    return new LevelStorage(await openLevel(folder));
  } catch (error) {
    if (!isDamage(error)) throw notOpened(folder, error);
    // A manager, or failing that the containers themselves, know what runs here.
    onDamage(error);
    await rm(folder, { recursive: true, force: true });
    return new LevelStorage(await openLevel(folder));
  }
}

/** Storage that ends with the process. */
export function memoryStorage(): Storage {
  return {
    load: async () => ({ tasks: [], seenIndex: 0, node: undefined }),
    write: async () => {},
    writeStatus: async () => {},
    network: { load: async () => [], write: async () => {} },
    close: async () => {},
  };
}

type Database = Level<string, Uint8Array>;

async function openLevel(folder: string): Promise<Database> {
  const database: Database = new Level<string, Uint8Array>(folder, { valueEncoding: "view" });
  await database.open();
  return database;
}

/** Whether files are garbled, or missing beside others that name them. */
function isDamage(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error)) return false;
  const isGarbled = "code" in cause && cause.code === "LEVEL_CORRUPTION";
  return isGarbled || cause.message.includes("No such file or directory");
}

function notOpened(folder: string, cause: unknown): ClusterError {
  const why = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause;
  const text = `the agent's storage in ${folder} cannot be opened: ${errorText(why)}`;
  return new ClusterError("unavailable", text, { cause });
}

class LevelStorage implements Storage {
  readonly #database: Database;
  /** To be written together, and the write that will: each write costs what a hundred more statuses in it do. */
  readonly #statuses = new Map<string, TaskStatus>();
  #next: Promise<void> | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(database: Database) {
    this.#database = database;
  }

  async load(): Promise<StoredState> {
    const statuses = new Map<string, TaskStatus>();
    for await (const [key, value] of this.#under(statusPrefix)) {
      statuses.set(key.slice(statusPrefix.length), TaskStatus.decode(value));
    }
    const tasks: StoredTask[] = [];
    for await (const [, value] of this.#under(taskPrefix)) {
      const task = Task.decode(value);
      tasks.push({ task, status: statuses.get(task.id) });
    }
    const [seen, node] = await this.#database.getMany([seenKey, nodeKey]);
    return {
      tasks,
      seenIndex: seen === undefined ? 0 : Number(Buffer.from(seen).toString()),
      node: node && Node.decode(node),
    };
  }

  async write(change: StorageChange): Promise<void> {
    for (const id of change.removedTaskIds ?? []) this.#statuses.delete(id);
    // A status on its way would come after its removal.
    await this.#last;
    const batch = this.#database.batch();
    for (const task of change.tasks ?? []) {
      batch.put(taskPrefix + task.id, Task.encode(withoutCredentials(task)));
    }
    for (const id of change.removedTaskIds ?? []) batch.del(taskPrefix + id).del(statusPrefix + id);
    if (change.seenIndex !== undefined) batch.put(seenKey, Buffer.from(`${change.seenIndex}`));
    if (change.node !== undefined) batch.put(nodeKey, Node.encode(change.node));
    await batch.write();
  }

  writeStatus(taskId: string, status: TaskStatus): Promise<void> {
    this.#statuses.set(taskId, status);
    this.#next ??= this.#last.then(() => this.#writeStatuses());
    return this.#next;
  }

  /** Those that came since the write before this one began. */
  #writeStatuses(): Promise<void> {
    this.#next = undefined;
    const batch = this.#database.batch();
    for (const [id, status] of this.#statuses) {
      batch.put(statusPrefix + id, TaskStatus.encode(status));
    }
    this.#statuses.clear();
    const writing = batch.write();
    this.#last = writing.catch(() => {
      // Whoever wrote hears of it.
    });
    return writing;
  }

  readonly network: NetworkMemory = {
    load: async () => {
      const entries: [string, Uint8Array][] = [];
      for await (const [key, value] of this.#under(networkPrefix)) {
        entries.push([key.slice(networkPrefix.length), value]);
      }
      return entries;
    },
    write: async (changes) => {
      const batch = this.#database.batch();
      for (const [key, value] of changes) {
        if (value === undefined) batch.del(networkPrefix + key);
        else batch.put(networkPrefix + key, value);
      }
      await batch.write();
    },
  };

  async close(): Promise<void> {
    await this.#next?.catch(() => {
      // Whoever wrote hears of it.
    });
    await this.#database.close();
  }

  #under(prefix: string): AsyncIterable<[string, Uint8Array]> {
    return this.#database.iterator({ gte: prefix, lt: prefix + pastPrefix });
  }
}

/** The task without what opens registries: it is needed to pull only, and a manager sends it again. */
export function withoutCredentials(task: Task): Task {
  const container = task.spec?.container;
  if (task.spec === undefined || container?.pull === undefined) return task;
  return { ...task, spec: { ...task.spec, container: { ...container, pull: undefined } } };
}
