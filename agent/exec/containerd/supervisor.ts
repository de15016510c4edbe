/**
 * Keeps our containerd running: adopts the one an earlier daemon left, starts one otherwise, starts it again when it dies.
 *
 * Containers live on in their shims whatever happens to containerd. Who deals with them is told of each new connection, to
 * look at what is there: events of the time in between are lost.
 */
import { renameSync, statSync, truncateSync } from "node:fs";
import { connect } from "node:net";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { type ContainerdClient, dialContainerd } from "../../../src/common/containerd/client.ts";
import {
  NamespacesService,
  TasksService,
  VersionService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import {
  containerdLogBytesMax,
  containerdPauseMs,
  containerdPauseMsMax,
  containerdSilentMs,
  containerdStartMs,
  containerdStartMsMax,
  containerdStopMs,
} from "../../../src/common/limits/runtime.ts";
import type { Log } from "../../../src/common/log/log.ts";
import {
  type ContainerdPlaces,
  type ContainerdProcess,
  type ContainerdProgram,
  containerdLog,
  findContainerd,
  spawnContainerd,
} from "./daemon-process.ts";

/** What a supervisor is made with. */
export interface SupervisorOptions {
  readonly places: ContainerdPlaces;
  readonly how: ContainerdProgram;
  readonly clock: Clock;
  readonly log: Log;
}

/** How containerd is doing; `version` is its own. */
export type ContainerdState =
  | { readonly kind: "starting" }
  | { readonly kind: "up"; readonly version: string; readonly pid: number }
  | { readonly kind: "down"; readonly reason: string };

/** How often an adopted process is looked at, milliseconds. */
const lookMs = 200;
/** How often one that runs is asked whether it answers, milliseconds. */
const askMs = 5_000;
/** How often the socket of one that starts is tried, and one that shall end is looked at, milliseconds. */
const knockMs = 5;
/** The same for one that takes longer: the pause doubles up to this. */
const knockMsMax = 100;

/** One containerd and its connection. */
export class Supervisor {
  /** Its calls fail as unavailable while containerd is down. */
  readonly client: ContainerdClient;
  readonly #o: SupervisorOptions;
  #state: ContainerdState = { kind: "starting" };
  #waiting = new Set<() => void>();
  #listeners = new Set<() => void>();

  constructor(options: SupervisorOptions) {
    this.#o = options;
    this.client = dialContainerd(options.places.socketPath);
  }

  state(): ContainerdState {
    return this.#state;
  }

  /** Calls `listener` whenever containerd is up anew. @returns Ends that. */
  onUp(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves when containerd is up, at once if it is.
   *
   * @throws ClusterError unavailable with the reason as soon as it is known that it is down.
   */
  async ready(): Promise<void> {
    while (this.#state.kind === "starting") {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    if (this.#state.kind === "down") throw new ClusterError("unavailable", this.#state.reason);
  }

  /** Keeps containerd running until the signal aborts, and stops it then; containers run on. */
  async run(signal: AbortSignal): Promise<void> {
    let pauseMs = 0;
    let patienceMs = containerdStartMs;
    try {
      while (!signal.aborted) {
        const beganMs = this.#o.clock.monotonic();
        const wasUp = await this.#once(signal, patienceMs);
        if (signal.aborted) return;
        patienceMs = wasUp ? containerdStartMs : Math.min(2 * patienceMs, containerdStartMsMax);
        const livedMs = this.#o.clock.monotonic() - beganMs;
        pauseMs =
          livedMs > containerdPauseMsMax
            ? 0
            : Math.min(Math.max(2 * pauseMs, containerdPauseMs), containerdPauseMsMax);
        await pause(this.#o.clock, pauseMs, signal);
      }
    } finally {
      this.#become({ kind: "down", reason: "the daemon is stopping" });
      this.client.close();
    }
  }

  /** One life of containerd, which has `patienceMs` for its first answer. @returns Whether it was up. */
  async #once(signal: AbortSignal, patienceMs: number): Promise<boolean> {
    const { clock, log, places } = this.#o;
    let child: ContainerdProcess | undefined;
    let wasUp = false;
    try {
      child = findContainerd(places) ?? (await this.#spawn());
      const version = await this.#answer(child, { patienceMs, signal });
      wasUp = true;
      this.#become({ kind: "up", version, pid: child.pid });
      log.info("containerd is up", { pid: child.pid, version, adopted: child.adopted });
      for (const listener of this.#listeners) listener();
      await this.#watch(child, signal);
      if (!signal.aborted) {
        log.warn("containerd ended", { pid: child.pid });
        this.#become({ kind: "starting" });
      }
    } catch (error) {
      if (!signal.aborted) {
        log.error("containerd is down", { err: errorText(error) });
        this.#become({ kind: "down", reason: errorText(error) });
      }
    } finally {
      if (child !== undefined) await stop(child, clock);
    }
    return wasUp;
  }

  #spawn(): Promise<ContainerdProcess> {
    shortenLog(containerdLog(this.#o.places), "aside");
    return spawnContainerd(this.#o.places, this.#o.how);
  }

  /** Waits for the first answers. @returns The version. @throws ClusterError unavailable when there are none. */
  async #answer(
    child: ContainerdProcess,
    o: { readonly patienceMs: number; readonly signal: AbortSignal },
  ): Promise<string> {
    const { clock, places } = this.#o;
    const { patienceMs, signal } = o;
    const deadline = clock.monotonic() + patienceMs;
    for (let waitMs = knockMs; ; waitMs = Math.min(2 * waitMs, knockMsMax)) {
      signal.throwIfAborted();
      if (!child.isRunning()) {
        throw new ClusterError(
          "unavailable",
          `containerd ended while it started: see ${containerdLog(places)}`,
        );
      }
      if (await answersAt(places.socketPath)) break;
      if (clock.monotonic() > deadline) {
        throw new ClusterError("unavailable", "containerd does not answer on its socket");
      }
      await clock.sleep(waitMs, signal);
    }
    // The connection of an earlier life may still be in its pause.
    const options = { timeoutMs: patienceMs, signal, waitForReady: true };
    const { version } = await this.client.call(VersionService.version, {}, options);
    await this.client
      .call(
        NamespacesService.create,
        { namespace: { name: this.client.namespace, labels: {} } },
        options,
      )
      .catch((error: unknown) => {
        if (!hasCode(error, "already-exists")) throw error;
      });
    // A containerd whose runtime plugin failed boots all the same.
    await this.client.call(TasksService.list, {}, options);
    return version;
  }

  /** Resolves when the process has ended, or has not answered for a long time, or the signal aborts. */
  async #watch(child: ContainerdProcess, signal: AbortSignal): Promise<void> {
    const { clock, log, places } = this.#o;
    const over = new AbortController();
    const ended = AbortSignal.any([signal, over.signal]);
    void child.ended?.then(() => over.abort());
    let heardMs = clock.monotonic();
    let askedMs = heardMs;
    while (!ended.aborted && child.isRunning()) {
      await pause(clock, child.ended === undefined ? lookMs : askMs, ended);
      if (ended.aborted || clock.monotonic() - askedMs < askMs) continue;
      askedMs = clock.monotonic();
      shortenLog(containerdLog(places), "empty");
      try {
        await this.client.call(VersionService.version, {}, { timeoutMs: askMs, signal: ended });
        heardMs = clock.monotonic();
      } catch (error) {
        if (clock.monotonic() - heardMs < containerdSilentMs) continue;
        log.error("containerd does not answer and is ended", { err: errorText(error) });
        child.signal("SIGKILL");
        return;
      }
    }
  }

  #become(state: ContainerdState): void {
    this.#state = state;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

/** Ends a process, gently first; fine when it has ended. */
async function stop(child: ContainerdProcess, clock: Clock): Promise<void> {
  for (const name of ["SIGTERM", "SIGKILL"] as const) {
    child.signal(name);
    const deadline = clock.monotonic() + containerdStopMs;
    while (child.isRunning() && clock.monotonic() < deadline) await clock.sleep(knockMs);
  }
}

function answersAt(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const end = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}

/** Puts a log that has grown aside; while containerd runs it is emptied, as that goes on writing to the same file. */
function shortenLog(path: string, how: "aside" | "empty"): void {
  try {
    if (statSync(path).size <= containerdLogBytesMax) return;
    if (how === "aside") renameSync(path, `${path}.1`);
    else truncateSync(path, 0);
  } catch {
    // Absent: nothing to shorten.
  }
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  await clock.sleep(ms, signal).catch(() => {
    // The reader of the signal decides what follows.
  });
}
