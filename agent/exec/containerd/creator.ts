/**
 * Makes containers: checks, volumes, the record, the file system; and takes all of it back when a step fails.
 *
 * The record comes before the snapshot it names: the collector spares what a record names, and nothing else.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { CreatedContainer } from "../../../src/common/container/containers.ts";
import type { Image, Images } from "../../../src/common/container/images.ts";
import type { Container, ContainerConfig } from "../../../src/common/container/types.ts";
import type { Volumes } from "../../../src/common/container/volumes.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import { type Mount, SnapshotsService } from "../../../src/common/containerd/generated/protocol.ts";
import { prepareSnapshot } from "../../../src/common/containerd/snapshots.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { checkName, makeName } from "./container-name.ts";
import { Entry, freshState } from "./entry.ts";
import type { Gate } from "./gate.ts";
import { withImageDefaults } from "./image-defaults.ts";
import type { Making } from "./making.ts";
import { mountPoint, type PlannedMount, planMounts } from "./mounts.ts";
import { type ContainerFacts, containerLabel, withoutContents } from "./record.ts";
import type { Records } from "./records.ts";
import { ignoreAbsent, snapshotKey } from "./records.ts";
import type { RuntimePrograms } from "./runtime-programs.ts";
import type { ContainerFiles, ContainerNetworks, ContainerStreams, ProcessUser } from "./seams.ts";
import { ShimGroups } from "./shim-groups.ts";
import { signalNumber } from "./signals.ts";
import type { SizedLayers } from "./sized-layers.ts";
import { hostnameOf, type SpecBuilder } from "./spec-builder.ts";
import type { ContainerTable } from "./table.ts";

/** What a creator is made with. */
export interface CreatorOptions {
  readonly client: ContainerdClient;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly streams: ContainerStreams;
  readonly networks: ContainerNetworks;
  readonly files: ContainerFiles;
  readonly table: ContainerTable;
  readonly records: Records;
  readonly specs: SpecBuilder;
  readonly layers: SizedLayers;
  readonly folderOf: (id: string) => string;
  readonly programs: RuntimePrograms;
  /** Whether containers of a service share shims where it has many. */
  readonly sharedShims: boolean;
  /** Bounds how many are written down at once, so that the first can start while the others wait for the disk. */
  readonly writing: Gate;
  /** Says when the starts have caught up. */
  readonly making: Making;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Users looked up in images, so that the record can be written at once; a few hundred images at most are in use. */
const usersKeptMax = 500;

/** Makes and unmakes containers; their life in between is the runner's. */
export class Creator {
  readonly #o: CreatorOptions;
  readonly #shims: ShimGroups;
  #users = new Map<string, ProcessUser>();
  /** Containers that could not be made, nor removed as containerd was away, with the volumes that go with them. */
  readonly #remains = new Map<string, readonly PlannedMount[]>();

  constructor(options: CreatorOptions) {
    this.#o = options;
    // As many as are started at once.
    const openMax = options.sharedShims ? 2 * availableParallelism() : 0;
    this.#shims = new ShimGroups({ ...options, openMax });
  }

  /** @throws ClusterError; nothing is left of it then. */
  async create(
    config: ContainerConfig,
    signal: AbortSignal,
  ): Promise<CreatedContainer & { readonly entry: Entry }> {
    const { table, random } = this.#o;
    const id = Buffer.from(random.bytes(32)).toString("hex");
    const name =
      config.name === "" ? makeName(random, (n) => table.isTaken(n)) : checkName(config.name);
    table.takeName(name, id);
    try {
      this.#check(config);
      const image = await this.#o.images.find(config.image, config.platform);
      signal.throwIfAborted();
      const facts = await this.#facts({ id, name, config, image });
      const entry = await this.#make(facts, config, image, signal);
      table.add(entry);
      return { id, warnings: this.#o.specs.warnings(config), entry };
    } catch (error) {
      table.freeName(name, id);
      throw error;
    } finally {
      this.#shims.made(id);
    }
  }

  #check(config: ContainerConfig): void {
    this.#o.streams.checkLogDriver(config);
    if (config.stopSignal !== "") signalNumber(config.stopSignal);
    if (config.autoRemove && config.restartPolicy.name !== "no") {
      throw new ClusterError(
        "invalid-argument",
        "can't create 'AutoRemove' container with restart policy",
      );
    }
    this.#checkShared(config);
    this.#o.networks.check(config);
  }

  /** The client takes a word of something that is not found for one of the image, and pulls that. */
  #checkShared({ networks }: ContainerConfig): void {
    const [, reference] = /^container:(.+)$/.exec(networks[0] ?? "") ?? [];
    if (reference === undefined) return;
    try {
      this.#o.table.find(reference);
    } catch (error) {
      throw new ClusterError("invalid-argument", errorText(error), { cause: error });
    }
  }

