/**
 * Follows containerd: events while connected, and a comparison with its lists after each connection and now and then, as
 * events of the time in between are lost. At the first connection it also loads what is there and clears what was left over.
 */
import { readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  EventsService,
  SnapshotsService,
  TaskEvent,
  TaskExitEvent,
  type TaskProcess,
  TasksService,
  type Timestamp,
} from "../../../src/common/containerd/generated/protocol.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import { containerLookMs } from "../../../src/common/limits/runtime.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { CgroupFacts } from "./cgroups.ts";
import type { Creator } from "./creator.ts";
import type { Entry } from "./entry.ts";
import { type FoundTask, reconcile, type Step } from "./reconcile.ts";
import { containerLabel } from "./record.ts";
import { ignoreAbsent, type Records } from "./records.ts";
import { startsWithDaemon } from "./restart-policy.ts";
import type { Runner } from "./runner.ts";
import type { RuntimePrograms } from "./runtime-programs.ts";
import type { ContainerStreams } from "./seams.ts";
import type { SizedLayers } from "./sized-layers.ts";
import type { SpecBuilder } from "./spec-builder.ts";
import type { ContainerTable } from "./table.ts";

/** What a reconciler is made with. */
export interface ReconcilerOptions {
  readonly client: ContainerdClient;
  readonly ready: () => Promise<void>;
  readonly table: ContainerTable;
  readonly records: Records;
  readonly creator: Creator;
  readonly runner: Runner;
  readonly specs: SpecBuilder;
  readonly streams: ContainerStreams;
  readonly layers: SizedLayers;
  readonly cgroups: CgroupFacts;
  readonly cgroupParent: string;
  /** Holds one folder per container, named by its id. */
  readonly folder: string;
  readonly secretsFolder: string | undefined;
  readonly programs: RuntimePrograms;
  /** Adds a loaded container. */
  readonly adopt: (entry: Entry) => void;
  /** Goes on with a removal that was cut off. */
  readonly finishRemoval: (entry: Entry) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const containerId = /^[0-9a-f]{64}$/;
/** Pause before a connection that broke is taken up again, milliseconds. */
const againMs = 100;
/**
 * A subscription is not confirmed: what happened while it came about is found by a second look, milliseconds later. As soon is
 * looked again for tasks that are missing.
 */
const secondLookMs = 1_000;

/** Keeps what is known in step with containerd. */
export class Reconciler {
  readonly #o: ReconcilerOptions;
  #loaded = false;
  /** Since when containers that should run are in no list of tasks, by id. */
  #missing = new Map<string, number>();
  #tellLoaded: () => void = () => undefined;
  /** Resolves when the containers of this node are known. */
  readonly loaded: Promise<void>;

  constructor(options: ReconcilerOptions) {
    this.#o = options;
    this.loaded = new Promise((resolve) => {
      this.#tellLoaded = resolve;
    });
  }

