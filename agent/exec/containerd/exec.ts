/**
 * Starts processes in running containers: `docker exec` and the probes of health checks.
 *
 * Order: pipes, Tasks.Exec, Tasks.Wait issued, Tasks.Start; at the end the output is drained, then Tasks.DeleteProcess.
 * The exit code is known before the output ends, as clients ask for it right then.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Attachment, ExecConfig } from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText, hasCode } from "../../../src/common/errors/cluster-error.ts";
import { type Exec, ExecTable } from "./exec-table.ts";
import { OutputHub } from "./output-hub.ts";
import { InputPipe, OutputPipe } from "./process-pipes.ts";
import type { OciProcess, ProcessUser, RuntimeCore } from "./seams.ts";

/** A process that left others behind which keep its output open is not waited for any longer, as with Docker. */
const outputLingerMs = 2_000;
/** Pause before a lost containerd is asked again for an exit. */
const waitRetryMs = 200;
/** What is told of a process whose exit nobody saw. */
const lostExitCode = 137;
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/** A started process's streams on our side. */
interface Pipes {
  readonly stdin: InputPipe | undefined;
  readonly stdout: OutputPipe | undefined;
  readonly stderr: OutputPipe | undefined;
}

/** The processes of `exec` on one node. */
export class Execs {
  readonly table = new ExecTable();
  readonly #core: RuntimeCore;
  readonly #client: ContainerdClient;

  constructor(core: RuntimeCore, client: ContainerdClient) {
    this.#core = core;
    this.#client = client;
  }

  /** @throws ClusterError failed-precondition when the container does not run, invalid-argument without a command. */
  create(container: Container, config: ExecConfig): Exec {
    requireRunning(container);
    if (config.command.length === 0 || config.command[0] === "") {
      throw new ClusterError("invalid-argument", "No exec command specified");
    }
    const { random, clock } = this.#core;
    const exec: Exec = {
      id: Buffer.from(random.bytes(32)).toString("hex"),
      containerId: container.id,
      config,
      hub: new OutputHub(),
      stdin: undefined,
      phase: "made",
      pid: 0,
      exitCode: undefined,
      endedAtMs: 0,
      size: undefined,
      exited: () => undefined,
    };
    this.table.add(exec, clock.now());
    this.#emit(exec, `exec_create: ${config.command.join(" ")}`);
    return exec;
  }