  async #facts(o: {
    id: string;
    name: string;
    config: ContainerConfig;
    image: Image;
  }): Promise<ContainerFacts> {
    const { id, name, config, image } = o;
    const effective = withImageDefaults(config, image.config, hostnameOf(id, config));
    const planned = planMounts({
      config,
      imageVolumes: effective.volumes,
      from: config.volumesFrom.flatMap((reference) => this.#mountsFrom(reference)),
    });
    const { volumes: _volumes, ...runs } = effective;
    return {
      id,
      name,
      createdAtMs: this.#o.clock.now(),
      config: withoutContents(config),
      imageId: image.id,
      imagePlatform: image.platform,
      ...runs,
      mounts: [],
      runtime: this.#o.programs.nameOfNew(),
      logPath: "",
      planned,
    };
  }

  /** The mounts of another container, `:ro` and `:rw` at the end obeyed. */
  #mountsFrom(text: string): PlannedMount[] {
    const [, reference = "", mode = ""] = /^(.*?)(?::(ro|rw|z|Z))?$/.exec(text) ?? [];
    const { planned } = this.#o.table.find(reference).facts;
    return planned
      .filter((mount) => mount.type !== "tmpfs")
      .map((mount) => ({
        ...mount,
        copyUp: false,
        readOnly: mode === "ro" || (mode !== "rw" && mount.readOnly),
      }));
  }

  async #make(
    facts: ContainerFacts,
    config: ContainerConfig,
    image: Image,
    signal: AbortSignal,
  ): Promise<Entry> {
    const { specs, records, writing, making, log } = this.#o;
    const { id } = facts;
    const planned: PlannedMount[] = [];
    try {
      const userKey = JSON.stringify([image.id, facts.user, config.groups]);
      const { entry, finished } = await writing.run(signal, async () => {
        await making.mayMake(signal);
        // Who waited knows by now what those before it looked up.
        const known = this.#users.get(userKey);
        return this.#write(facts, config, { image, planned, known });
      });
      // Most often the file system was all that was missing.
      const user = this.#users.get(userKey) ?? this.#lookUp(entry, userKey, config);
      await this.#copyUp(entry);
      if (!finished) await records.finish(entry, await specs.build(entry.facts, user, undefined));
      return entry;
    } catch (error) {
      const anonymous = planned.filter((mount) => mount.anonymous);
      await this.discard(id, anonymous).catch((failure) => {
        log.warn("remains of a container that could not be made", {
          "container.id": id,
          err: errorText(failure),
        });
        this.#remains.set(id, anonymous);
      });
      throw error;
    }
  }

  /** Its volumes, record and file system. @param o.planned Takes the mounts in that were made. */
  async #write(
    facts: ContainerFacts,
    config: ContainerConfig,
    o: { image: Image; planned: PlannedMount[]; known: ProcessUser | undefined },
  ): Promise<{ entry: Entry; finished: boolean }> {
    const { specs, records, layers, folderOf } = this.#o;
    const { id } = facts;
    const { image, planned, known } = o;
    const sized = { id, storageBytes: config.storageBytes };
    mkdirSync(folderOf(id), { recursive: true, mode: 0o711 });
    makeBindSources(config);
    await this.#makeVolumes(facts, planned);
    await layers.make(sized);
    specs.writeSecrets(id, config);
    const mounts = await this.#mountPoints(id, planned);
    const shimGroup = this.#shims.join({ id, config, planned });
    const shared = shimGroup === undefined ? {} : { shimGroup };
    const whole = { ...facts, ...shared, planned, mounts, logPath: "" };
    const guess: ProcessUser = known ?? { uid: 0, gid: 0, additionalGids: [0], home: "/" };
    const specJson = await specs.build(whole, guess, undefined);
    const life = { state: freshState, stopped: false, lastExit: undefined };
    const entry = new Entry(whole, life, specJson);
    const finished = known !== undefined && !planned.some(isCopiedUp);
    await records.create(entry, { finished });
    entry.rootfs = await layers.boundedIn(sized, await this.#prepare(id, image));
    return { entry, finished };
  }

  /** Makes the volumes there are not yet. Anonymous ones get their names here. */
  async #makeVolumes(facts: ContainerFacts, made: PlannedMount[]): Promise<void> {
    for (const mount of facts.planned) {
      if (mount.type !== "volume") {
        made.push(mount);
        continue;
      }
      const volume = await this.#o.volumes.create({
        name: mount.source,
        driver: mount.driver.name,
        options: mount.driver.options,
        labels: mount.labels,
      });
      made.push({ ...mount, source: volume.name });
    }
  }

  async #mountPoints(id: string, planned: readonly PlannedMount[]) {
    const points: Container["mounts"][number][] = [];
    for (const mount of planned) {
      points.push(mountPoint(mount, await this.#o.specs.sourceOf(id, mount)));
    }
    return points;
  }

  async #prepare(id: string, image: Image): Promise<readonly Mount[]> {
    try {
      const { mounts } = await prepareSnapshot(this.#o.client, {
        snapshotter: snapshotterName,
        key: snapshotKey(id),
        parent: chainId(image.diffIds),
        labels: { [containerLabel]: id },
      });
      return mounts;
    } catch (error) {
      if (!hasCode(error, "not-found")) throw error;
      throw new ClusterError("not-found", `No such image: ${image.tags[0] ?? image.id}`, {
        cause: error,
      });
    }
  }

  /** The user as the image has it. */
  #lookUp(entry: Entry, userKey: string, config: ContainerConfig): ProcessUser {
    const user = this.#o.specs.userIn(entry.rootfs ?? [], entry.facts.user, config.groups);
    if (this.#users.size >= usersKeptMax) this.#users.clear();
    this.#users.set(userKey, user);
    return user;
  }

  async #copyUp(entry: Entry): Promise<void> {
    for (const mount of entry.facts.planned) {
      if (!isCopiedUp(mount)) continue;
      const folder = await this.#o.specs.sourceOf(entry.id, mount);
      await this.#o.files.copyUp(entry.container, mount.target, folder);
    }
  }

  /** Removes what is left of containers that could not be made while containerd was away. @throws ClusterError */
  async clear(): Promise<void> {
    for (const [id, volumes] of this.#remains) {
      await this.discard(id, volumes);
      this.#remains.delete(id);
    }
  }

  /**
   * Removes all there is of a container but its task; each part may be gone already.
   *
   * @param volumes Those that go with it.
   */
  async discard(id: string, volumes: readonly PlannedMount[]): Promise<void> {
    const { client, records, specs, layers, folderOf } = this.#o;
    await layers.remove(id);
    await client
      .call(SnapshotsService.remove, {
        snapshotter: snapshotterName,
        key: snapshotKey(id),
      })
      .catch(ignoreAbsent);
    await this.#releaseVolumes(id, volumes);
    specs.removeSecrets(id);
    // Many files, and many containers often end at once: the loop does not wait for them.
    await rm(folderOf(id), { recursive: true, force: true });
    const shim = this.#shims.leave(id);
    if (shim !== undefined) await rm(shimSocket(client, shim), { force: true });
    // Last, so that what is left after a crash is found by its record.
    await records.delete(id);
  }

  async #releaseVolumes(id: string, mounts: readonly PlannedMount[]): Promise<void> {
    const { volumes } = this.#o;
    for (const { name } of volumes.list()) {
      if (volumes.usersOf(name).includes(id)) await volumes.release(name, id);
    }
    for (const { source, type } of mounts) {
      if (type !== "volume" || source === "") continue;
      // One that others took over stays with them.
      if (volumes.usersOf(source).length > 0) continue;
      await volumes.remove(source, { force: false }).catch(ignoreAbsent);
    }
  }
}