  /** Follows containerd until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#o.ready();
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#o.log.debug("lost containerd", { err: errorText(error) });
      }
      await this.#o.clock.sleep(againMs, signal).catch(() => {
        // The loop ends with the signal.
      });
    }
    removeEmptyCgroups(this.#o.cgroups, this.#o.cgroupParent, new Set());
  }

  /** One connection, to its end. @throws ClusterError what ended it. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#o;
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const events = client.list(
      EventsService.subscribe,
      { filters: [`namespace==${client.namespace},topic~=^/tasks/`] },
      { signal: both },
    );
    const reading = this.#read(events)
      .catch((error) => {
        // One that breaks off ends this connection, and another one is made.
        if (!both.aborted) this.#o.log.debug("events ended", { err: errorText(error) });
      })
      .finally(() => over.abort());
    try {
      if (!this.#loaded) await this.#load();
      const first = !this.#loaded;
      await this.#look({ first, connected: true });
      if (first) await this.#begin();
      await this.#o.records.flush();
      let pauseMs = secondLookMs;
      while (!both.aborted) {
        await clock.sleep(pauseMs, both).catch(() => {
          // Either the connection broke, or the daemon stops.
        });
        if (!both.aborted) await this.#look({ first: false, connected: false });
        pauseMs = this.#missing.size > 0 ? secondLookMs : containerLookMs;
      }
    } finally {
      over.abort();
      await reading;
    }
  }

  async #read(events: AsyncIterable<{ topic: string; event?: { value: Uint8Array } | undefined }>) {
    for await (const { topic, event } of events) {
      const body = event?.value ?? new Uint8Array();
      if (topic === "/tasks/exit") this.#exitEvent(TaskExitEvent.decode(body));
      else if (topic === "/tasks/oom") this.#oomEvent(TaskEvent.decode(body).containerId);
    }
  }

  #exitEvent(event: TaskExitEvent): void {
    const { containerId, id, pid, exitStatus: exitCode } = event;
    const entry = this.#o.table.get(containerId);
    if (entry === undefined) return;
    if (id !== containerId) {
      this.#o.streams.execExited(containerId, id, exitCode);
      return;
    }
    const exit = { pid, exitCode, atMs: milliseconds(event.exitedAt) || this.#o.clock.now() };
    this.#o.runner.exited(entry, exit).catch((error) => this.#failed(containerId, error));
  }

  #oomEvent(id: string): void {
    const entry = this.#o.table.get(id);
    if (entry !== undefined) entry.oom = true;
  }

  async #load(): Promise<void> {
    const { records, table, creator, specs, log } = this.#o;
    const { entries, unfinished, unreadable } = await records.load();
    for (const id of unreadable) {
      await this.#o.runner.dropTask(id);
      await creator.discard(id, []);
    }
    for (const entry of unfinished) await this.#giveUp(entry);
    for (const entry of entries) {
      if (table.get(entry.id) !== undefined) continue;
      // It cannot be started any more, and has never run.
      if (entry.state.phase === "created" && !specs.hasSecrets(entry.facts)) {
        await this.#giveUp(entry);
        continue;
      }
      this.#o.adopt(entry);
      for (const mount of entry.facts.planned) {
        if (mount.type !== "volume") continue;
        await specs.sourceOf(entry.id, mount).catch((error) => {
          log.warn("volume of a container not ready", {
            "container.id": entry.id,
            volume: mount.source,
            err: errorText(error),
          });
        });
      }
    }
  }

  /** Removes a container that is of no use, so that it is made anew. */
  async #giveUp({ id, facts }: Entry): Promise<void> {
    this.#o.log.info("container that was not made to its end removed", { "container.id": id });
    const volumes = facts.planned.filter(({ anonymous }) => anonymous);
    await this.#o.creator.discard(id, volumes);
  }

  /** After the first look: clears what was left over, starts what its policy wants to run. */
  async #begin(): Promise<void> {
    const { table, runner, finishRemoval, log } = this.#o;
    for (const entry of table.list()) {
      const isGoing = entry.state.phase === "removing" || entry.state.phase === "dead";
      const work = isGoing ? finishRemoval(entry) : entry.serial(() => runner.finishEnd(entry));
      await work.catch((error) => this.#failed(entry.id, error));
    }
    await this.#sweep().catch((error) => log.warn("not cleared", { err: errorText(error) }));
    this.#loaded = true;
    this.#tellLoaded();
    for (const entry of table.list()) {
      const { phase, exitCode, restartCount } = entry.state;
      const last = { stopped: entry.life.stopped, exitCode, restartCount };
      const mayStart = phase === "exited" || (phase === "restarting" && !entry.restarting);
      if (mayStart && startsWithDaemon(entry.facts.config.restartPolicy, last)) {
        runner.startByPolicy(entry);
      }
    }
  }

  /**
   * Compares tasks and containers, and does what the comparison says.
   *
   * @param o.connected Whether containerd has just begun to answer, which it does once it has cleared up after dead shims.
   */
  async #look(o: { first: boolean; connected: boolean }): Promise<void> {
    const { client, table, creator, clock, log } = this.#o;
    const before = new Map(table.list().map((entry) => [entry.id, entry.runs]));
    const busy = new Set(table.list().flatMap((entry) => (entry.isBusy ? [entry.id] : [])));
    const { tasks } = await client.call(TasksService.list, {});
    const now = clock.now();
    const steps = reconcile({
      known: table
        .list()
        .filter((entry) => before.has(entry.id))
        .map((entry) => ({
          id: entry.id,
          isRunning: entry.isRunning,
          pid: entry.state.pid,
          endedPid: entry.life.lastExit?.pid,
        })),
      tasks: tasks.map(foundTask),
      // One that came since has a task that we know of and they do not, or the other way round.
      isBusy: (id) => busy.has(id) || (table.get(id) !== undefined && !before.has(id)),
      first: o.first,
      missingMs: (id) => (o.connected ? Infinity : now - (this.#missing.get(id) ?? now)),
    });
    const missing = steps.filter(({ kind }) => kind === "missing");
    this.#missing = new Map(missing.map(({ id }) => [id, this.#missing.get(id) ?? now]));
    for (const step of steps) {
      await this.#take(step, before.get(step.id) ?? 0).catch((error) =>
        this.#failed(step.id, error),
      );
    }
    await creator.clear().catch((error) => {
      log.warn("remains of containers not removed yet", { err: errorText(error) });
    });
  }

