/**
 * The containers of a node: implements `Containers` over containerd.
 *
 * What there is and where it stands is in memory (`table.ts`, `entry.ts`) and in containerd's records; `creator.ts` makes,
 * `runner.ts` runs, `reconciler.ts` follows what happens. Streams and files are the business of the two halves of `seams.ts`.
 */
import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type {
  Attachment,
  AttachOptions,
  CommitOptions,
  ContainerEvent,
  ContainerExit,
  ContainerStats,
  Containers,
  ContainerUpdate,
  CreatedContainer,
  ExecConfig,
  ExecProcess,
  FileChange,
  LogOptions,
  LogRecord,
  PathStat,
  ProcessTable,
} from "../../../src/common/container/containers.ts";
import { EventHub } from "../../../src/common/container/event-hub.ts";
import type { Images } from "../../../src/common/container/images.ts";
import type { Container, ContainerConfig } from "../../../src/common/container/types.ts";
import type { Volumes } from "../../../src/common/container/volumes.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { containerKillMs, stopTimeoutDefaultS } from "../../../src/common/limits/runtime.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { compileLaterDuring } from "../../../src/common/memory/compile-soon.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { setBlockWeights } from "./block-weights.ts";
import { checkName } from "./container-name.ts";
import { Creator } from "./creator.ts";
import type { Entry } from "./entry.ts";
import { Gate } from "./gate.ts";
import { Making } from "./making.ts";
import type { NodeFacts } from "./node-facts.ts";
import { Reconciler } from "./reconciler.ts";
import { Records } from "./records.ts";
import { resourcesOf } from "./resources.ts";
import { Runner, requireRunning } from "./runner.ts";
import type { RuntimePrograms } from "./runtime-programs.ts";
import type { ContainerFiles, ContainerNetworks, ContainerStreams, RuntimeCore } from "./seams.ts";
import type { SizedLayers } from "./sized-layers.ts";
import { SpecBuilder } from "./spec-builder.ts";
import { ContainerTable } from "./table.ts";

/** What the containers are made with. */
export interface ContainersOptions {
  readonly client: ContainerdClient;
  /** Resolves when containerd is up. @throws ClusterError unavailable with the reason. */
  readonly ready: () => Promise<void>;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly streams: (core: RuntimeCore) => ContainerStreams;
  readonly files: (core: RuntimeCore) => ContainerFiles;
  readonly networks: ContainerNetworks;
  readonly node: NodeFacts;
  readonly programs: RuntimePrograms;
  readonly layers: SizedLayers;
  /** Holds one folder per container. */
  readonly folder: string;
  /** In memory; undefined where the node has no such place. */
  readonly secretsFolder: string | undefined;
  /** Absolute in the cgroup tree, of this node alone. */
  readonly cgroupParent: string;
  /** Whether containers of a service share shims where it has many. */
  readonly sharedShims: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Form of `Any` for a live update; its bytes are JSON. */
const resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** Starts that may be asked for and not be done while more containers are made, for each that is done at a time. */
const startsAheadMax = 3;

/** Containers that get their networks at once. */
const joinsMax = 32;

/** The containers of one node. */
export class ContainerdContainers implements Containers {
  readonly #o: ContainersOptions;
  readonly #table = new ContainerTable();
  readonly #events = new EventHub<ContainerEvent>();
  readonly #stopping = new AbortController();
  readonly #streams: ContainerStreams;
  readonly #files: ContainerFiles;
  readonly #records: Records;
  readonly #specs: SpecBuilder;
  readonly #creator: Creator;
  readonly #runner: Runner;
  readonly #reconciler: Reconciler;

