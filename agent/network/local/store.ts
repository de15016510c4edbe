/**
 * What a node's own networks keep over restarts of its daemon: a JSON file that is replaced as a whole, and one for each
 * container's places.
 *
 * Networks are the user's, and what containers were connected to: on the disk before it is told. Places of containers are worth
 * nothing after a boot, and are handed to the kernel alone, so that no start waits for the disk. Each has a file of its own, as
 * to replace a file costs ext4 milliseconds.
 */
import {
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
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

const placesEnd = ".json";

/** Where a container is. */
type Places = Pick<KeptContainer, "places" | "ports">;

/** The files. Writes of networks one after the other; of several that wait the last is written. */
export class LocalStore {
  readonly #path: string;
  readonly #placesFolder: string;
  #next: Kept | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** @param placesFolder Best in memory: what is in it is worthless after a boot. */
  constructor(path: string, placesFolder: string) {
    this.#path = path;
    this.#placesFolder = placesFolder;
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

  /** The places as they were last; those that the file of networks has when it is of an earlier version. */
  #withPlaces(kept: Kept): Kept {
    const places = this.#readPlaces();
    if (places === undefined) {
      for (const [id, container] of Object.entries(kept.containers)) this.keepPlaces(id, container);
      return kept;
    }
    const containers: Record<string, KeptContainer> = { ...joinedOf(kept) };
    for (const [id, { places: at, ports }] of places) {
      containers[id] = { ...containers[id], places: at, ports };
    }
    return { ...kept, containers };
  }

  /** Undefined when there is no folder of them. */
  #readPlaces(): [id: string, Places][] | undefined {
    let names: string[];
    try {
      names = readdirSync(this.#placesFolder);
    } catch {
      return undefined;
    }
    return names.flatMap((name): [string, Places][] => {
      const path = join(this.#placesFolder, name);
      try {
        if (!name.endsWith(placesEnd)) throw new Error("it is not whole");
        const places = JSON.parse(readFileSync(path, "utf8")) as Places;
        return [[name.slice(0, -placesEnd.length), places]];
      } catch {
        // Cut off while it was written: its container was not started, or the machine went down with it.
        rmSync(path, { force: true });
        return [];
      }
    });
  }

  /** Keeps where a container is over the end of the daemon, not over that of the machine. @param at Undefined: nowhere. */
  keepPlaces(id: string, at: Places | undefined): void {
    const path = join(this.#placesFolder, `${id}${placesEnd}`);
    rmSync(path, { force: true });
    if (at === undefined || (at.places.length === 0 && at.ports.length === 0)) return;
    mkdirSync(this.#placesFolder, { recursive: true, mode: 0o700 });
    const { places, ports } = at;
    writeFileSync(`${path}.new`, JSON.stringify({ places, ports }), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  /** All but places. Resolves when it, or what came after it, is on the disk. */
  save(kept: Kept): Promise<void> {
    this.#next = { ...kept, containers: joinedOf(kept) };
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

/** Containers that were connected to other networks than they were made with; nowhere. */
function joinedOf({ containers }: Kept): Record<string, KeptContainer> {
  const joined: Record<string, KeptContainer> = {};
  for (const [id, { joins }] of Object.entries(containers)) {
    if (joins !== undefined) joined[id] = { joins, places: [], ports: [] };
  }
  return joined;
}
