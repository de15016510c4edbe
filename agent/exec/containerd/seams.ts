/**
 * Where the two halves of the container runtime meet: `containers.ts` owns what containers there are and their life; the
 * streams half (`streams.ts`: standard streams, logs, attach, exec, health) and the files half (`files.ts`: archives,
 * changes, commit, sizes) carry out what the class is asked for and are told of the life.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import type {
  Attachment,
  AttachOptions,
  CommitOptions,
  ContainerStats,
  ExecConfig,
  ExecProcess,
  FileChange,
  LogOptions,
  LogRecord,
  PathStat,
  ProcessTable,
} from "../../../src/common/container/containers.ts";
import type { Container, ContainerHealth } from "../../../src/common/container/types.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";

/** Who a process in a container runs as. */
export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** Home folder as /etc/passwd of the container has it, or `/`. */
  readonly home: string;
}

/** The part of an OCI spec that says what to run; further fields are handed through as they are. */
export interface OciProcess {
  readonly terminal?: boolean;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: {
    readonly uid: number;
    readonly gid: number;
    readonly additionalGids?: readonly number[];
  };
  readonly [field: string]: unknown;
}

/** What the halves ask of `containers.ts`. */
export interface RuntimeCore {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** As it is now; undefined once it is removed. */
  get(containerId: string): Container | undefined;
  /** Folder of one container below the data root, for its output and logs; removed with the container by the core. */
  folderOf(containerId: string): string;
  /** `process` of the container's OCI spec. */
  processOf(containerId: string): Promise<OciProcess>;
  /** Looks `user[:group]` up inside the container. @throws ClusterError invalid-argument for one that is not there. */
  lookUpUser(containerId: string, user: string): Promise<ProcessUser>;
  /** Somebody is done with looking into its file system: what was mounted for that goes, unless it runs. */
  lookedInto(container: Container): void;
  /** Tells whoever listens to events. */
  emit(containerId: string, action: string, attributes: Readonly<Record<string, string>>): void;
  /** The state of the health check is another; to be kept in the container's state. */
  healthChanged(containerId: string, health: ContainerHealth): void;
}

/** Paths for Tasks.Create; empty ones mean none. */
export interface StandardStreams {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** The streams half. All take full ids. */
export interface ContainerStreams {
  /**
   * Refuses log drivers and options that are not known; to be called before a container is made.
   *
   * @throws ClusterError invalid-argument with Docker's words.
   */
  checkLogDriver(container: Pick<Container["config"], "logDriver">): void;
  /** Where the log is, for `docker inspect`; empty with the driver `none`. */
  logPathOf(containerId: string): string;
  /** Before Tasks.Create, each time: readies files and pipes. */
  prepare(container: Container): Promise<StandardStreams>;
  /** After Tasks.Start; health checks begin. */
  started(container: Container): void;
  /** Instead of the two above for a container that already ran when the daemon came. */
  adopted(container: Container): Promise<void>;
  /**
   * After Tasks.Delete (the shim has copied everything by then) or when the start failed: takes in what is left, ends
   * attachments, followers of logs, execs and health checks. Resolves when the log is complete.
   */
  stopped(containerId: string): Promise<void>;
  /** Before the container's folder is removed. */
  removed(containerId: string): Promise<void>;
  /** An exit event of a process that `exec` started. */
  execExited(containerId: string, execId: string, exitCode: number): void;

  attach(container: Container, options: AttachOptions): Promise<Attachment>;
  logs(container: Container, options: LogOptions): AsyncIterable<LogRecord>;
  resize(containerId: string, size: { width: number; height: number }): Promise<void>;

  createExec(container: Container, config: ExecConfig): Promise<string>;
  findExec(execId: string): ExecProcess;
  execsOf(containerId: string): readonly string[];
  startExec(
    execId: string,
    o: { detach: boolean; size: { width: number; height: number } | undefined },
  ): Promise<Attachment | undefined>;
  resizeExec(execId: string, size: { width: number; height: number }): Promise<void>;

  stats(container: Container): Promise<ContainerStats>;
  top(container: Container, psArguments: string): Promise<ProcessTable>;

  /** Stops tailing and checking; containers run on, and nothing of their output is lost for the next daemon. */
  close(): Promise<void>;
}

/** What a container that is about to start gets from its networks. */
export interface JoinedNetworks {
  /** File of its network namespace; undefined for a new one with a loopback device alone. */
  readonly path: string | undefined;
  /** Lines of /etc/hosts besides those of loopback: address and names. */
  readonly hosts: readonly { readonly address: string; readonly names: readonly string[] }[];
  /** Name server for /etc/resolv.conf; the node's own where undefined. */
  readonly nameserver: string | undefined;
  /** Where the container reaches programs of its node; undefined where it does not. */
  readonly hostGateway?: string;
}

/** The networks half: gives containers their network namespaces. Not asked for those with `host`, `none`, `container:`. */
export interface ContainerNetworks {
  /** Before a container is made. @throws ClusterError not-found for a network that is not there, invalid-argument. */
  check(config: Container["config"]): void;
  /** File that will keep the namespace of a container with networks of its own; undefined where there is none. */
  fileOf(container: Pick<Container, "id" | "config">): string | undefined;
  /**
   * Before each start: the namespace with its devices, addresses and names, ready for traffic. Undefined for a container that
   * has no network on this node: its runtime makes it a namespace.
   */
  join(container: Container, signal: AbortSignal): Promise<JoinedNetworks | undefined>;
  /** Instead for a container that already ran when the daemon came. */
  adopted(container: Container): Promise<void>;
  /** After its end: the namespace goes. Fine when there is none. */
  leave(containerId: string): Promise<void>;
}

/** The files half: what is in a container's file system, running or not. */
export interface ContainerFiles {
  statPath(container: Container, path: string): Promise<PathStat>;
  getArchive(
    container: Container,
    path: string,
  ): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }>;
  putArchive(
    container: Container,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    o: { noOverwriteDirNonDir: boolean; copyUidGid: boolean },
  ): Promise<void>;
  /**
   * Fills an empty volume with what the image has at `path`, modes and owners included. Called while the container does
   * not run and its snapshot is there; nothing happens when the volume is not empty or the image has no such folder.
   */
  copyUp(container: Container, path: string, volumeFolder: string): Promise<void>;
  changes(container: Container): Promise<readonly FileChange[]>;
  exportTar(container: Container): Promise<AsyncIterable<Uint8Array>>;
  commit(container: Container, options: CommitOptions): Promise<string>;
  sizes(container: Container): Promise<{ ownBytes: number; rootBytes: number }>;
}
