/**
 * The streams half of the container runtime: puts output, input, exec and health checks together per container.
 *
 * Made and told of the life of containers by `containers.ts` through `seams.ts`.
 */
import { join } from "node:path";
import type {
  Attachment,
  AttachOptions,
  ContainerStats,
  ExecConfig,
  ExecProcess,
  LogOptions,
  LogRecord,
  ProcessTable,
} from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import { attachTo, type ContainerInput } from "./attach.ts";
import { ContainerOutput, logPathIn } from "./container-output.ts";
import { Execs, removeExecPipes } from "./exec.ts";
import { execProcessOf } from "./exec-table.ts";
import {
  type HealthRules,
  healthRules,
  probeOutputBytesMax,
  startingHealth,
} from "./health/decide.ts";
import { checkHealth, type ProbeResult } from "./health/loop.ts";
import { logSettingsOf } from "./log-options.ts";
import { readLog } from "./log-reader.ts";
import { InputPipe } from "./process-pipes.ts";
import type { ContainerStreams, RuntimeCore, StandardStreams } from "./seams.ts";
import { containerStats } from "./stats.ts";
import { processTable } from "./top.ts";

/** What there is of one container. */
interface Streams {
  readonly output: ContainerOutput;
  stdin: InputPipe | undefined;
  /** Those who wrote before there was a pipe. */
  readonly waiting: Set<() => void>;
  health: AbortController | undefined;
}

/** Streams, logs, exec and health of all containers of a node. */
export class LocalStreams implements ContainerStreams {
  readonly #core: RuntimeCore;
  readonly #client: ContainerdClient;
  readonly #execs: Execs;
  readonly #streams = new Map<string, Streams>();
  readonly #checks = new Set<Promise<void>>();

  constructor(core: RuntimeCore, client: ContainerdClient) {
    this.#core = core;
    this.#client = client;
    this.#execs = new Execs(core, client);
  }

  checkLogDriver(config: Pick<Container["config"], "logDriver">): void {
    logSettingsOf(config.logDriver);
  }

