/**
 * The containers' records in containerd: made, changed and removed there, and read back after a restart.
 */
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  type Any,
  type ContainerRecord,
  ContainersService,
  SnapshotsService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { Entry } from "./entry.ts";
import {
  type ContainerFacts,
  decodeFacts,
  decodeLife,
  encodeFacts,
  encodeLife,
  factsKey,
  lifeKey,
  nameLabel,
  taskLabel,
  unfinishedLabel,
} from "./record.ts";

/** Form of `Any` for a spec; its bytes are JSON. */
const specType = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/** The one shim for runc and crun. */
const shimName = "io.containerd.runc.v2";

/** How long the write of a start may wait, milliseconds. */
const laterMs = 5_000;

/** What all records have in common. */
export interface RecordsOptions {
  readonly client: ContainerdClient;
  /** Options of the shim with which a container's program is run. */
  readonly optionsOf: (facts: ContainerFacts) => Any;
  readonly log: Log;
}

/** Records of containers. */
export class Records {
  readonly #o: RecordsOptions;
  /** Containers whose life is to be written, or is being written. */
  #dirty = new Set<Entry>();
  #saving: Promise<void> | undefined;
  #later: NodeJS.Timeout | undefined;

  constructor(options: RecordsOptions) {
    this.#o = options;
  }

  /** @param o.finished The container is made to its end once it has a file system; else `finish` says when. */
  async create(entry: Entry, o: { readonly finished: boolean }): Promise<void> {
    const { facts, life } = entry;
    const task = facts.config.task?.taskId;
    const labels = {
      [nameLabel]: facts.name,
      ...(task !== undefined && { [taskLabel]: task }),
      ...(!o.finished && { [unfinishedLabel]: "yes" }),
    };
    await this.#o.client.call(ContainersService.create, {
      container: {
        ...emptyRecord,
        id: entry.id,
        labels,
        image: facts.config.image,
        runtime: { name: shimName, options: this.#o.optionsOf(facts) },
        spec: specAny(entry.specJson),
        snapshotter: snapshotterName,
        snapshotKey: snapshotKey(entry.id),
        extensions: { [factsKey]: encodeFacts(facts), [lifeKey]: encodeLife(life) },
      },
    });
  }

  /** The container is made to its end, with this spec. */
  async finish(entry: Entry, specJson: string): Promise<void> {
    await this.#o.client.call(ContainersService.update, {
      // A label without a value is none.
      container: { ...emptyRecord, id: entry.id, spec: specAny(specJson) },
      updateMask: { paths: ["spec", `labels.${unfinishedLabel}`] },
    });
    entry.specJson = specJson;
  }

  /** Gives the container another spec. */
  async saveSpec(entry: Entry, specJson: string): Promise<void> {
    await this.#o.client.call(ContainersService.update, {
      container: { ...emptyRecord, id: entry.id, spec: specAny(specJson) },
      updateMask: { paths: ["spec"] },
    });
    entry.specJson = specJson;
  }

  async saveFacts(entry: Entry): Promise<void> {
    const paths = [`extensions.${factsKey}`, `labels.${nameLabel}`];
    await this.#o.client.call(ContainersService.update, {
      container: {
        ...emptyRecord,
        id: entry.id,
        labels: { [nameLabel]: entry.facts.name },
        extensions: { [factsKey]: encodeFacts(entry.facts) },
      },
      updateMask: { paths },
    });
  }

  /** Writes where the container stands, at once; what cannot be written now is kept for `flush`. */
  saveLife(entry: Entry): void {
    this.#dirty.add(entry);
    void this.flush();
  }

  /** As `saveLife`, and resolves when it is written or cannot be now. */
  async saveLifeNow(entry: Entry): Promise<void> {
    this.#dirty.add(entry);
    while (this.#saving !== undefined) await this.#saving;
    await this.flush();
  }

  /**
   * Writes where the container stands, in a while: a write is a sync of the disk, others that start should not wait for it,
   * and one that ends soon needs none. A start that is not written yet is known from its task; after a crash of the node it
   * is not known, which is right only for containers that nobody starts again with their node.
   */
  saveLifeLater(entry: Entry): void {
    this.#dirty.add(entry);
    this.#later ??= setTimeout(() => {
      this.#later = undefined;
      void this.flush();
    }, laterMs).unref();
  }

  /** Writes what is to be written; resolves when it is, or cannot be now. Never rejects. */
  flush(): Promise<void> {
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #saveAll(): Promise<void> {
    for (const entry of this.#dirty) {
      this.#dirty.delete(entry);
      try {
        await this.#o.client.call(ContainersService.update, {
          container: {
            ...emptyRecord,
            id: entry.id,
            extensions: { [lifeKey]: encodeLife(entry.life) },
          },
          updateMask: { paths: [`extensions.${lifeKey}`] },
        });
      } catch (error) {
        // It was removed meanwhile.
        if (hasCode(error, "not-found")) continue;
        this.#dirty.add(entry);
        this.#o.log.warn("state of a container not written yet", {
          "container.id": entry.id,
          err: errorText(error),
        });
        return;
      }
    }
  }

  /** Fine when it is gone. */
  async delete(id: string): Promise<void> {
    await this.#o.client.call(ContainersService.delete, { id }).catch(ignoreAbsent);
  }

  /** All records as entries, those whose container was not made to its end, and the ids of those that cannot be read. */
  async load(): Promise<{ entries: Entry[]; unfinished: Entry[]; unreadable: string[] }> {
    const { client } = this.#o;
    const { containers } = await client.call(ContainersService.list, {});
    const snapshots = new Set<string>();
    const request = { snapshotter: snapshotterName };
    for await (const { info } of client.list(SnapshotsService.list, request)) {
      for (const { name } of info) snapshots.add(name);
    }
    const entries: Entry[] = [];
    const unfinished: Entry[] = [];
    const unreadable: string[] = [];
    for (const record of containers) {
      try {
        const facts = decodeFacts(record.extensions[factsKey]);
        const life = decodeLife(record.extensions[lifeKey]);
        const specJson = Buffer.from(record.spec?.value ?? []).toString("utf8");
        const entry = new Entry(facts, life, specJson);
        const isFinished =
          (record.labels[unfinishedLabel] ?? "") === "" &&
          (life.state.phase !== "created" || snapshots.has(snapshotKey(record.id)));
        (isFinished ? entries : unfinished).push(entry);
      } catch (error) {
        this.#o.log.error("a container's record cannot be read", {
          "container.id": record.id,
          err: errorText(error),
        });
        unreadable.push(record.id);
      }
    }
    entries.sort((a, b) => a.facts.createdAtMs - b.facts.createdAtMs);
    return { entries, unfinished, unreadable };
  }
}

