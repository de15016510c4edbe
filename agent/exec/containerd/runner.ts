/**
 * The life of containers: start, end, restart, pause, signals. Ends are told by containerd's events and by `reconciler.ts`;
 * both come through `exited`, which takes each end once.
 */
import { writeFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  type Mount,
  SnapshotsService,
  TasksService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import { containerdRetriesMax } from "../../../src/common/limits/runtime.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { wentDownWithNode } from "../errors.ts";
import { setBlockWeights } from "./block-weights.ts";
import { oomKills } from "./cgroups.ts";
import type { Entry } from "./entry.ts";
import type { Gate } from "./gate.ts";
import type { Making } from "./making.ts";
import type { NodeFacts } from "./node-facts.ts";
import { startOf } from "./process-start.ts";
import { programBegan } from "./program-began.ts";
import type { TaskExit } from "./record.ts";
import { ignoreAbsent, type Records, saysGone, saysShimEnded, snapshotKey } from "./records.ts";
import { restartPause } from "./restart-policy.ts";
import type { RuntimePrograms } from "./runtime-programs.ts";
import type { ContainerNetworks, ContainerStreams, JoinedNetworks } from "./seams.ts";
import { signalInside } from "./signal-inside.ts";
import { signalNumber } from "./signals.ts";
import type { SizedLayers } from "./sized-layers.ts";
import { networkOf, type SpecBuilder } from "./spec-builder.ts";
import { startFailure } from "./start-failure.ts";
import { Turns } from "./turns.ts";

/** What a runner is made with. */
export interface RunnerOptions {
  readonly client: ContainerdClient;
  /** Resolves when containerd is up. @throws ClusterError unavailable with the reason. */
  readonly ready: () => Promise<void>;
  readonly streams: ContainerStreams;
  readonly networks: ContainerNetworks;
  readonly records: Records;
  readonly specs: SpecBuilder;
  readonly layers: SizedLayers;
  readonly programs: RuntimePrograms;
  readonly node: NodeFacts;
  /** Bounds how many start at once. */
  readonly gate: Gate;
  /** Bounds how many get their networks at once, ahead of that. */
  readonly joining: Gate;
  /** Told of starts that are asked for. */
  readonly making: Making;
  readonly emit: (
    entry: Entry,
    action: string,
    attributes?: Readonly<Record<string, string>>,
  ) => void;
  /** Removes a container that is to go with its end. */
  readonly removeEnded: (entry: Entry) => Promise<void>;
  /** Aborts when the daemon stops: nothing is started again then. */
  readonly stopping: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
}

/** Runs the containers of a node. */
export class Runner {
  readonly #o: RunnerOptions;
  readonly #turns = new Turns();

  constructor(options: RunnerOptions) {
    this.#o = options;
  }

  /** Starts it unless it runs. @throws ClusterError; the container's state says the same then. */
  async start(entry: Entry, signal: AbortSignal): Promise<void> {
    entry.restarting?.abort();
    await this.#o.making.start(() => this.#startInTurn(entry, signal));
  }

  async #startInTurn(entry: Entry, signal: AbortSignal): Promise<void> {
    await entry.serial(async () => {
      if (entry.removing) {
        throw new ClusterError(
          "failed-precondition",
          "container is marked for removal and cannot be started",
        );
      }
      if (entry.state.phase === "paused") {
        throw new ClusterError(
          "failed-precondition",
          "cannot start a paused container, try unpause instead",
        );
      }
      if (entry.isRunning) return;
      entry.setLife({ stopped: false });
      entry.lastPauseMs = 0;
      await this.#launch(entry, signal, 0);
    });
  }

  async #launch(entry: Entry, signal: AbortSignal, restartCount: number): Promise<void> {
    const { gate, joining, log } = this.#o;
    entry.runs++;
    entry.oom = false;
    try {
      const joined = await joining.run(signal, () => this.#join(entry, signal));
      await gate.run(signal, () => this.#launchNow(entry, restartCount, joined));
    } catch (thrown) {
      await this.#o.streams.stopped(entry.id);
      await this.#leave(entry);
      await this.#o.layers.rest(entry.id);
      if (signal.aborted) throw thrown;
      const { exitCode, error } = startFailure(thrown);
      const finishedAtMs = this.#o.clock.now();
      entry.setState({
        phase: entry.state.phase === "created" ? "created" : "exited",
        pid: 0,
        exitCode,
        error: error.message,
        finishedAtMs,
      });
      this.#o.records.saveLife(entry);
      log.warn("container did not start", { "container.id": entry.id, err: error.message });
      this.#removeIfWanted(entry);
      throw error;
    }
  }

  async #launchNow(
    entry: Entry,
    restartCount: number,
    joined: JoinedNetworks | undefined,
  ): Promise<void> {
    const { streams, records, specs, emit } = this.#o;
    const rootfs = await this.rootfs(entry);
    const user = specs.userIn(rootfs, entry.facts.user, entry.facts.config.groups);
    const specJson = await specs.build(entry.facts, user, joined ?? "strict");
    if (specJson !== entry.specJson) await records.saveSpec(entry, specJson);
    const stdio = await streams.prepare(entry.container);
    const pid = await this.#startTask(entry, { rootfs, ...stdio });
    await specs.learn(entry.facts);
    entry.setState({
      phase: "running",
      pid,
      exitCode: 0,
      oomKilled: false,
      error: "",
      startedAtMs: this.#o.clock.now(),
      finishedAtMs: 0,
      restartCount,
    });
    entry.setLife({ lastExit: undefined });
    if (entry.facts.config.restartPolicy.name === "no") records.saveLifeLater(entry);
    else await records.saveLifeNow(entry);
    emit(entry, "start");
    streams.started(entry.container);
  }

  /** Its place in networks; undefined where it has those of others, or none. */
  async #join(entry: Entry, signal: AbortSignal): Promise<JoinedNetworks | undefined> {
    if (networkOf(entry.facts.config) !== "own") return undefined;
    return this.#o.networks.join(entry.container, signal);
  }

  /** Gives its places up; what could not be removed is by the next look. */
  async #leave(entry: Entry): Promise<void> {
    await this.#o.networks.leave(entry.id).catch((error: unknown) => {
      this.#o.log.warn("places in networks not given up", {
        "container.id": entry.id,
        err: errorText(error),
      });
    });
  }

  /** Its root file system; the mounts are made by the shim. */
  async rootfs(entry: Entry): Promise<readonly Mount[]> {
    if (entry.rootfs === undefined) {
      const { mounts } = await this.#o.client.call(SnapshotsService.mounts, {
        snapshotter: snapshotterName,
        key: snapshotKey(entry.id),
      });
      entry.rootfs = mounts;
    }
    const { id, facts } = entry;
    // What is mounted for it may not be any more since it ran.
    const sized = { id, storageBytes: facts.config.storageBytes };
    return this.#o.layers.boundedIn(sized, entry.rootfs);
  }

  /** Creates and starts the task, over a death of containerd in between too. @returns The pid. */
  async #startTask(
    entry: Entry,
    how: {
      rootfs: readonly Mount[];
      stdin: string;
      stdout: string;
      stderr: string;
      terminal: boolean;
    },
  ): Promise<number> {
    const { client, ready, programs, specs } = this.#o;
    for (let attempt = 0; ; attempt++) {
      try {
        const options = programs.optionsOf(
          entry.facts.runtime,
          specs.memoryForVariables(entry.facts),
        );
        const request = { containerId: entry.id, ...how, options };
        // Two that found no shim of their group at the same moment would make one each.
        const { pid } = await this.#turns.run(entry.facts.shimGroup ?? entry.id, () =>
          client.call(TasksService.create, request),
        );
        keepMemoryToItself(entry, pid);
        setBlockWeights(this.#o.node.cgroups, specs.cgroupOf(entry.facts), entry.facts.config);
        await client.call(TasksService.start, { containerId: entry.id });
        return pid;
      } catch (error) {
        const isLost = hasCode(error, "unavailable");
        const mayRetry = isLost || hasCode(error, "already-exists") || saysShimEnded(error);
        if (!mayRetry || attempt >= containerdRetriesMax) {
          if (!isLost) await this.dropTask(entry.id);
          throw error;
        }
        if (isLost) await ready();
        // It may run by now, without that we were told.
        const pid = await this.#runningPid(entry.id);
        if (pid !== undefined) return pid;
        await this.dropTask(entry.id);
      }
    }
  }

  async #runningPid(id: string): Promise<number | undefined> {
    const found = await this.#o.client
      .call(TasksService.get, { containerId: id })
      .catch(ignoreAbsent);
    return found?.process?.status === "running" ? found.process.pid : undefined;
  }

  /** Ends and deletes a task, whatever it does; fine when there is none. */
  async dropTask(id: string): Promise<void> {
    const { client, log } = this.#o;
    for (let attempt = 0; ; attempt++) {
      try {
        await client.call(TasksService.delete, { containerId: id });
        return;
      } catch (error) {
        if (hasCode(error, "not-found")) return;
        if (attempt >= containerdRetriesMax) {
          // The next look finds it, and tries again.
          log.warn("task not removed", { "container.id": id, err: errorText(error) });
          return;
        }
      }
      // It runs still, or its shim is just ending.
      await client
        .call(TasksService.kill, { containerId: id, signal: 9, all: true })
        .catch(ignoreGone);
      await client.call(TasksService.wait, { containerId: id }).catch(ignoreGone);
    }
  }

  /** Does what an earlier life of the daemon, which had told the end of a task, did not come to. */
  async finishEnd(entry: Entry): Promise<void> {
    if (!isOfTask(entry) || entry.state.phase !== "exited") return;
    this.forgetSecrets(entry);
    await this.#o.streams.stopped(entry.id);
  }

  /**
   * Takes in that the task with this pid has ended; each end is taken once.
   *
   * @param run The start it belongs to, when that is known: a later one is left alone.
   */
  async exited(entry: Entry, exit: TaskExit, run?: number): Promise<void> {
    await entry.serial(async () => {
      if (run !== undefined && run !== entry.runs) return;
      if (!entry.isRunning || entry.state.pid !== exit.pid) return;
      await this.#takeIn(entry, exit);
    });
  }

  /** Takes in a run that began and ended without that we were told. */
  async exitedUnseen(entry: Entry, exit: TaskExit, run: number): Promise<void> {
    await entry.serial(async () => {
      if (run !== entry.runs || entry.isRunning) return;
      entry.setState({ phase: "running", pid: exit.pid, startedAtMs: exit.atMs });
      await this.#takeIn(entry, exit);
    });
  }

  async #takeIn(entry: Entry, exit: TaskExit): Promise<void> {
    // Before all that a busy disk, containerd or the network can hold up.
    if (isOfTask(entry)) this.#o.specs.removeReadSecrets(entry.id);
    entry.setLife({ lastExit: exit });
    let told: Promise<void> | undefined;
    if (wasToldToStop(entry)) {
      // Its successor waits for its end, not for what is left of it.
      this.#noteOom(entry);
      told = this.#leave(entry).then(() => this.#enterEnd(entry, exit));
      // Most often they are given up at once, and one write says all.
      await Promise.race([told, setImmediate()]);
    }
    if (!entry.removing) {
      if (entry.isRunning) this.#o.records.saveLife(entry);
      await this.#o.records.flush();
    }
    if (told === undefined) this.#noteOom(entry);
    const deleted = this.#deleteTask(entry);
    // Where its end is told, a later look comes back to its task, but not to its secrets and its log.
    await (told === undefined ? deleted : deleted.catch(() => undefined));
    this.forgetSecrets(entry);
    if (told === undefined) await this.#ended(entry, exit);
    else {
      await this.#o.streams.stopped(entry.id);
      await told;
    }
    if (entry.state.phase !== "restarting") await this.#o.layers.rest(entry.id);
  }

  /** The event may come late; the cgroup goes with the task. */
  #noteOom(entry: Entry): void {
    if (oomKills(this.#o.node.cgroups, this.#o.specs.cgroupOf(entry.facts)) > 0) entry.oom = true;
  }

  async #deleteTask(entry: Entry): Promise<void> {
    const { client } = this.#o;
    if (entry.facts.config.pidMode !== "") {
      // In a PID namespace of others its children live on without it.
      await client
        .call(TasksService.kill, { containerId: entry.id, signal: 9, all: true })
        .catch((error) => {
          if (!hasCode(error, "not-found") && !hasCode(error, "unknown")) throw error;
        });
    }
    await client.call(TasksService.delete, { containerId: entry.id }).catch(ignoreGone);
  }

  async #ended(entry: Entry, exit: TaskExit): Promise<void> {
    await this.#o.streams.stopped(entry.id);
    await this.#leave(entry);
    this.#enterEnd(entry, exit);
    if (entry.state.phase !== "restarting") this.forgetSecrets(entry);
  }

  /** Says that it has ended, and what comes of that. */
  #enterEnd(entry: Entry, exit: TaskExit): void {
    const { records, emit, clock } = this.#o;
    const { state, facts, life } = entry;
    const pauseMs = this.#o.stopping.aborted
      ? undefined
      : restartPause({
          policy: facts.config.restartPolicy,
          exitCode: exit.exitCode,
          stopped: life.stopped || entry.removing,
          restartCount: state.restartCount,
          ranMs: clock.now() - state.startedAtMs,
          lastPauseMs: entry.lastPauseMs,
        });
    entry.setState({
      phase: entry.removing ? "removing" : pauseMs === undefined ? "exited" : "restarting",
      pid: 0,
      exitCode: exit.exitCode,
      oomKilled: entry.oom,
      finishedAtMs: exit.atMs,
    });
    if (!entry.removing) records.saveLife(entry);
    emit(entry, "die", { exitCode: String(exit.exitCode) });
    entry.tellExit();
    if (pauseMs !== undefined) {
      this.#restartLater(entry, pauseMs);
      return;
    }
    this.#removeIfWanted(entry);
  }

  /** A task's container is never started again: what it read goes from memory with its end, though it is kept itself. */
  forgetSecrets(entry: Entry): void {
    if (isOfTask(entry)) this.#o.specs.removeSecrets(entry.id);
  }

  /** Removes a container that is to go with its end, once the change that is under way is done. */
  #removeIfWanted(entry: Entry): void {
    if (!entry.facts.config.autoRemove || entry.removing) return;
    void this.#o.removeEnded(entry).catch((error) => {
      this.#o.log.warn("container not removed with its end", {
        "container.id": entry.id,
        err: errorText(error),
      });
    });
  }

  /** Starts a container again after a pause, until it is stopped, started or removed by somebody. */
  #restartLater(entry: Entry, pauseMs: number): void {
    const { clock, stopping, log } = this.#o;
    entry.lastPauseMs = pauseMs;
    entry.restarting?.abort();
    const over = new AbortController();
    entry.restarting = over;
    const signal = AbortSignal.any([over.signal, stopping]);
    const again = async () => {
      await clock.sleep(pauseMs, signal);
      await entry.serial(async () => {
        if (signal.aborted || entry.removing || entry.isRunning) return;
        await this.#launch(entry, stopping, entry.state.restartCount + 1);
      });
    };
    again().catch((error) => {
      if (signal.aborted) return;
      log.warn("container not started again", { "container.id": entry.id, err: errorText(error) });
      // A start that fails counts as an end.
      this.#restartFailed(entry);
    });
  }

  #restartFailed(entry: Entry): void {
    const { state, facts, life } = entry;
    const pauseMs = restartPause({
      policy: facts.config.restartPolicy,
      exitCode: state.exitCode,
      stopped: life.stopped || entry.removing,
      restartCount: state.restartCount + 1,
      ranMs: 0,
      lastPauseMs: entry.lastPauseMs,
    });
    entry.setState({
      phase: pauseMs === undefined ? "exited" : "restarting",
      restartCount: state.restartCount + 1,
    });
    this.#o.records.saveLife(entry);
    if (pauseMs !== undefined) this.#restartLater(entry, pauseMs);
  }

  /** Starts a container that its policy wants to run, in the background. */
  startByPolicy(entry: Entry): void {
    this.#restartLater(entry, 0);
  }

  /** No restart any more; one that waited for it has ended. */
  giveUpRestart(entry: Entry): void {
    if (entry.restarting === undefined) return;
    entry.restarting.abort();
    entry.restarting = undefined;
    if (entry.state.phase !== "restarting") return;
    entry.setState({ phase: "exited" });
    this.#o.records.saveLife(entry);
  }

  /** Sends a signal. @throws ClusterError failed-precondition when it does not run. */
  async kill(entry: Entry, signalName: string): Promise<void> {
    const { client, emit, records } = this.#o;
    const number = signalNumber(signalName);
    const ends = number === 9 || number === signalNumber(entry.facts.stopSignal);
    if (entry.state.phase === "restarting" && ends) {
      entry.setLife({ stopped: true });
      this.giveUpRestart(entry);
      return;
    }
    if (!entry.isRunning) {
      throw new ClusterError(
        "failed-precondition",
        `cannot kill container: ${entry.id}: container ${entry.id} is not running`,
      );
    }
    if (ends && !entry.life.stopped) {
      entry.setLife({ stopped: true });
      records.saveLife(entry);
    }
    const wasPaused = entry.state.phase === "paused";
    if (number !== 9) await programBegan(entry.state.pid, this.#o);
    if (!signalInside(entry.state.pid, entry.id, number)) {
      await this.#o.ready();
      await client
        .call(TasksService.kill, { containerId: entry.id, signal: number })
        .catch((error) => {
          // It ended on its own meanwhile.
          if (!saysGone(error)) throw error;
        });
    }
    emit(entry, "kill", { signal: String(number) });
    // A frozen process takes no signal; runc lets it go by itself when it is killed.
    if (wasPaused && ends) {
      await this.#resume(entry).catch((error) => {
        if (!hasCode(error, "unknown")) throw error;
      });
    }
  }

  async #resume(entry: Entry): Promise<void> {
    await this.#o.client.call(TasksService.resume, { containerId: entry.id }).catch((error) => {
      if (!hasCode(error, "not-found")) throw error;
    });
    if (entry.state.phase === "paused") entry.setState({ phase: "running" });
  }

  async pause(entry: Entry): Promise<void> {
    await entry.serial(async () => {
      requireRunning(entry);
      if (entry.state.phase === "paused") {
        throw new ClusterError("failed-precondition", `Container ${entry.id} is already paused`);
      }
      await this.#o.client.call(TasksService.pause, { containerId: entry.id });
      entry.setState({ phase: "paused" });
      this.#o.records.saveLife(entry);
      this.#o.emit(entry, "pause");
    });
  }

  async unpause(entry: Entry): Promise<void> {
    await entry.serial(async () => {
      requireRunning(entry);
      if (entry.state.phase !== "paused") {
        throw new ClusterError("failed-precondition", `Container ${entry.id} is not paused`);
      }
      await this.#resume(entry);
      this.#o.records.saveLife(entry);
      this.#o.emit(entry, "unpause");
    });
  }

  /** Takes over a task that runs already. */
  async adopt(entry: Entry, task: { pid: number; paused: boolean }, run: number): Promise<void> {
    await entry.serial(async () => {
      // Its end may have been told since the list was made.
      if (run !== entry.runs || entry.life.lastExit?.pid === task.pid) return;
      const phase = task.paused ? "paused" : "running";
      const { state } = entry;
      const isSame = state.pid === task.pid;
      entry.setState({
        phase,
        pid: task.pid,
        startedAtMs: isSame ? state.startedAtMs : startOf(task.pid, this.#o.clock.now()),
      });
      if (!isSame) this.#o.records.saveLife(entry);
      await this.#o.streams.adopted(entry.container);
      await this.#o.networks.adopted(entry.container);
    });
  }

  /** Takes in that a container which should run has no task any more: its node went down under it. */
  async lost(entry: Entry, run: number): Promise<void> {
    await entry.serial(async () => {
      if (run !== entry.runs || !entry.isRunning) return;
      const { lastExit, state } = entry.life;
      if (lastExit?.pid === state.pid) return this.#ended(entry, lastExit);
      const { exitCode, error } = wentDownWithNode;
      entry.setState({ error });
      await this.#ended(entry, { pid: state.pid, exitCode, atMs: this.#o.clock.now() });
    });
  }
}

