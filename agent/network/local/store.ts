/**
 * What a node's own networks keep over restarts of its daemon: one JSON file, replaced as a whole.
 *
 * Networks are the user's and are on the disk before they are told; places of containers are worth nothing after a boot,
 * so that they are not waited for.
 */
import { constants, mkdirSync, readFileSync } from "node:fs";
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

/** The file. Writes one after the other; of several that wait the last is written. */
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
      if (kept.format === 1) return kept;
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

  /** Resolves when it, or what came after it, is on the disk. */
  save(kept: Kept): Promise<void> {
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