/** Key of a container's file system; it is told from those of images by this. */
export function snapshotKey(id: string): string {
  return `container-${id}`;
}

/** Whether an answer says that there is no such task any more, or that its shim has just ended. */
export function saysGone(error: unknown): boolean {
  if (hasCode(error, "not-found")) return true;
  return (
    hasCode(error, "unknown") && /ttrpc: closed|process already finished/.test(errorText(error))
  );
}

/** Whether an answer to a start says that the shim was ending which it was to have with others; the next try makes one. */
export function saysShimEnded(error: unknown): boolean {
  return (
    hasCode(error, "unknown") &&
    /ttrpc: closed|dial unix .*: connect: (?:connection refused|no such file)/.test(
      errorText(error),
    )
  );
}

/** Lets an answer pass that says that what was to go is gone. @throws whatever else it is. */
export function ignoreAbsent(error: unknown): undefined {
  if (hasCode(error, "not-found")) return undefined;
  throw error;
}

const emptyRecord: ContainerRecord = {
  id: "",
  labels: {},
  image: "",
  runtime: undefined,
  spec: undefined,
  snapshotter: "",
  snapshotKey: "",
  createdAt: undefined,
  updatedAt: undefined,
  extensions: {},
};

function specAny(json: string): Any {
  return { typeUrl: specType, value: Buffer.from(json) };
}
