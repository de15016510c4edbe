/**
 * The volumes of a node: implements `Volumes` with Docker's driver `local`.
 *
 * What there is is in memory and on disk (`store.ts`); who holds a volume is known by those who hold it, and told anew
 * after a start of the daemon. A volume with options is mounted while it is held.
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../src/common/clock/clock.ts";
import { EventHub } from "../../src/common/container/event-hub.ts";
import type {
  Volume,
  VolumeEvent,
  VolumeRequest,
  Volumes,
} from "../../src/common/container/volumes.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { mountsIn, mountVolume, unmountAll } from "./mounting.ts";
import { checkVolumeDriver, checkVolumeName, volumeMountOf } from "./options.ts";
import { VolumeStore } from "./store.ts";

/** Docker's mark of volumes that were made without a name. */
const anonymousLabel = "com.docker.volume.anonymous";

/** What the volumes are made with. */
export interface VolumeTools {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** All volumes of a node. */
export class LocalVolumes implements Volumes {
  readonly #store: VolumeStore;
  readonly #tools: VolumeTools;
  readonly #volumes = new Map<string, Volume>();
  readonly #users = new Map<string, Set<string>>();
  readonly #events = new EventHub<VolumeEvent>();
  /** Per volume, one thing after the other. */
  readonly #turns = new Map<string, Promise<unknown>>();

  /** Resolves when what a killed daemon had begun is removed; volumes can be used before. */
  readonly swept: Promise<void>;

  /** Reads what there is in the folder. */
  constructor(folder: string, tools: VolumeTools) {
    this.#store = new VolumeStore(folder, tools.log);
    this.#tools = tools;
    for (const volume of this.#store.load()) this.#volumes.set(volume.name, volume);
    this.swept = this.#store.sweep().catch((error) => {
      tools.log.warn("remains of volumes are left", { err: error });
    });
  }

  /** Reads what there is, and removes what a killed daemon had begun. */
  static async open(folder: string, tools: VolumeTools): Promise<LocalVolumes> {
    const volumes = new LocalVolumes(folder, tools);
    await volumes.swept;
    return volumes;
  }