/** Whether a volume is filled with what the image has in its place. */
function isCopiedUp({ type, copyUp }: PlannedMount): boolean {
  return type === "volume" && copyUp;
}

/** Folders a bind wants to be made where there are none. */
function makeBindSources(config: ContainerConfig): void {
  for (const mount of config.mounts) {
    if (mount.type !== "bind" || mount.bind?.createMountpoint !== true) continue;
    try {
      mkdirSync(mount.source, { recursive: true, mode: 0o755 });
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EEXIST") continue;
      throw new ClusterError(
        "invalid-argument",
        `invalid mount config for type "bind": ${mount.source}: ${errorText(error)}`,
        { cause: error },
      );
    }
  }
}

/** Socket of a group's shim, which a shim that was killed leaves behind (containerd 1.6 names it so). */
function shimSocket({ socketPath, namespace }: ContainerdClient, group: string): string {
  const name = createHash("sha256")
    .update(join(socketPath, namespace, group))
    .digest("hex");
  return join("/run/containerd/s", name);
}

/** Name of the snapshot that all layers together make, as the OCI image specification computes it. */
export function chainId(diffIds: readonly string[]): string {
  return diffIds.reduce(
    (chain, diff) =>
      chain === ""
        ? diff
        : `sha256:${createHash("sha256").update(`${chain} ${diff}`).digest("hex")}`,
    "",
  );
}
