/**
 * What a node's own networks keep over restarts of its daemon: two JSON files, each replaced as a whole.
 *
 * Networks are the user's, and what containers were connected to: on the disk before it is told. Places of containers are worth
 * nothing after a boot: they are in a file of their own that is handed to the kernel alone, so that no start waits for the disk.
 */
import { constants, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { LocalNetwork, NetworkPlace } from "../../../src/common/container/networks.ts";
import type { NetworkJoin, PortBinding } from "../../../src/common/container/types.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { ChosenSubnet } from "./ipam.ts";

/** What is kept of a container. */
export interface KeptContainer {
  /** Its networks where they are not those it was made with: after connect and disconnect. */
  readonly joins?: readonly NetworkJoin[];
  /** While it runs. */
  readonly places: readonly NetworkPlace[];
  readonly ports: readonly PortBinding[];
}

/** All of the file. */
export interface Kept {
  readonly format: 1;
  /** Subnets of the network `bridge`. */
  readonly bridge: readonly ChosenSubnet[];
  readonly networks: readonly LocalNetwork[];
  readonly containers: Readonly<Record<string, KeptContainer>>;
}

/** Where each container is. */
type Places = Readonly<Record<string, Pick<KeptContainer, "places" | "ports">>>;

/** The files. Writes one after the other; of several that wait the last is written. */
export class LocalStore {
  readonly #path: string;
  #next: Kept | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined when there is none, or none that can be read: the log tells. */
  load(log: Log): Kept | undefined {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    try {
      const kept = JSON.parse(readFileSync(this.#path, "utf8")) as Kept;
      if (kept.format === 1) return this.#withPlaces(kept);
      log.error("the networks of this node are of another version and not read", {
        path: this.#path,
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        log.error("the networks of this node cannot be read", {
          path: this.#path,
          err: errorText(error),
        });
      }
    }
    return undefined;
  }

  /** The places as they were last; those that the file of networks has when there is no other. */
  #withPlaces(kept: Kept): Kept {
    let places: Places;
    try {
      places = JSON.parse(readFileSync(this.#placesPath, "utf8")) as Places;
    } catch {
      // Never written, or cut off by a crash of the machine: nothing runs after that.
      return kept;
    }
    const joined = Object.entries(kept.containers).filter(([, { joins }]) => joins !== undefined);
    const containers: Record<string, KeptContainer> = {};
    for (const [id, { joins }] of joined) {
      containers[id] = { places: [], ports: [], ...(joins !== undefined && { joins }) };
    }
    for (const [id, { places: at, ports }] of Object.entries(places)) {
      containers[id] = { ...containers[id], places: at, ports };
    }
    return { ...kept, containers };
  }

  get #placesPath(): string {
    return `${this.#path}.places`;
  }

  /** Keeps where containers are over the end of the daemon, not over that of the machine. */
  keepPlaces(containers: Kept["containers"]): void {
    const places = Object.entries(containers).map(([id, { places: at, ports }]) => [
      id,
      { places: at, ports },
    ]);
    writeFileSync(`${this.#placesPath}.new`, JSON.stringify(Object.fromEntries(places)), {
      mode: 0o600,
    });
    renameSync(`${this.#placesPath}.new`, this.#placesPath);
  }

  /** Resolves when it, or what came after it, is on the disk. */
  save(kept: Kept): Promise<void> {
    this.keepPlaces(kept.containers);
    this.#next = kept;
    const turn = this.#writing.then(() => this.#write());
    this.#writing = turn.catch(() => {});
    return turn;
  }

  async #write(): Promise<void> {
    const kept = this.#next;
    if (kept === undefined) return;
    this.#next = undefined;
    const file = await open(`${this.#path}.new`, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(kept));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${this.#path}.new`, this.#path);
    const folder = await open(dirname(this.#path), constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}