  list(): readonly Volume[] {
    return [...this.#volumes.values()];
  }

  find(name: string): Volume {
    const volume = this.#volumes.get(name);
    if (volume === undefined) {
      throw new ClusterError("not-found", `get ${name}: no such volume`);
    }
    return volume;
  }

  check({ name, driver, options }: VolumeRequest): void {
    checkVolumeDriver(driver);
    volumeMountOf(options);
    if (name !== "") checkVolumeName(name);
    const there = this.#volumes.get(name);
    if (there !== undefined) checkSame(there, options);
  }

  async create(request: VolumeRequest): Promise<Volume> {
    this.check(request);
    const anonymous = request.name === "";
    const name = anonymous ? this.#randomName() : request.name;
    return this.#inTurn(name, async () => {
      const there = this.#volumes.get(name);
      if (there !== undefined) {
        // Made by another since.
        checkSame(there, request.options);
        return there;
      }
      const volume: Volume = {
        name,
        driver: "local",
        createdAtMs: this.#tools.clock.now(),
        labels: anonymous ? { ...request.labels, [anonymousLabel]: "" } : request.labels,
        options: request.options,
        mountpoint: this.#store.dataOf(name),
        anonymous,
      };
      await this.#store.make(volume, this.#randomName());
      this.#volumes.set(name, volume);
      this.#emit("create", volume, {});
      return volume;
    });
  }

  async remove(name: string, o: { force: boolean }): Promise<void> {
    await this.#inTurn(name, async () => {
      const volume = this.#volumes.get(name);
      if (volume === undefined && o.force) return;
      this.find(name);
      const users = this.usersOf(name);
      if (users.length > 0) {
        throw new ClusterError(
          "failed-precondition",
          `remove ${name}: volume is in use - [${users.join(", ")}]`,
        );
      }
      await this.#store.remove(name, this.#randomName());
      this.#volumes.delete(name);
      if (volume !== undefined) this.#emit("destroy", volume, {});
    });
  }

  async prune(o: {
    all: boolean;
    accept: (volume: Volume) => boolean;
  }): Promise<{ removed: readonly string[]; freedBytes: number }> {
    const removed: string[] = [];
    let freedBytes = 0;
    for (const volume of this.list()) {
      const { name } = volume;
      if (!(o.all || volume.anonymous) || !o.accept(volume)) continue;
      if (this.usersOf(name).length > 0) continue;
      try {
        const bytes = await this.sizeBytes(name);
        await this.remove(name, { force: false });
        removed.push(name);
        freedBytes += bytes;
      } catch (error) {
        // Taken or removed by another in between, or mounted: the rest is pruned all the same.
        this.#tools.log.warn("a volume was not pruned", { volume: name, err: error });
      }
    }
    return { removed, freedBytes };
  }

  async acquire(name: string, containerId: string): Promise<string> {
    return this.#inTurn(name, async () => {
      const volume = this.find(name);
      const mount = volumeMountOf(volume.options);
      if (mount !== undefined) await mountVolume(mount, volume.mountpoint);
      const users = this.#users.get(name) ?? new Set();
      this.#users.set(name, users.add(containerId));
      this.#emit("mount", volume, { container: containerId });
      return volume.mountpoint;
    });
  }

  async release(name: string, containerId: string): Promise<void> {
    await this.#inTurn(name, async () => {
      const users = this.#users.get(name);
      const volume = this.#volumes.get(name);
      if (users === undefined || volume === undefined || !users.delete(containerId)) return;
      this.#emit("unmount", volume, { container: containerId });
      if (users.size > 0) return;
      this.#users.delete(name);
      if (volumeMountOf(volume.options) !== undefined) await unmountAll(volume.mountpoint);
    });
  }

  usersOf(name: string): readonly string[] {
    return [...(this.#users.get(name) ?? [])];
  }

  async sizeBytes(name: string): Promise<number> {
    const { mountpoint, options } = this.find(name);
    // What is behind a mount is not the node's own.
    if (volumeMountOf(options) !== undefined || mountsIn(mountpoint).length > 0) return 0;
    return folderBytes(mountpoint, new Set());
  }

  events(signal: AbortSignal): AsyncIterable<VolumeEvent> {
    return this.#events.read(signal);
  }

  #emit(action: string, volume: Volume, attributes: Readonly<Record<string, string>>): void {
    const timeNs = BigInt(this.#tools.clock.now()) * 1_000_000n;
    const driver = { driver: volume.driver };
    this.#events.emit({ timeNs, action, volume, attributes: { ...driver, ...attributes } });
  }

  #randomName(): string {
    return Buffer.from(this.#tools.random.bytes(32)).toString("hex");
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(name, turn);
    const over = () => {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    };
    turn.then(over, over);
    return turn;
  }
}

/** @throws ClusterError already-exists when it was made from other options. */
function checkSame(there: Volume, options: VolumeRequest["options"]): void {
  const wanted = Object.entries(options);
  const same =
    wanted.length === Object.keys(there.options).length &&
    wanted.every(([key, value]) => there.options[key] === value);
  // Those who only name a volume take it as it is.
  if (wanted.length === 0 || same) return;
  throw new ClusterError(
    "already-exists",
    `volume ${there.name} already exists with other options: remove it first, or choose another name`,
  );
}

/** Bytes of the files, each counted once however many names it has. */
async function folderBytes(folder: string, seen: Set<number>): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    // Removed since it was listed.
    const stats = await lstat(path).catch(() => undefined);
    if (stats === undefined || seen.has(stats.ino)) continue;
    if (stats.nlink > 1 && !stats.isDirectory()) seen.add(stats.ino);
    bytes += stats.isDirectory() ? await folderBytes(path, seen).catch(() => 0) : stats.size;
  }
  return bytes;
}