  constructor(options: ContainersOptions) {
    this.#o = options;
    // Every container that waits to be started again listens to it.
    setMaxListeners(0, this.#stopping.signal);
    const { client, clock, log, random } = options;
    const core = this.#core();
    this.#streams = options.streams(core);
    this.#files = options.files(core);
    this.#specs = new SpecBuilder({
      ...options,
      folderOf: core.folderOf,
      find: (reference) => this.find(reference),
    });
    this.#records = new Records({
      client,
      optionsOf: (facts) =>
        options.programs.optionsOf(facts.runtime, this.#specs.memoryForVariables(facts)),
      log,
    });
    const shared = {
      ...options,
      table: this.#table,
      records: this.#records,
      specs: this.#specs,
      streams: this.#streams,
      files: this.#files,
      folderOf: core.folderOf,
    };
    // More at once only make each slower: starting is bound by processors.
    const startsAtOnce = 2 * availableParallelism();
    const making = new Making(startsAheadMax * startsAtOnce);
    // containerd writes one after the other.
    this.#creator = new Creator({
      ...shared,
      random,
      making,
      writing: new Gate(2 * availableParallelism()),
    });
    this.#runner = new Runner({
      ...shared,
      making,
      gate: new Gate(startsAtOnce),
      // The data path gives places to all that wait in one pass; a pass should not take long.
      joining: new Gate(joinsMax),
      emit: (entry, action, attributes) => this.#emit(entry, action, attributes ?? {}),
      removeEnded: (entry) => this.#remove(entry, { force: true, volumes: true }),
      stopping: this.#stopping.signal,
      clock,
    });
    this.#reconciler = new Reconciler({
      ...shared,
      creator: this.#creator,
      runner: this.#runner,
      cgroups: options.node.cgroups,
      adopt: (entry) => this.#add(entry),
      finishRemoval: (entry) => this.#remove(entry, { force: true, volumes: false }),
    });
  }

  /** Follows containerd until the signal aborts; containers run on after that. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#stopping.abort(signal.reason), { once: true });
    if (signal.aborted) this.#stopping.abort(signal.reason);
    await this.#reconciler.run(signal);
    for (const entry of this.#table.list()) entry.restarting?.abort();
    await Promise.all(this.#table.list().map((entry) => entry.settled()));
    await this.#records.flush();
    await this.#streams.close();
    for (const { id, isRunning } of this.#table.list())
      if (!isRunning) await this.#o.layers.rest(id);
  }

  /** Resolves when the containers of earlier lives of the daemon are known. */
  get loaded(): Promise<void> {
    return this.#reconciler.loaded;
  }

  list(): readonly Container[] {
    return this.#table.list().map((entry) => entry.container);
  }

  find(reference: string): Container {
    return this.#table.find(reference).container;
  }

  async create(config: ContainerConfig, signal: AbortSignal): Promise<CreatedContainer> {
    await this.#o.ready();
    await this.loaded;
    const making = () => this.#creator.create(config, signal);
    const { id, warnings, entry } = await compileLaterDuring(making);
    this.#add(entry);
    this.#emit(entry, "create", {});
    return { id, warnings };
  }

  /** Puts a container into the table, with what is not kept in its record. */
  #add(entry: Entry): void {
    this.#table.add(entry);
    entry.setFacts({ ...entry.facts, logPath: this.#streams.logPathOf(entry.id) });
  }

  async start(reference: string, signal: AbortSignal): Promise<void> {
    const entry = this.#table.find(reference);
    await this.#o.ready();
    await compileLaterDuring(() => this.#runner.start(entry, signal));
  }

  async stop(
    reference: string,
    o: { signal: string; timeoutS: number | undefined },
  ): Promise<void> {
    const entry = this.#table.find(reference);
    if (await this.#stop(entry, o)) this.#emit(entry, "stop", {});
  }

  /** @returns Whether it ran. */
  async #stop(entry: Entry, o: { signal: string; timeoutS: number | undefined }): Promise<boolean> {
    await entry.settled();
    if (entry.state.phase === "restarting") {
      entry.setLife({ stopped: true });
      this.#runner.giveUpRestart(entry);
      return true;
    }
    if (!entry.isRunning) {
      // A task that was never started ends with this.
      this.#runner.forgetSecrets(entry);
      return false;
    }
    entry.setLife({ stopped: true });
    const seconds = o.timeoutS ?? entry.facts.config.stopTimeoutS ?? stopTimeoutDefaultS;
    const ended = await this.#signalAndWait(
      entry,
      o.signal === "" ? entry.facts.stopSignal : o.signal,
      seconds < 0 ? undefined : seconds * 1000,
    );
    if (!ended) await this.#end(entry);
    return true;
  }

  /** Sends a signal. @returns Whether the container ended within the time; undefined waits without end. */
  async #signalAndWait(
    entry: Entry,
    signalName: string,
    withinMs: number | undefined,
  ): Promise<boolean> {
    const over = new AbortController();
    const exit = entry.nextExit(over.signal).then(
      () => true,
      () => false,
    );
    try {
      if (!entry.isRunning) return true;
      await this.#runner.kill(entry, signalName);
      if (withinMs === undefined) return await exit;
      const late = this.#o.clock.sleep(withinMs, over.signal).then(
        () => false,
        () => true,
      );
      return await Promise.race([exit, late]);
    } finally {
      over.abort();
    }
  }

  async #end(entry: Entry): Promise<void> {
    if (await this.#signalAndWait(entry, "KILL", containerKillMs)) return;
    throw new ClusterError(
      "deadline-exceeded",
      `container ${entry.id} did not end within ${containerKillMs / 1000} seconds of its kill`,
    );
  }

  async restart(
    reference: string,
    o: { signal: string; timeoutS: number | undefined },
  ): Promise<void> {
    const entry = this.#table.find(reference);
    if (await this.#stop(entry, o)) this.#emit(entry, "stop", {});
    await this.#o.ready();
    await this.#runner.start(entry, this.#stopping.signal);
    this.#emit(entry, "restart", {});
  }

  async kill(reference: string, signalName: string): Promise<void> {
    const entry = this.#table.find(reference);
    await entry.settled();
    await this.#runner.kill(entry, signalName);
  }

  async pause(reference: string): Promise<void> {
    const entry = this.#table.find(reference);
    await this.#o.ready();
    await this.#runner.pause(entry);
  }

  async unpause(reference: string): Promise<void> {
    const entry = this.#table.find(reference);
    await this.#o.ready();
    await this.#runner.unpause(entry);
  }

  wait(
    reference: string,
    condition: "not-running" | "next-exit" | "removed",
    signal: AbortSignal,
  ): Promise<ContainerExit> {
    const entry = this.#table.find(reference);
    switch (condition) {
      case "not-running":
        return entry.isRunning || entry.state.phase === "restarting"
          ? entry.nextExit(signal)
          : Promise.resolve(entry.exit());
      case "next-exit":
        return entry.nextExit(signal);
      case "removed":
        return entry.removed(signal);
    }
  }

  async remove(reference: string, o: { force: boolean; volumes: boolean }): Promise<void> {
    const entry = this.#table.find(reference);
    if (entry.removing) {
      throw new ClusterError(
        "failed-precondition",
        `removal of container ${entry.id} is already in progress`,
      );
    }
    await this.#remove(entry, o);
  }

  async #remove(entry: Entry, o: { force: boolean; volumes: boolean }): Promise<void> {
    if (!o.force) {
      await entry.settled();
      requireStopped(entry);
    }
    await this.#o.ready();
    entry.removing = true;
    this.#runner.giveUpRestart(entry);
    try {
      // A start that is under way is waited for: its task has to be ended.
      await entry.settled();
      if (entry.isRunning) await this.#end(entry);
      await entry.serial(() => this.#unmake(entry, o.volumes));
    } catch (error) {
      entry.removing = false;
      if (!entry.isRunning) entry.setState({ phase: "dead" });
      throw error;
    }
  }

  async #unmake(entry: Entry, withVolumes: boolean): Promise<void> {
    entry.setState({ phase: "removing" });
    await this.#streams.removed(entry.id);
    await this.#runner.dropTask(entry.id);
    const volumes = entry.facts.planned.filter((mount) => withVolumes && mount.anonymous);
    await this.#creator.discard(entry.id, volumes);
    this.#table.delete(entry);
    this.#emit(entry, "destroy", {});
    entry.tellRemoved();
  }

  async rename(reference: string, name: string): Promise<void> {
    const entry = this.#table.find(reference);
    const plain = checkName(name);
    const oldName = entry.facts.name;
    if (plain === oldName) {
      throw new ClusterError(
        "invalid-argument",
        "Renaming a container with the same name as its current name",
      );
    }
    await this.#o.ready();
    this.#table.takeName(plain, entry.id);
    try {
      await entry.serial(async () => {
        entry.setFacts({ ...entry.facts, name: plain });
        await this.#records.saveFacts(entry);
      });
    } catch (error) {
      entry.setFacts({ ...entry.facts, name: oldName });
      this.#table.freeName(plain, entry.id);
      throw error;
    }
    this.#table.freeName(oldName, entry.id);
    this.#emit(entry, "rename", { oldName: `/${oldName}` });
  }

  async update(reference: string, change: ContainerUpdate): Promise<readonly string[]> {
    const entry = this.#table.find(reference);
    await this.#o.ready();
    const { config } = entry.facts;
    const next: ContainerConfig = {
      ...config,
      resources: change.resources ?? config.resources,
      extraLimits: change.extraLimits ?? config.extraLimits,
      restartPolicy: change.restartPolicy ?? config.restartPolicy,
    };
    if (config.autoRemove && next.restartPolicy.name !== "no") {
      throw new ClusterError(
        "invalid-argument",
        "Restart policy cannot be updated because AutoRemove is enabled for the container",
      );
    }
    const { resources, warnings } = resourcesOf(next, this.#o.node.cgroups);
    await entry.serial(async () => {
      if (entry.isRunning && Object.keys(resources).length > 0) {
        await this.#o.client.call(TasksService.update, {
          containerId: entry.id,
          resources: { typeUrl: resourcesType, value: Buffer.from(JSON.stringify(resources)) },
        });
      }
      if (entry.isRunning)
        setBlockWeights(this.#o.node.cgroups, this.#specs.cgroupOf(entry.facts), next);
      entry.setFacts({ ...entry.facts, config: next });
      await this.#records.saveFacts(entry);
    });
    this.#emit(entry, "update", {});
    return warnings;
  }

  async resize(reference: string, size: { width: number; height: number }): Promise<void> {
    const entry = this.#table.find(reference);
    requireRunning(entry);
    await this.#streams.resize(entry.id, size);
  }

  attach(reference: string, options: AttachOptions): Promise<Attachment> {
    return this.#streams.attach(this.find(reference), options);
  }

  logs(reference: string, options: LogOptions): AsyncIterable<LogRecord> {
    const entry = this.#table.find(reference);
    const records = this.#streams.logs(entry.container, options);
    return entry.isRunning ? records : afterwards(entry, records);
  }

  async createExec(reference: string, config: ExecConfig): Promise<string> {
    const entry = this.#table.find(reference);
    await entry.settled();
    requireRunning(entry);
    if (entry.state.phase === "paused") {
      throw new ClusterError(
        "failed-precondition",
        `Container ${entry.id} is paused, unpause the container before exec`,
      );
    }
    return this.#streams.createExec(entry.container, config);
  }

  findExec(execId: string): ExecProcess {
    return this.#streams.findExec(execId);
  }

  execsOf(containerId: string): readonly string[] {
    return this.#streams.execsOf(containerId);
  }

  startExec(
    execId: string,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<Attachment | undefined> {
    return this.#streams.startExec(execId, o);
  }

  resizeExec(execId: string, size: { width: number; height: number }): Promise<void> {
    return this.#streams.resizeExec(execId, size);
  }

  async stats(reference: string): Promise<ContainerStats> {
    return this.#streams.stats(this.find(reference));
  }

  async top(reference: string, psArguments: string): Promise<ProcessTable> {
    const entry = this.#table.find(reference);
    requireRunning(entry);
    return this.#streams.top(entry.container, psArguments);
  }

  /** One whose files are those of a container that runs, or that none holds any more. */
  async #settled(reference: string): Promise<Container> {
    const entry = this.#table.find(reference);
    if (!entry.isRunning) await entry.settled();
    return entry.container;
  }

  async statPath(reference: string, path: string): Promise<PathStat> {
    return this.#files.statPath(await this.#settled(reference), path);
  }

  async getArchive(
    reference: string,
    path: string,
  ): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }> {
    return this.#files.getArchive(await this.#settled(reference), path);
  }

  async putArchive(
    reference: string,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    o: { noOverwriteDirNonDir: boolean; copyUidGid: boolean },
  ): Promise<void> {
    await this.#files.putArchive(await this.#settled(reference), path, tar, o);
  }

  async changes(reference: string): Promise<readonly FileChange[]> {
    return this.#files.changes(await this.#settled(reference));
  }

  async exportTar(reference: string): Promise<AsyncIterable<Uint8Array>> {
    return this.#files.exportTar(await this.#settled(reference));
  }

  async commit(reference: string, options: CommitOptions): Promise<string> {
    const container = await this.#settled(reference);
    const pauses = options.pause && container.state.phase === "running";
    if (pauses) await this.pause(container.id);
    try {
      return await this.#files.commit(container, options);
    } finally {
      // Fine when it was removed or ended meanwhile.
      if (pauses) await this.unpause(container.id).catch(() => undefined);
    }
  }

  async sizes(reference: string): Promise<{ ownBytes: number; rootBytes: number }> {
    return this.#files.sizes(this.find(reference));
  }

  events(signal: AbortSignal): AsyncIterable<ContainerEvent> {
    return this.#events.read(signal);
  }

  #emit(entry: Entry, action: string, attributes: Readonly<Record<string, string>>): void {
    const timeNs = BigInt(this.#o.clock.now()) * 1_000_000n;
    this.#events.emit({ timeNs, action, container: entry.container, attributes });
  }

  /** What the halves may ask. */
  #core(): RuntimeCore {
    const entryOf = (id: string): Entry => this.#table.find(id);
    return {
      clock: this.#o.clock,
      random: this.#o.random,
      log: this.#o.log,
      get: (id) => this.#table.get(id)?.container,
      folderOf: (id) => join(this.#o.folder, id),
      processOf: async (id) => JSON.parse(entryOf(id).specJson).process,
      lookUpUser: async (id, user) => {
        const rootfs = await this.#runner.rootfs(entryOf(id));
        return this.#specs.userIn(rootfs, user, []);
      },
      lookedInto: ({ id, config }) => {
        const entry = this.#table.get(id);
        if (entry === undefined || entry.isRunning || (config.storageBytes ?? 0) === 0) return;
        // A start that is under way keeps it. The daemon's end waits for it as for every change.
        void entry.serial(async () => {
          if (!entry.isRunning) await this.#o.layers.rest(id);
        });
      },
      emit: (id, action, attributes) => {
        const entry = this.#table.get(id);
        if (entry !== undefined) this.#emit(entry, action, attributes);
      },
      healthChanged: (id, health) => {
        const entry = this.#table.get(id);
        if (entry === undefined) return;
        const isNews = entry.state.health.status !== health.status;
        entry.setState({ health });
        // Each probe would be a write to the disk.
        if (isNews) this.#records.saveLife(entry);
      },
    };
  }
}

/** The log of a container that has ended: its last lines may still be on their way. */
async function* afterwards(entry: Entry, records: AsyncIterable<LogRecord>) {
  await entry.settled();
  yield* records;
}

/** @throws ClusterError failed-precondition in Docker's words. */
function requireStopped(entry: Entry): void {
  const { phase } = entry.state;
  if (!entry.isRunning && phase !== "restarting") return;
  const what =
    phase === "paused"
      ? "container is paused and must be unpaused first"
      : `container is ${phase}: stop the container before removing or force remove`;
  throw new ClusterError(
    "failed-precondition",
    `cannot remove container "/${entry.facts.name}": ${what}`,
  );
}
