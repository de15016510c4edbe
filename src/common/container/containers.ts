/**
 * The containers of a node as an interface: implemented by `agent/exec/containerd`, used by the task controller, by the
 * Engine API of the node, and through it by managers for nodes elsewhere.
 *
 * References are full ids, names, or unambiguous id prefixes, as in the API.
 *
 * @throws ClusterError everywhere: `not-found` (`No such container: x`), `already-exists` for what is taken or under way,
 *   `invalid-argument` naming the field, `unavailable` while there is no containerd.
 */

import type { ResourceRequirements } from "../api/generated/api.ts";
import type { Container, ContainerConfig, ContainerRestartPolicy, ExtraLimits } from "./types.ts";

/** What `create` made. */
export interface CreatedContainer {
  readonly id: string;
  readonly warnings: readonly string[];
}

/** Output of a container or a process in it; with a TTY all of it is stdout. */
export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** Hold on the standard streams of a process. */
export interface Attachment {
  readonly tty: boolean;
  /** Ends with the process, or when the attachment is closed. The reader sets the pace where the kernel lets it. */
  readonly output: AsyncIterable<OutputChunk>;
  /** Resolves when the process's pipe has taken the bytes. */
  write(data: Uint8Array): Promise<void>;
  /** Standard input is at its end. */
  closeStdin(): Promise<void>;
  /** Lets go; the process runs on. */
  close(): void;
}

/** Which streams to hold. */
export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Begin with what was logged already. */
  readonly logs: boolean;
  /** Go on with what comes. */
  readonly stream: boolean;
  readonly signal: AbortSignal;
}

/** One record of a container's log. */
export interface LogRecord {
  readonly stream: "stdout" | "stderr";
  /** Nanoseconds since the epoch as decimal digits, at least milliseconds exact. */
  readonly timeNs: bigint;
  /** With its line end, if it had one. */
  readonly data: Uint8Array;
}

/** What of a log is wanted. */
export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** Nanoseconds since the epoch, inclusive; undefined for no bound. */
  readonly sinceNs: bigint | undefined;
  readonly untilNs: bigint | undefined;
  /** Last records only; undefined for all. */
  readonly tail: number | undefined;
  readonly signal: AbortSignal;
}

/** A process to be started in a running container. */
export interface ExecConfig {
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly tty: boolean;
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly privileged: boolean;
}

/** A process that was started, or is to be, by `exec`. */
export interface ExecProcess {
  readonly id: string;
  readonly containerId: string;
  readonly config: ExecConfig;
  readonly running: boolean;
  readonly pid: number;
  /** Undefined until it ended. */
  readonly exitCode: number | undefined;
}