  /**
   * @throws ClusterError invalid-argument with the runtime's words when it cannot be started; its exit code is then 126 or
   *   127, as a shell's.
   */
  async start(
    execId: string,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<Attachment | undefined> {
    const exec = this.table.find(execId);
    const container = this.#core.get(exec.containerId);
    if (exec.phase === "ended") {
      throw conflict(`Exec command ${execId} has already run`);
    }
    if (exec.phase === "running") throw conflict(`Exec command ${execId} is already running`);
    if (container === undefined) {
      throw new ClusterError("not-found", `No such container: ${exec.containerId}`);
    }
    requireRunning(container);
    exec.phase = "running";
    this.#emit(exec, `exec_start: ${exec.config.command.join(" ")}`);
    const attachment = o.detach ? undefined : this.#attachment(exec);
    try {
      await this.#launch(exec, o);
    } catch (error) {
      attachment?.close();
      throw error;
    }
    return attachment;
  }

  /** Clients ask for it along with the start: a process that has no terminal yet gets it in this size. */
  async resize(execId: string, size: { width: number; height: number }): Promise<void> {
    const exec = this.table.find(execId);
    if (exec.phase === "ended") throw conflict(`Exec command ${execId} is not running`);
    if (exec.pid === 0) {
      exec.size = size;
      return;
    }
    await this.#client.call(TasksService.resizePty, {
      containerId: exec.containerId,
      execId,
      ...size,
    });
  }

  /** Kills it; nothing happens when it has ended. */
  async kill(exec: Exec): Promise<void> {
    const request = { containerId: exec.containerId, execId: exec.id, signal: 9 };
    await this.#client.call(TasksService.kill, request).catch((error) => {
      if (!hasCode(error, "not-found")) throw error;
    });
  }

  /** The container has ended, and all in it. */
  containerStopped(containerId: string): void {
    for (const exec of this.table.of(containerId)) exec.exited(lostExitCode);
  }

  async #launch(
    exec: Exec,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<void> {
    const { containerId, id: execId, config } = exec;
    const folder = join(this.#core.folderOf(containerId), "exec");
    let pipes: Pipes = { stdin: undefined, stdout: undefined, stderr: undefined };
    try {
      const process = await this.#processFor(exec, o.size);
      if (!o.detach) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        pipes = await makePipes(join(folder, execId.slice(0, 24)), config);
      }
      await this.#client.call(TasksService.exec, {
        containerId,
        execId,
        stdin: pipes.stdin?.path ?? "",
        stdout: pipes.stdout?.path ?? "",
        stderr: pipes.stderr?.path ?? "",
        terminal: config.tty,
        spec: { typeUrl: processType, value: Buffer.from(JSON.stringify(process)) },
      });
      const exit = this.#exitOf(exec);
      const { pid } = await this.#client.call(TasksService.start, { containerId, execId });
      exec.pid = pid;
      exec.stdin = pipes.stdin;
      this.#follow(exec, pipes, exit).catch((error) => {
        this.#core.log.warn("an exec process was not cleaned up", {
          "exec.id": execId,
          err: error,
        });
      });
      const size = exec.size ?? o.size;
      if (size !== undefined && config.tty) {
        // A process that ended at once has no terminal any more.
        await this.resize(execId, size).catch(() => undefined);
      }
    } catch (error) {
      throw await this.#startFailed(exec, pipes, error);
    }
  }

  async #startFailed(exec: Exec, pipes: Pipes, error: unknown): Promise<ClusterError> {
    const failure = execFailure(exec.config, error);
    this.#ended(exec, failure.exitCode);
    exec.exited(failure.exitCode);
    exec.hub.end();
    await this.#delete(exec);
    await closePipes(pipes);
    return failure.error;
  }

  /** The spec of the process: the container's own, with what the caller wants else. */
  async #processFor(
    exec: Exec,
    size: { width: number; height: number } | undefined,
  ): Promise<OciProcess> {
    const { config, containerId } = exec;
    const base = await this.#core.processOf(containerId);
    const user =
      config.user === "" ? undefined : await this.#core.lookUpUser(containerId, config.user);
    return execProcess(base, config, user, size);
  }

  #attachment(exec: Exec): Attachment {
    const { config } = exec;
    const { output, close } = exec.hub.subscribe({
      stdout: config.attachStdout,
      stderr: config.attachStderr,
    });
    const closeStdin = async () => {
      if (exec.stdin === undefined || config.tty) return;
      await exec.stdin.end();
      const { containerId, id: execId } = exec;
      await this.#client
        .call(TasksService.closeIO, { containerId, execId, stdin: true })
        .catch((error) => {
          if (exec.phase === "running" && !hasCode(error, "not-found")) throw error;
        });
    };
    return {
      tty: config.tty,
      output,
      write: async (data) => exec.stdin?.write(data),
      closeStdin,
      close: () => {
        close();
        closeStdin().catch((error) => {
          this.#core.log.debug("stdin of an exec stays open", { "exec.id": exec.id, err: error });
        });
      },
    };
  }

  /** Resolves with the exit code, over restarts of containerd. */
  async #exitOf(exec: Exec): Promise<number> {
    const { containerId, id: execId } = exec;
    const stop = new AbortController();
    const told = new Promise<number>((resolve) => {
      exec.exited = (exitCode) => {
        resolve(exitCode);
        stop.abort();
      };
    });
    const options = { timeoutMs: Number.POSITIVE_INFINITY, signal: stop.signal };
    const asked = async (): Promise<number> => {
      for (;;) {
        try {
          const reply = await this.#client.call(
            TasksService.wait,
            { containerId, execId },
            options,
          );
          return reply.exitStatus;
        } catch (error) {
          if (stop.signal.aborted) return told;
          if (!hasCode(error, "unavailable")) return lostExitCode;
          await this.#core.clock.sleep(waitRetryMs, stop.signal).catch(() => undefined);
        }
      }
    };
    return Promise.race([told, asked()]);
  }

  async #follow(exec: Exec, pipes: Pipes, exit: Promise<number>): Promise<void> {
    const resumes = new Set<() => void>();
    exec.hub.onDrained(() => {
      for (const resume of resumes) resume();
    });
    const drained = Promise.all([
      pipes.stdout?.drain(exec.hub, "stdout", resumes),
      pipes.stderr?.drain(exec.hub, "stderr", resumes),
    ]);
    const exitCode = await exit;
    this.#ended(exec, exitCode);
    await this.#lingers(drained, exec.hub);
    exec.hub.end();
    this.#emit(exec, "exec_die", { exitCode: String(exitCode) });
    await this.#delete(exec);
    await closePipes(pipes);
  }

  /** Waits for the end of the output: for ever while a reader still takes it, else not long. */
  async #lingers(drained: Promise<unknown>, hub: OutputHub): Promise<void> {
    const stop = new AbortController();
    const linger = async () => {
      do await this.#core.clock.sleep(outputLingerMs, stop.signal);
      while (hub.isFull);
    };
    // Its only failure is that it is not waited for any more.
    await Promise.race([drained, linger().catch(() => undefined)]);
    stop.abort();
  }

  #ended(exec: Exec, exitCode: number): void {
    exec.phase = "ended";
    exec.exitCode = exitCode;
    exec.pid = 0;
    exec.endedAtMs = this.#core.clock.now();
  }

  async #delete(exec: Exec): Promise<void> {
    const { containerId, id: execId } = exec;
    // Gone with its container, or never made; containerd itself deletes what its shim no longer knows.
    await this.#client
      .call(TasksService.deleteProcess, { containerId, execId })
      .catch(() => undefined);
  }

  #emit(exec: Exec, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#core.emit(exec.containerId, action, { execID: exec.id, ...attributes });
  }
}

