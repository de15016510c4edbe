/**
 * The folders of volumes: `NAME/volume.json` and `NAME/_data`.
 *
 * A volume comes and goes by one renaming, so that after a crash it is there whole or not at all: it is made under a name
 * that no volume can have, and taken away under another. What is left under such names is removed at the next start.
 */
import { constants, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Volume } from "../../src/common/container/volumes.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import { mountsIn, unmountAll } from "./mounting.ts";

const makingPrefix = ".making-";
const goingPrefix = ".going-";
/** As Docker has them: anyone may pass through to the content, nobody may look around. */
const outerMode = 0o701;
const dataMode = 0o755;

/** What is written of a volume. */
interface VolumeRecord {
  readonly format: 1;
  readonly createdAtMs: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly anonymous: boolean;
}

/** The volumes on disk. */
export class VolumeStore {
  readonly #folder: string;
  readonly #log: Log;
  /** Found at the start: what is begun from now on is not for sweeping. */
  #rest: readonly string[] = [];

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  dataOf(name: string): string {
    return join(this.#folder, name, "_data");
  }

  /** All that are whole. Reads at once, as nothing can be done on a node before its volumes are known. */
  load(): Volume[] {
    mkdirSync(this.#folder, { recursive: true, mode: outerMode });
    const isRest = (name: string) => name.startsWith(makingPrefix) || name.startsWith(goingPrefix);
    const names = readdirSync(this.#folder);
    this.#rest = names.filter(isRest);
    return names.filter((name) => !isRest(name)).flatMap((name) => this.#read(name) ?? []);
  }

  /** Removes the rest of what was begun by a daemon that was killed. */
  async sweep(): Promise<void> {
    for (const name of this.#rest) await this.#removeFolder(join(this.#folder, name));
  }

  /** @param mark Unique among the volumes that are being made or removed. */
  async make(volume: Volume, mark: string): Promise<void> {
    const making = join(this.#folder, `${makingPrefix}${mark}`);
    const { createdAtMs, labels, options, anonymous } = volume;
    const record: VolumeRecord = { format: 1, createdAtMs, labels, options, anonymous };
    try {
      await mkdir(join(making, "_data"), { recursive: true });
      await chmod(making, outerMode);
      await chmod(join(making, "_data"), dataMode);
      await writeSynced(join(making, "volume.json"), JSON.stringify(record));
      await syncFolder(making);
      await rename(making, join(this.#folder, volume.name));
      await syncFolder(this.#folder);
    } catch (error) {
      await rm(making, { recursive: true, force: true });
      throw error;
    }
  }

  /** @throws ClusterError failed-precondition while something is mounted in it that does not go away. */
  async remove(name: string, mark: string): Promise<void> {
    await unmountAll(join(this.#folder, name));
    const going = join(this.#folder, `${goingPrefix}${mark}`);
    await rename(join(this.#folder, name), going);
    await syncFolder(this.#folder);
    await this.#removeFolder(going);
  }

  #read(name: string): Volume | undefined {
    try {
      const text = readFileSync(join(this.#folder, name, "volume.json"), "utf8");
      const { createdAtMs, labels, options, anonymous } = JSON.parse(text) as VolumeRecord;
      const mountpoint = this.dataOf(name);
      return { name, driver: "local", createdAtMs, labels, options, mountpoint, anonymous };
    } catch (error) {
      // Not ours, or damaged: nothing of it is touched.
      this.#log.warn("a folder among the volumes is none", { name, err: errorText(error) });
      return undefined;
    }
  }

  /** Never goes through a mount: what is behind it is somebody's data. */
  async #removeFolder(path: string): Promise<void> {
    await unmountAll(path);
    if (mountsIn(path).length === 0) await rm(path, { recursive: true, force: true });
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