function isOfTask({ facts }: Entry): boolean {
  return facts.config.task !== undefined;
}

/**
 * Whether it is of a task that was told to stop. Who asks for that does not wait for its log, as those do who wait for an end
 * by itself; in a PID namespace of others its children live on until its task is deleted.
 */
function wasToldToStop(entry: Entry): boolean {
  return isOfTask(entry) && entry.life.stopped && entry.facts.config.pidMode === "";
}

function ignoreGone(error: unknown): undefined {
  if (saysGone(error)) return undefined;
  throw error;
}

/**
 * A container without core dumps has none through a program that takes them in either: the kernel hands it the whole dump,
 * whatever the limit is, so the dump is made empty. Kept over the start of the container's program, and by its children.
 */
function keepMemoryToItself({ facts }: Entry, pid: number): void {
  const limit = facts.config.ulimits.find(({ name }) => /^(?:rlimit_)?core$/i.test(name));
  if (limit?.hard !== 0) return;
  try {
    writeFileSync(`/proc/${pid}/coredump_filter`, "0");
  } catch {
    // This kernel makes no core dumps, or the process has just ended.
  }
}

/** @throws ClusterError failed-precondition in Docker's words. */
export function requireRunning(entry: Entry): void {
  if (entry.isRunning) return;
  throw new ClusterError("failed-precondition", `Container ${entry.id} is not running`);
}