/** Leaves nothing of the processes of an earlier daemon, which nobody can be attached to any more. */
export async function removeExecPipes(containerFolder: string): Promise<void> {
  await rm(join(containerFolder, "exec"), { recursive: true, force: true });
}

/** The process to start in a container, out of the container's own. */
export function execProcess(
  base: OciProcess,
  config: ExecConfig,
  user: ProcessUser | undefined,
  size: { width: number; height: number } | undefined,
): OciProcess {
  const env = mergeEnv(base.env, [
    ...(user === undefined ? [] : [`HOME=${user.home}`]),
    ...(config.tty ? ["TERM=xterm"] : []),
    ...config.env,
  ]);
  const isRoot = (user?.uid ?? base.user.uid) === 0;
  return {
    ...base,
    terminal: config.tty,
    ...(config.tty && size !== undefined && { consoleSize: size }),
    args: config.command,
    env,
    cwd: config.workingDir || base.cwd,
    user:
      user === undefined
        ? base.user
        : { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    capabilities: capabilitiesFor(base, { isRoot, isPrivileged: config.privileged }),
  };
}

/** All that the kernel knows, for `--privileged`. */
const allCapabilities =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** A user other than root has capabilities only for what it executes. */
function capabilitiesFor(base: OciProcess, o: { isRoot: boolean; isPrivileged: boolean }): unknown {
  const own = base["capabilities"] as { bounding?: readonly string[] } | undefined;
  const bounding = o.isPrivileged ? allCapabilities : (own?.bounding ?? []);
  const held = o.isRoot ? bounding : [];
  return { bounding, effective: held, permitted: held };
}

/** Later entries replace earlier ones of the same name; a name alone removes. */
function mergeEnv(base: readonly string[], more: readonly string[]): string[] {
  const merged = new Map(base.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  for (const entry of more) {
    const name = entry.split("=", 1)[0] ?? "";
    if (entry.includes("=")) merged.set(name, entry);
    else merged.delete(name);
  }
  return [...merged.values()];
}

/** Why it did not start, in Docker's words, and the exit code a shell would give. */
export function execFailure(
  config: ExecConfig,
  error: unknown,
): { exitCode: number; error: ClusterError } {
  const text = errorText(error);
  const command = config.command[0] ?? "";
  const prefix = "OCI runtime exec failed: exec failed: unable to start container process: ";
  const isMissing = /not found in \$PATH|no such file or directory|executable file/i.test(text);
  if (error instanceof ClusterError && !["unknown", "invalid-argument"].includes(error.code)) {
    return { exitCode: 126, error };
  }
  if (isMissing && !/chdir|cwd/i.test(text)) {
    const why = command.includes("/")
      ? `stat ${command}: no such file or directory`
      : "executable file not found in $PATH";
    return { exitCode: 127, error: invalid(`${prefix}exec: "${command}": ${why}: unknown`, error) };
  }
  if (/permission denied/i.test(text)) {
    const words = `${prefix}exec: "${command}": permission denied: unknown`;
    return { exitCode: 126, error: invalid(words, error) };
  }
  return { exitCode: 126, error: invalid(text, error) };
}

async function makePipes(base: string, config: ExecConfig): Promise<Pipes> {
  return {
    stdin: config.attachStdin ? await InputPipe.make(`${base}-in`) : undefined,
    stdout: await OutputPipe.make(`${base}-out`),
    stderr: config.tty ? undefined : await OutputPipe.make(`${base}-err`),
  };
}

async function closePipes(pipes: Pipes): Promise<void> {
  await pipes.stdin?.close();
  await pipes.stdout?.close();
  await pipes.stderr?.close();
}

function requireRunning(container: Container): void {
  if (container.state.phase === "paused") {
    throw conflict(`Container ${container.name} is paused, unpause the container before exec`);
  }
  if (container.state.phase !== "running")
    throw conflict(`Container ${container.id} is not running`);
}

function conflict(message: string): ClusterError {
  return new ClusterError("failed-precondition", message);
}

function invalid(message: string, cause: unknown): ClusterError {
  return new ClusterError("invalid-argument", message, { cause });
}
