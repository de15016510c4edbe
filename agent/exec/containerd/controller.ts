/**
 * Drives the container of one task through `Containers` and `Images`.
 *
 * Keeps nothing of its own: what there is of a task is asked for each time, so that a next life of the daemon goes on
 * with the same steps, and adopts what it finds.
 */
import { ContainerStatus, PortConfig, type Task } from "../../../src/common/api/generated/api.ts";
import { aborting } from "../../../src/common/clock/aborting.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import type { Runtime } from "../../../src/common/container/runtime.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { isPlatformRefusal } from "../../../src/common/platform/refusal.ts";
import { registryAuthOf } from "../../../src/common/registry/registry-auth.ts";
import {
  type ContainerHook,
  containerLabelsOf,
} from "../../../src/common/spec/container-labels.ts";
import { listenTerms, type untilListened } from "../../network/listeners.ts";
import type { Controller, TaskExit } from "../controller.ts";
import { wentDownWithNode } from "../errors.ts";
import { containerConfigFromTask, type TaskPlace } from "./container-config.ts";
import type { ContainerWatch } from "./container-watch.ts";
import { runHooks } from "./hooks.ts";
import type { SilentRegistries } from "./silent-registries.ts";

/** What all controllers of a node share. */
export interface ControllerTools {
  readonly runtime: Runtime;
  /** Resolves when the containers of earlier lives of the daemon are known: before, none says nothing. */
  readonly loaded: Promise<void>;
  /** Before a task that is well is told to stop. @throws the signal's reason. */
  readonly drain: (container: Container, signal: AbortSignal) => Promise<void>;
  /** Resolves when somebody listens at ports of a process's network, with those that stay silent. */
  readonly listened: typeof untilListened;
  readonly watch: ContainerWatch;
  /** The container of a task; undefined when there is none, or nothing can be known. */
  readonly find: (taskId: string) => Container | undefined;
  /** Whether the image of a task may be one that only an emulator runs here. */
  readonly mayEmulate: (task: Task) => boolean;
  /** An image that is here is not asked for, as with Docker's DOCKER_SERVICE_PREFER_OFFLINE_IMAGE. */
  readonly preferLocal: boolean;
  readonly silent: SilentRegistries;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a runtime that is away is waited for, milliseconds: containerd is started again within that. */
const awayMsMax = 15_000;
/** Docker's time between stop signal and kill, seconds. */
const stopSecondsDefault = 10;
/** Pause before it is asked again. */
const awayRetryMs = 250;

/** One task's container. */
export class ContainerController implements Controller {
  readonly #task: Task;
  readonly #place: () => TaskPlace;
  readonly #tools: ControllerTools;

  constructor(task: Task, place: () => TaskPlace, tools: ControllerTools) {
    this.#task = task;
    this.#place = place;
    this.#tools = tools;
  }

  isSettled(): boolean {
    const container = this.#find();
    return container !== undefined && !isLost(container);
  }

  status(): ContainerStatus | undefined {
    const container = this.#find();
    if (container === undefined) return undefined;
    const { pid, exitCode } = container.state;
    return ContainerStatus.create({ containerId: container.id, pid, exitCode });
  }

  ports(): readonly PortConfig[] {
    const container = this.#find();
    if (container === undefined) return [];
    const bound = this.#tools.runtime.networks.placesOf(container.id)?.ports ?? [];
    return bound.map(({ protocol, containerPort, hostPort }) =>
      PortConfig.create({
        protocol,
        targetPort: containerPort,
        publishedPort: hostPort,
        publishMode: "host",
      }),
    );
  }

