/**
 * The files in which a node keeps who it is, under `<data root>/node`.
 *
 * `node.json` (ids, addresses, known managers), the sealing key, and what `credentials.ts` keeps. Every write is atomic: a
 * temporary file, synced, renamed over the old one, the folder synced.
 */
import { constants, existsSync } from "node:fs";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";

/** What a member of a swarm remembers of itself; versioned by `format`. */
export interface NodeState {
  readonly format: 1;
  readonly nodeId: string;
  readonly clusterId: string;
  /** Member id in the Raft group; 0 while the node is a worker. */
  readonly raftId: number;
  /** `HOST:PORT` the manager listens on. */
  readonly listenAddress: string;
  /** What the user gave as `--advertise-addr`: empty, an address, or an interface name; resolved anew at each start. */
  readonly advertiseSetting: string;
  /** Whether the address advertised was one of this machine's own, rather than one of a router in front of it. */
  readonly advertisesOwnAddress?: boolean;
  /** `HOST:PORT` last advertised. */
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  /** Managers the node has heard of, newest knowledge first: where an agent looks for a dispatcher. */
  readonly managers: readonly { readonly nodeId: string; readonly address: string }[];
  /** Set between the first contact of a join and its end: the join goes on after a restart. */
  readonly joining: boolean;
  /** Set until the cluster this node makes has answered: what is there after a crash is of no cluster. */
  readonly initialising?: boolean;
}

/** The part of it that follows the machine's interfaces. */
export type NodeAddresses = Pick<
  NodeState,
  "advertiseAddress" | "advertisesOwnAddress" | "dataPathAddress"
>;

/** Writes a file so that after a crash either the old or the new content is there, whole. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(join(path, ".."), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The files of one node's identity. */
export class StateFiles {
  /** Where a manager keeps its sealed data keys. */
  readonly keysPath: string;
  readonly #folder: string;
  /** Changes, one after the other: the newest content is the last one written. */
  #writing: Promise<void> = Promise.resolve();

  constructor(dataRoot: string) {
    this.#folder = join(dataRoot, "node");
    this.keysPath = join(this.#folder, "keys");
  }

  /**
   * The stored state; undefined for a node that is in no swarm.
   *
   * @throws ClusterError internal when the file is there but cannot be used.
   */
  async load(): Promise<NodeState | undefined> {
    const bytes = await this.read("node.json");
    if (bytes === undefined) return undefined;
    try {
      return nodeStateOf(JSON.parse(bytes.toString()));
    } catch (error) {
      throw new ClusterError(
        "internal",
        `${join(this.#folder, "node.json")} is damaged (${errorText(error)}): restore it, or leave with "docker swarm leave --force"`,
        { cause: error },
      );
    }
  }

  /** Whether there is a stored state, be it damaged. */
  exist(): boolean {
    return existsSync(join(this.#folder, "node.json"));
  }

  async save(state: NodeState): Promise<void> {
    await this.write("node.json", JSON.stringify(state, undefined, 2));
  }

  /** One file's content; undefined when absent. */
  async read(name: string): Promise<Buffer | undefined> {
    try {
      return await readFile(join(this.#folder, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  write(name: string, data: string | Uint8Array): Promise<void> {
    return this.#serial(async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFileAtomic(join(this.#folder, name), data);
    });
  }

  remove(name: string): Promise<void> {
    return this.#serial(() => rm(join(this.#folder, name), { force: true }));
  }

  /** Forgets the swarm. */
  clear(): Promise<void> {
    return this.#serial(() => rm(this.#folder, { recursive: true, force: true }));
  }

  #serial(work: () => Promise<void>): Promise<void> {
    const next = this.#writing.then(work);
    this.#writing = next.catch(() => {
      // The caller owns the failure; the next write starts from here.
    });
    return next;
  }
}

const textFields = [
  "nodeId",
  "clusterId",
  "listenAddress",
  "advertiseSetting",
  "advertiseAddress",
  "dataPathAddress",
] as const;

/** @throws Error that says which field is wrong. */
function nodeStateOf(value: unknown): NodeState {
  if (typeof value !== "object" || value === null) throw new Error("it holds no object");
  const state = value as Readonly<Record<keyof NodeState, unknown>>;
  if (state.format !== 1) throw new Error(`format ${String(state.format)} is not known here`);
  const wrong = textFields.find((name) => typeof state[name] !== "string");
  if (wrong !== undefined) throw new Error(`${wrong} is no text`);
  if (!Number.isSafeInteger(state.raftId)) throw new Error("raftId is no number");
  if (typeof state.joining !== "boolean") throw new Error("joining is neither true nor false");
  if (!Array.isArray(state.managers) || !state.managers.every(isManager)) {
    throw new Error("managers is no list of managers");
  }
  return value as NodeState;
}

function isManager(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { nodeId, address } = value as Readonly<Record<string, unknown>>;
  return typeof nodeId === "string" && typeof address === "string";
}