  async #take(step: Step, run: number): Promise<void> {
    const { runner, table } = this.#o;
    const entry = table.get(step.id);
    if (step.kind === "drop") {
      if (entry === undefined) return runner.dropTask(step.id);
      return entry.serial(async () => {
        if (entry.runs !== run || entry.isRunning) return;
        await runner.dropTask(step.id);
        await runner.finishEnd(entry);
      });
    }
    if (entry === undefined) return;
    switch (step.kind) {
      case "adopt":
        return runner.adopt(entry, step, run);
      case "exited":
        return runner.exited(entry, step, run);
      case "exited-unseen":
        return runner.exitedUnseen(entry, step, run);
      case "lost":
        return runner.lost(entry, run);
      case "missing":
        // The next look sees whether it is lost.
        return;
    }
  }

  /** Removes file systems, folders and cgroups that belong to no container. */
  async #sweep(): Promise<void> {
    const { client, table, creator, layers, folder, secretsFolder, programs, log } = this.#o;
    const { cgroups, cgroupParent } = this.#o;
    const known = new Set(table.list().map((entry) => entry.id));
    const left = new Set<string>();
    for await (const { info } of client.list(SnapshotsService.list, {
      snapshotter: snapshotterName,
    })) {
      for (const { labels } of info) {
        const id = labels[containerLabel];
        if (id !== undefined && !known.has(id)) left.add(id);
      }
    }
    for (const id of [...namesIn(folder), ...namesIn(secretsFolder), ...layers.ids()]) {
      if (!known.has(id)) left.add(id);
    }
    for (const id of left) {
      log.info("remains of a container removed", { "container.id": id });
      await creator.discard(id, []).catch(ignoreAbsent);
      rmSync(join(folder, id), { recursive: true, force: true });
    }
    const running = new Set(table.list().flatMap((entry) => (entry.isRunning ? [entry.id] : [])));
    removeEmptyCgroups(cgroups, cgroupParent, running);
    // State of containers that went down with the node would keep their ids from being used again.
    for (const root of programs.folders.map((path) => join(path, client.namespace))) {
      for (const id of namesIn(root)) {
        if (!containerId.test(id) || running.has(id)) continue;
        rmSync(join(root, id), { recursive: true, force: true });
      }
    }
  }

  #failed(id: string, error: unknown): void {
    // The next look tries again.
    this.#o.log.warn("container not brought in step", {
      "container.id": id,
      err: errorText(error),
    });
  }
}

function foundTask(task: TaskProcess): FoundTask {
  return {
    // In lists containerd 1.6 leaves the container's id empty.
    id: task.containerId === "" ? task.id : task.containerId,
    pid: task.pid,
    status: task.status === "pausing" ? "paused" : task.status,
    exitCode: task.exitStatus,
    exitedAtMs: milliseconds(task.exitedAt),
  };
}

function milliseconds(time: Timestamp | undefined): number {
  return time === undefined ? 0 : time.seconds * 1000 + Math.floor(time.nanos / 1e6);
}

function namesIn(folder: string | undefined): string[] {
  try {
    return folder === undefined ? [] : readdirSync(folder);
  } catch {
    // Not made yet.
    return [];
  }
}

/** Removes the cgroups below `parent`, and those above it, that hold nobody: a crash of the node leaves them. */
function removeEmptyCgroups(
  cgroups: CgroupFacts,
  parent: string,
  running: ReadonlySet<string>,
): void {
  const above = parent.split("/").slice(0, -1).join("/");
  for (const mount of cgroups.trees) {
    for (const entry of namesIn(mount + parent)) {
      if (containerId.test(entry) && !running.has(entry)) removeCgroup(join(mount + parent, entry));
    }
    removeCgroup(mount + parent);
    if (above !== "") removeCgroup(mount + above);
  }
}

/** Removes a cgroup; the kernel keeps one that holds processes or other cgroups. */
function removeCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // In use, or not there.
  }
}