  async prepare(signal: AbortSignal): Promise<void> {
    await aborting(this.#tools.loaded, signal);
    if (this.#find() !== undefined) return;
    await this.#pull(signal);
    const { containers } = this.#tools.runtime;
    const config = containerConfigFromTask(this.#task, this.#place());
    await this.#whileAway(signal, async () => {
      if (this.#find() === undefined) await containers.create(config, signal);
    });
  }

  async start(signal: AbortSignal): Promise<TaskExit | undefined> {
    // An earlier life of the daemon may have come as far as this, and its container been removed since.
    await this.prepare(signal);
    const { containers } = this.#tools.runtime;
    const container = this.#find();
    if (container === undefined) return gone;
    const { id } = container;
    if (container.state.phase === "created") {
      await this.#whileAway(signal, () => containers.start(id, signal));
      const failure = await this.#afterStart(container, signal);
      if (failure !== undefined) return failure;
    }
    const { watch } = this.#tools;
    const healthy = await watch.until(id, () => this.#outcome(), signal);
    if (healthy === "up") await this.#listens(signal);
    const outcome = await watch.until(id, () => this.#outcome(), signal);
    if (outcome === "unhealthy") return this.#endUnhealthy(signal);
    return outcome === "up" ? undefined : outcome;
  }

  /** Its hooks; the task fails with one of them. */
  async #afterStart(container: Container, signal: AbortSignal): Promise<TaskExit | undefined> {
    const { postStart } = this.#labels();
    if (postStart.length === 0) return undefined;
    const failure = await this.#whileUp(container.id, signal, (over) =>
      this.#hooks(postStart, over),
    );
    if (failure === undefined) return undefined;
    // One that ends while its hook runs has ended by itself: that is what is told.
    const now = this.#find();
    if (now === undefined) return gone;
    if (!isUp(now)) return exitOf(now, "");
    await this.#whileAway(signal, () => this.#stop(container.id));
    const ended = this.#find();
    return ended === undefined ? gone : exitOf(ended, `post_start hook ${failure}`);
  }

  /** Its hooks, for as long as its program would have to stop at most. Whatever becomes of them, it stops then. */
  async #beforeStop(container: Container, signal: AbortSignal): Promise<void> {
    const { preStop } = this.#labels();
    if (preStop.length === 0) return;
    const { clock, log } = this.#tools;
    const fields = { "task.id": this.#task.id };
    const failure = await this.#whileUp(container.id, signal, async (over) => {
      const late = new AbortController();
      const both = AbortSignal.any([over, late.signal]);
      const seconds = container.config.stopTimeoutS ?? stopSecondsDefault;
      const time = clock.sleep(seconds * 1000, both).then(
        () => late.abort(),
        () => {
          // The hooks were done, or it is over.
        },
      );
      try {
        return await this.#hooks(preStop, both);
      } catch {
        over.throwIfAborted();
        return `took longer than the ${seconds} s it has to stop`;
      } finally {
        late.abort();
        await time;
      }
    });
    if (failure !== undefined) log.warn("pre_stop hook failed", { ...fields, err: failure });
  }

  async #hooks(hooks: readonly ContainerHook[], signal: AbortSignal): Promise<string | undefined> {
    const container = this.#find();
    if (container === undefined) return undefined;
    return runHooks(this.#tools.runtime.containers, container, hooks, signal);
  }

  #labels() {
    return containerLabelsOf(this.#task.spec?.container?.labels ?? {});
  }

  /** Without a health check, until the program listens at the ports that are published, for a while. */
  async #listens(signal: AbortSignal): Promise<void> {
    const { clock, log, listened } = this.#tools;
    const container = this.#find();
    const terms = listenTerms(this.#task);
    if (container === undefined || terms === undefined) return;
    if (container.state.health.status !== "none") return;
    const { pid } = container.state;
    const silent = await this.#whileUp(container.id, signal, (over) =>
      listened(pid, terms, { clock, signal: over }),
    );
    for (const { protocol, port } of silent ?? []) {
      const fields = { "task.id": this.#task.id, port: `${port}/${protocol}` };
      log.warn("nobody listens at a published port of the task", fields);
    }
  }

  async wait(signal: AbortSignal): Promise<TaskExit> {
    await aborting(this.#tools.loaded, signal);
    const container = this.#find();
    if (container === undefined) return gone;
    const outcome = await this.#tools.watch.until(container.id, () => this.#end(), signal);
    return outcome === "unhealthy" ? this.#endUnhealthy(signal) : outcome;
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    await aborting(this.#tools.loaded, signal);
    const container = this.#find();
    if (container === undefined) return;
    if (container.state.phase === "created")
      return this.#whileAway(signal, () => this.#stop(container.id));
    if (!isUp(container)) return;
    await this.#drain(container, signal);
    await this.#beforeStop(container, signal);
    await this.#whileAway(signal, () => this.#stop(container.id));
  }

  /** Until it may be stopped, or has ended by itself. */
  async #drain(container: Container, signal: AbortSignal): Promise<void> {
    const { drain, log } = this.#tools;
    try {
      await this.#whileUp(container.id, signal, (over) => drain(container, over));
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // Nothing can be known of its connections.
      const fields = { "task.id": this.#task.id, err: errorText(error) };
      log.warn("connections not waited for", fields);
    }
  }

  /** Does work that is given up when the container ends; undefined then. @throws the signal's reason, and what the work throws. */
  async #whileUp<T>(
    id: string,
    signal: AbortSignal,
    work: (over: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> {
    const over = new AbortController();
    const end = () => over.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    const hasEnded = () => (this.#find()?.state.phase === "running" ? undefined : true);
    const ended = this.#tools.watch.until(id, hasEnded, over.signal).then(end, end);
    try {
      return await work(over.signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!over.signal.aborted) throw error;
      return undefined;
    } finally {
      signal.removeEventListener("abort", end);
      over.abort();
      await ended;
    }
  }

  async remove(): Promise<void> {
    await this.#tools.loaded;
    const container = this.#find();
    if (container === undefined) return;
    try {
      await this.#tools.runtime.containers.remove(container.id, { force: true, volumes: true });
    } catch (error) {
      if (!hasCode(error, "not-found")) throw error;
    }
  }

  #find(): Container | undefined {
    return this.#tools.find(this.#task.id);
  }

  /** How the container does; undefined while its health check has not passed yet. */
  #outcome(): "up" | "unhealthy" | TaskExit | undefined {
    const container = this.#find();
    if (container === undefined) return gone;
    if (!isUp(container)) return exitOf(container, "");
    switch (container.state.health.status) {
      case "starting":
        return undefined;
      case "unhealthy":
        return "unhealthy";
      default:
        return "up";
    }
  }

  #end(): "unhealthy" | TaskExit | undefined {
    const outcome = this.#outcome();
    return outcome === "up" ? undefined : outcome;
  }

  /** Docker stops what is unhealthy, and the task fails, in these words. */
  async #endUnhealthy(signal: AbortSignal): Promise<TaskExit> {
    const unhealthy = this.#find();
    if (unhealthy !== undefined && isUp(unhealthy))
      await this.#whileAway(signal, () => this.#stop(unhealthy.id));
    const container = this.#find();
    return container === undefined ? gone : exitOf(container, "dockerexec: unhealthy container");
  }