/** One sample of what a container uses; counters grow from its start. */
export interface ContainerStats {
  readonly readAtMs: number;
  readonly cpuTotalNs: number;
  readonly cpuUserNs: number;
  readonly cpuKernelNs: number;
  readonly cpuPerCoreNs: readonly number[];
  /** CPU time of the whole node, for Docker's percentage. */
  readonly systemCpuNs: number;
  readonly onlineCpus: number;
  readonly throttledPeriods: number;
  readonly periods: number;
  readonly throttledNs: number;
  readonly memoryUsageBytes: number;
  readonly memoryInactiveFileBytes: number;
  /** The node's memory where no limit is set. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly pidsLimit: number;
  readonly networks: Readonly<
    Record<string, { rxBytes: number; rxPackets: number; txBytes: number; txPackets: number }>
  >;
  readonly blockIo: readonly { major: number; minor: number; op: string; value: number }[];
}

/** Processes of a container, as `docker top` shows them. */
export interface ProcessTable {
  readonly titles: readonly string[];
  readonly processes: readonly (readonly string[])[];
}

/** A file or folder in a container. */
export interface PathStat {
  readonly name: string;
  readonly sizeBytes: number;
  /** As Go's os.FileMode has it. */
  readonly mode: number;
  readonly mtimeMs: number;
  readonly linkTarget: string;
}

/** How a path of a container differs from its image. */
export interface FileChange {
  readonly kind: "modified" | "added" | "deleted";
  readonly path: string;
}

/** Something that happened to a container (or to a process in it), in Docker's words for actions. */
export interface ContainerEvent {
  readonly timeNs: bigint;
  /** create, start, die, kill, stop, restart, pause, unpause, destroy, rename, update, oom, attach, detach, resize, `exec_create: …`, `exec_start: …`, exec_die, `health_status: healthy`, commit, copy, export, top. */
  readonly action: string;
  readonly container: Container;
  /** Further facts of the action, such as exitCode, signal, execID. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** How a container ended. */
export interface ContainerExit {
  readonly exitCode: number;
  readonly error: string;
}

/** What `update` changes; undefined leaves it. */
export interface ContainerUpdate {
  readonly resources: ResourceRequirements | undefined;
  readonly extraLimits: ExtraLimits | undefined;
  readonly restartPolicy: ContainerRestartPolicy | undefined;
}

/** What `commit` makes an image of. */
export interface CommitOptions {
  readonly repository: string;
  readonly tag: string;
  readonly comment: string;
  readonly author: string;
  readonly pause: boolean;
  /** Dockerfile instructions such as `CMD ["x"]`. */
  readonly changes: readonly string[];
}

/** All containers of a node. Lists and look-ups are from memory, at once. */
export interface Containers {
  list(): readonly Container[];
  /** @throws ClusterError not-found, or invalid-argument when several ids begin so. */
  find(reference: string): Container;
  create(config: ContainerConfig, signal: AbortSignal): Promise<CreatedContainer>;
  start(reference: string, signal: AbortSignal): Promise<void>;
  /** Stop signal, then the kill after the time-out (the container's own when undefined; negative waits for ever). */
  stop(reference: string, o: { signal: string; timeoutS: number | undefined }): Promise<void>;
  restart(reference: string, o: { signal: string; timeoutS: number | undefined }): Promise<void>;
  /** @throws ClusterError failed-precondition when it does not run. */
  kill(reference: string, signalName: string): Promise<void>;
  pause(reference: string): Promise<void>;
  unpause(reference: string): Promise<void>;
  /** Looks at the container before it returns the promise: what happens after the call is not missed. */
  wait(
    reference: string,
    condition: "not-running" | "next-exit" | "removed",
    signal: AbortSignal,
  ): Promise<ContainerExit>;
  remove(reference: string, o: { force: boolean; volumes: boolean }): Promise<void>;
  rename(reference: string, name: string): Promise<void>;
  update(reference: string, change: ContainerUpdate): Promise<readonly string[]>;
  resize(reference: string, size: { width: number; height: number }): Promise<void>;
  attach(reference: string, options: AttachOptions): Promise<Attachment>;
  logs(reference: string, options: LogOptions): AsyncIterable<LogRecord>;
  createExec(reference: string, config: ExecConfig): Promise<string>;
  findExec(execId: string): ExecProcess;
  execsOf(containerId: string): readonly string[];
  /** Starts it and holds the streams its configuration attaches; with `detach` none. */
  startExec(
    execId: string,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<Attachment | undefined>;
  resizeExec(execId: string, size: { width: number; height: number }): Promise<void>;
  stats(reference: string): Promise<ContainerStats>;
  top(reference: string, psArguments: string): Promise<ProcessTable>;
  statPath(reference: string, path: string): Promise<PathStat>;
  /** The path and all below it as a tar stream. */
  getArchive(
    reference: string,
    path: string,
  ): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }>;
  /** Unpacks a tar stream into a folder of the container. */
  putArchive(
    reference: string,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    o: { noOverwriteDirNonDir: boolean; copyUidGid: boolean },
  ): Promise<void>;
  changes(reference: string): Promise<readonly FileChange[]>;
  exportTar(reference: string): Promise<AsyncIterable<Uint8Array>>;
  /** Resolves with the id of the new image. */
  commit(reference: string, options: CommitOptions): Promise<string>;
  /** Bytes of its own layer, and of that with its image. */
  sizes(reference: string): Promise<{ ownBytes: number; rootBytes: number }>;
  /** Events from now on until the signal aborts; a reader that falls behind by thousands is cut off. */
  events(signal: AbortSignal): AsyncIterable<ContainerEvent>;
}