  logPathOf(containerId: string): string {
    const { driver } = logSettingsOf(this.#core.get(containerId)?.config.logDriver);
    return driver === "none" ? "" : logPathIn(this.#core.folderOf(containerId), containerId);
  }

  async prepare(container: Container): Promise<StandardStreams> {
    const streams = this.#of(container.id);
    await streams.stdin?.close();
    streams.stdin = undefined;
    const { stdout, stderr } = await streams.output.begin(container);
    if (container.config.openStdin) {
      streams.stdin = await InputPipe.make(this.#stdinPath(container.id));
    }
    return { stdin: streams.stdin?.path ?? "", stdout, stderr, terminal: container.config.tty };
  }

  started(container: Container): void {
    const streams = this.#of(container.id);
    for (const resume of streams.waiting) resume();
    const rules = healthRules(container.health);
    if (rules === undefined) return;
    this.#core.healthChanged(container.id, startingHealth(container.state.health));
    this.#check(container.id, streams, rules);
  }

  async adopted(container: Container): Promise<void> {
    const streams = this.#of(container.id);
    await removeExecPipes(this.#core.folderOf(container.id));
    await streams.output.resume(container);
    if (container.config.openStdin) this.#adoptStdin(container, streams);
    const rules = healthRules(container.health);
    if (rules !== undefined) this.#check(container.id, streams, rules);
  }

  async stopped(containerId: string): Promise<void> {
    const streams = this.#of(containerId);
    streams.health?.abort();
    this.#execs.containerStopped(containerId);
    await streams.stdin?.close();
    streams.stdin = undefined;
    for (const resume of streams.waiting) resume();
    await streams.output.finish(this.#core.get(containerId));
  }

  async removed(containerId: string): Promise<void> {
    const streams = this.#streams.get(containerId);
    streams?.health?.abort();
    this.#execs.table.removeAllOf(containerId);
    await streams?.stdin?.close();
    await streams?.output.drop();
    this.#streams.delete(containerId);
  }

  execExited(_containerId: string, execId: string, exitCode: number): void {
    this.#execs.table.get(execId)?.exited(exitCode);
  }

  async attach(container: Container, options: AttachOptions): Promise<Attachment> {
    const { output } = this.#of(container.id);
    const input = container.config.openStdin ? this.#inputOf(container) : undefined;
    const attachment = attachTo(container, output, input, options);
    this.#core.emit(container.id, "attach", {});
    return attachment;
  }

  /** @throws ClusterError unimplemented with the driver `none`. */
  logs(container: Container, options: LogOptions): AsyncIterable<LogRecord> {
    if (logSettingsOf(container.config.logDriver).driver === "none") {
      const text = "configured logging driver does not support reading";
      throw new ClusterError("unimplemented", text);
    }
    return readLog(this.#of(container.id).output.files, options);
  }

  async resize(containerId: string, size: { width: number; height: number }): Promise<void> {
    await this.#client.call(TasksService.resizePty, { containerId, ...size });
    const { width, height } = size;
    this.#core.emit(containerId, "resize", { height: String(height), width: String(width) });
  }

  async createExec(container: Container, config: ExecConfig): Promise<string> {
    return this.#execs.create(container, config).id;
  }

  findExec(execId: string): ExecProcess {
    return execProcessOf(this.#execs.table.find(execId));
  }

  execsOf(containerId: string): readonly string[] {
    const execs = this.#execs.table.of(containerId);
    return execs.filter(({ phase }) => phase !== "ended").map(({ id }) => id);
  }

  startExec(
    execId: string,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<Attachment | undefined> {
    return this.#execs.start(execId, o);
  }

  resizeExec(execId: string, size: { width: number; height: number }): Promise<void> {
    return this.#execs.resize(execId, size);
  }

  stats(container: Container): Promise<ContainerStats> {
    return containerStats(this.#client, container, this.#core.clock.now());
  }

  async top(container: Container, psArguments: string): Promise<ProcessTable> {
    const table = await processTable(this.#client, container, psArguments);
    this.#core.emit(container.id, "top", {});
    return table;
  }

  async close(): Promise<void> {
    for (const { health } of this.#streams.values()) health?.abort();
    await Promise.all([...this.#streams.values()].map(({ output }) => output.suspend()));
    await Promise.all(this.#checks);
  }

  #of(containerId: string): Streams {
    const known = this.#streams.get(containerId);
    if (known !== undefined) return known;
    const { clock, log } = this.#core;
    const output = new ContainerOutput(this.#core.folderOf(containerId), containerId, {
      clock,
      log: log.with({ "container.id": containerId }),
    });
    const streams: Streams = {
      output,
      stdin: undefined,
      waiting: new Set(),
      health: undefined,
    };
    this.#streams.set(containerId, streams);
    return streams;
  }

  #stdinPath(containerId: string): string {
    return join(this.#core.folderOf(containerId), "stdin");
  }

  #adoptStdin(container: Container, streams: Streams): void {
    try {
      streams.stdin = InputPipe.adopt(this.#stdinPath(container.id));
    } catch (error) {
      this.#core.log.warn("standard input of a container cannot be opened", {
        "container.id": container.id,
        err: errorText(error),
      });
    }
  }

  #inputOf(container: Container): ContainerInput {
    const streams = this.#of(container.id);
    const { tty, stdinOnce } = container.config;
    return {
      write: async (data, signal) => {
        if (streams.stdin === undefined) await this.#pipe(container.id, streams, signal);
        await streams.stdin?.write(data);
      },
      end: async (signal) => {
        // A terminal has no end of input, and one that others may write to later is not at its end.
        if (tty || !stdinOnce) return;
        if (!(await this.#pipe(container.id, streams, signal))) return;
        await streams.stdin?.end();
        await this.#client
          .call(TasksService.closeIO, { containerId: container.id, stdin: true })
          .catch((error) => {
            if (!hasCode(error, "not-found")) throw error;
          });
      },
    };
  }

  /** Resolves when the process runs, or is known not to, or the signal aborts; says whether it runs. */
  #pipe(containerId: string, streams: Streams, signal: AbortSignal): Promise<boolean> {
    const runs = () => {
      const phase = this.#core.get(containerId)?.state.phase;
      return streams.stdin !== undefined && (phase === "running" || phase === "paused");
    };
    if (runs() || signal.aborted) return Promise.resolve(runs());
    return new Promise((resolve) => {
      const look = () => {
        streams.waiting.delete(look);
        signal.removeEventListener("abort", look);
        resolve(runs());
      };
      streams.waiting.add(look);
      signal.addEventListener("abort", look, { once: true });
    });
  }

  #check(containerId: string, streams: Streams, rules: HealthRules): void {
    streams.health?.abort();
    const stop = new AbortController();
    streams.health = stop;
    const ports = {
      clock: this.#core.clock,
      container: () => this.#core.get(containerId),
      probe: (probed: HealthRules, signal: AbortSignal) => this.#probe(containerId, probed, signal),
      changed: (health: Container["state"]["health"]) => {
        const before = this.#core.get(containerId)?.state.health.status;
        this.#core.healthChanged(containerId, health);
        if (before !== health.status) {
          this.#core.emit(containerId, `health_status: ${health.status}`, {});
        }
      },
    };
    const check = checkHealth(rules, ports, stop.signal)
      .catch((error) => {
        this.#core.log.error("a health check ended", { "container.id": containerId, err: error });
      })
      .finally(() => this.#checks.delete(check));
    this.#checks.add(check);
  }

  async #probe(containerId: string, rules: HealthRules, signal: AbortSignal): Promise<ProbeResult> {
    const container = this.#core.get(containerId);
    if (container === undefined) throw new Error("the container is gone");
    const exec = this.#execs.create(container, probeConfig(rules));
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    let timedOut = false;
    const stop = new AbortController();
    const end = () => stop.abort();
    signal.addEventListener("abort", end, { once: true });
    try {
      const attachment = await this.#execs.start(exec.id, { detach: false, size: undefined });
      const watch = this.#core.clock.sleep(rules.timeoutMs, stop.signal).then(
        () => {
          timedOut = true;
          return this.#execs.kill(exec);
        },
        // In time, or not waited for any longer.
        () => (signal.aborted ? attachment?.close() : undefined),
      );
      for await (const { data } of attachment?.output ?? []) {
        if (bytes <= probeOutputBytesMax) pieces.push(data);
        bytes += data.length;
      }
      stop.abort();
      await watch;
      return { exitCode: exec.exitCode ?? -1, output: Buffer.concat(pieces), timedOut };
    } finally {
      stop.abort();
      signal.removeEventListener("abort", end);
      this.#execs.table.remove(exec);
    }
  }
}

function probeConfig(rules: HealthRules): ExecConfig {
  return {
    command: rules.command,
    env: [],
    workingDir: "",
    user: "",
    tty: false,
    attachStdin: false,
    attachStdout: true,
    attachStderr: true,
    privileged: false,
  };
}