  async #stop(id: string): Promise<void> {
    try {
      await this.#tools.runtime.containers.stop(id, { signal: "", timeoutS: undefined });
    } catch (error) {
      if (!hasCode(error, "not-found")) throw error;
    }
  }

  /** A pull that fails is no harm while the image is here (docker-facts 1.5). */
  async #pull(signal: AbortSignal): Promise<void> {
    // A registry that does not answer is the task's failure; a runtime that is away is waited for.
    const refusal = await this.#whileAway(signal, () => this.#tryPull(signal));
    if (refusal !== undefined) throw refusal.error;
  }

  /** @returns Why the image is not here. @throws ClusterError unavailable while the runtime cannot say. */
  async #tryPull(signal: AbortSignal): Promise<{ readonly error: unknown } | undefined> {
    const { runtime, log, silent, preferLocal } = this.#tools;
    const spec = this.#task.spec?.container;
    const reference = spec?.image ?? "";
    const { pull } = this.#labels();
    const isEnough = preferLocal || pull !== "always" || silent.has(reference);
    if (isEnough && (await this.#isHere(reference))) return undefined;
    if (pull === "never") return { error: notHere(reference) };
    try {
      await runtime.images.pull({
        reference,
        platform: undefined,
        emulated: this.#tools.mayEmulate(this.#task),
        auth: registryAuthOf(spec?.pull?.registryAuth ?? ""),
        onProgress: () => {},
        signal,
      });
      silent.note(reference, undefined);
      return undefined;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      silent.note(reference, error);
      // One that is here under the name is another one: the registry has none that runs here.
      if (isPlatformRefusal(errorText(error))) return { error };
      // Not here either: why it could not be pulled is what helps.
      if (!(await this.#isHere(reference))) return { error };
      log.info("image not pulled, the one that is here is used", {
        "task.id": this.#task.id,
        image: reference,
        err: errorText(error),
      });
      return undefined;
    }
  }

  /** @throws ClusterError unavailable while the runtime cannot say. */
  async #isHere(reference: string): Promise<boolean> {
    try {
      await this.#tools.runtime.images.find(reference);
      return true;
    } catch (error) {
      if (hasCode(error, "unavailable")) throw error;
      return false;
    }
  }

  /** Does what needs the runtime again while that is away for a moment. @throws what it throws otherwise. */
  async #whileAway<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { clock } = this.#tools;
    const end = clock.monotonic() + awayMsMax;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (!hasCode(error, "unavailable") || clock.monotonic() >= end) throw error;
      }
      await clock.sleep(awayRetryMs, signal);
    }
  }
}

function notHere(reference: string): ClusterError {
  const text = `No such image: ${reference}: it is not on this node, and the label skep.pull=never keeps it from being pulled`;
  return new ClusterError("not-found", text);
}

const gone: TaskExit = {
  exitCode: 0,
  error: "the container is gone: it was removed, or lost with its node's data",
  finishedAtMs: 0,
  lost: true,
};

function isUp({ state }: Container): boolean {
  return state.phase === "running" || state.phase === "paused" || state.phase === "restarting";
}

/**
 * Whether it ended unseen, such as with its host. One that counts as not started, though its task ran, was started in the
 * last moment before that: its start is written down a little later.
 */
function isLost({ state }: Container): boolean {
  if (state.phase === "created") return true;
  return state.phase === "exited" && state.startedAtMs > 0 && state.error !== "";
}

function exitOf(container: Container, why: string): TaskExit {
  const { phase, exitCode, error, finishedAtMs, oomKilled } = container.state;
  if (phase === "created") return { ...wentDownWithNode, finishedAtMs: 0, lost: true };
  const lost = isLost(container);
  const text = why || (oomKilled ? "it used more memory than its limit allows" : "");
  return { exitCode, error: lost ? error : text, finishedAtMs, lost };
}
