/**
 * What containers are made of and what is known of them, in words both ends use: `src/engine` translates the Engine API to
 * and from these, `agent/exec` makes and keeps the containers, be they the user's or those of tasks.
 *
 * Plain data, complete: every field is always there; "" , [] and undefined mean that nothing was said.
 */
import type {
  Driver,
  HealthConfig,
  Mount,
  NetworkSpec,
  Platform,
  Privileges,
  ResourceRequirements,
  Ulimit,
} from "../api/generated/api.ts";
import type { BlockDeviceLimit, DeviceRule } from "../spec/container-labels.ts";

/** When the daemon starts a container again by itself; tasks have "no", their orchestrator decides. */
export interface ContainerRestartPolicy {
  readonly name: "no" | "always" | "on-failure" | "unless-stopped";
  /** With `on-failure`; 0 means without end. */
  readonly retriesMax: number;
}

/** A device of the node inside a container. */
export interface DeviceMapping {
  readonly pathOnHost: string;
  readonly pathInContainer: string;
  /** Out of r, w, m. */
  readonly permissions: string;
}

/** Limits and weights beyond those of services, as `docker run` and `docker update` know them; 0 means not set. */
export interface ExtraLimits {
  readonly cpuShares: number;
  readonly cpuPeriodUs: number;
  readonly cpuQuotaUs: number;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly blkioWeight: number;
  readonly memoryReservationBytes: number;
  readonly oomKillDisable: boolean;
}

/** A file made for one container, in memory only: a secret or a config. */
export interface ContainerFile {
  /** Absolute path inside the container. */
  readonly target: string;
  readonly data: Uint8Array;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** A variable of one container's environment that is in memory only: in no record, and shown nowhere. */
export interface SecretVariable {
  readonly name: string;
  /** Emptied once it is in memory. */
  readonly value: string;
}

/** The task a container belongs to. */
export interface ContainerTask {
  readonly taskId: string;
  readonly taskName: string;
  readonly nodeId: string;
  readonly serviceId: string;
  readonly serviceName: string;
}

/** How a container takes part in one network. */
export interface NetworkJoin {
  /** Name or id, as in `networks`. */
  readonly network: string;
  readonly aliases: readonly string[];
  /** Fixed addresses without prefix length; the network gives one where there is none. */
  readonly addresses: readonly string[];
  /** Derived from the address when empty. */
  readonly macAddress: string;
  readonly driverOptions: Readonly<Record<string, string>>;
  /** What the node makes the network from, where it is one of the swarm that is the nodes' to make; `network` is its id. */
  readonly made?: NetworkSpec;
}

/** A port of the host that leads to one of a container. */
export interface PortBinding {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  /** Address of the host; all of them when empty. */
  readonly hostAddress: string;
  /** A free one when 0. */
  readonly hostPort: number;
  /** With it, a free one from `hostPort` to this, inclusive. */
  readonly hostPortLast?: number;
}

/** Everything a container is made from. What the image says is not in it: it is merged when the container is made. */
export interface ContainerConfig {
  /** Without slash; a name is made up when empty. */
  readonly name: string;
  /** Reference as the user wrote it. */
  readonly image: string;
  /** Platform the user asked for; the node's own when absent. */
  readonly platform: Platform | undefined;
  /** Undefined: the image's. An empty list drops the image's. */
  readonly entrypoint: readonly string[] | undefined;
  /** Undefined: the image's, unless there is an entrypoint of the user's. */
  readonly command: readonly string[] | undefined;
  readonly env: readonly string[];
  readonly workingDir: string;
  /** `user[:group]`, names or numbers; the image's when empty. */
  readonly user: string;
  readonly groups: readonly string[];
  /** The first 12 characters of the id when empty. */
  readonly hostname: string;
  readonly domainName: string;
  readonly tty: boolean;
  /** Size of the terminal at the start, characters; what the client says later wins. */
  readonly consoleSize?: { readonly width: number; readonly height: number };
  readonly openStdin: boolean;
  /** Standard input ends when its first writer does. */
  readonly stdinOnce: boolean;
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** The image's, else SIGTERM, when empty. */
  readonly stopSignal: string;
  /** Whole seconds between stop signal and kill; 10 when undefined. */
  readonly stopTimeoutS: number | undefined;
  /** Undefined: the image's. `test: ["NONE"]` switches it off. */
  readonly health: HealthConfig | undefined;
  /** The init of the node as first process; the daemon's default when undefined. */
  readonly init: boolean | undefined;
  readonly readOnly: boolean;
  readonly privileged: boolean;
  readonly capabilityAdd: readonly string[];
  readonly capabilityDrop: readonly string[];
  readonly privileges: Privileges | undefined;
  readonly ulimits: readonly Ulimit[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly oomScoreAdj: number;
  readonly resources: ResourceRequirements | undefined;
  readonly extraLimits: ExtraLimits | undefined;
  readonly devices: readonly DeviceMapping[];
  readonly deviceRules?: readonly DeviceRule[];
  readonly blkioDevices?: readonly BlockDeviceLimit[];
  /** How much it may write to its own layer, bytes; as much as there is room for when undefined or 0. */
  readonly storageBytes?: number;
  /** For the program that runs the container; not shown inside. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  /** `-v /path` and the like: anonymous volumes, target paths only. */
  readonly anonymousVolumes: readonly string[];
  /** References to containers whose mounts this one takes over, with `:ro` or `:rw` at the end if given. */
  readonly volumesFrom: readonly string[];
  readonly files: readonly ContainerFile[];
  /** Only tasks have such. */
  readonly secretEnv?: readonly SecretVariable[];
  /** 64 MiB when 0. */
  readonly shmSizeBytes: number;
  /** `none`, `host`, `default`, `container:ID` or names of networks (the first is the main one). */
  readonly networks: readonly string[];
  /** How it takes part in the networks named above, where there is more to say than the name. */
  readonly joins: readonly NetworkJoin[];
  /** Ports of the host that lead to it. */
  readonly ports: readonly PortBinding[];
  /** `80/tcp` and the like, besides those of the image. */
  readonly exposedPorts: readonly string[];
  /** Bind every exposed port to a free one of the host. */
  readonly publishAll: boolean;
  /** `` (private), `host`, `private`, `shareable`, `container:ID`. */
  readonly ipcMode: string;
  readonly pidMode: string;
  readonly utsMode: string;
  readonly cgroupnsMode: string;
  readonly cgroupParent: string;
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** `HOST:ADDRESS` as `docker run --add-host` has them. */
  readonly extraHosts: readonly string[];
  /** The daemon's default when undefined. */
  readonly logDriver: Driver | undefined;
  readonly restartPolicy: ContainerRestartPolicy;
  /** Removed with its anonymous volumes when it ends. */
  readonly autoRemove: boolean;
  readonly task: ContainerTask | undefined;
  /** The API's own JSON of the request (Config and HostConfig), kept to be shown as it was; "" for tasks. */
  readonly shown: string;
}

/** What a container is doing. */
export type ContainerPhase =
  | "created"
  | "running"
  | "paused"
  | "restarting"
  | "removing"
  | "exited"
  | "dead";

/** One probe of a health check. */
export interface HealthProbe {
  readonly startMs: number;
  readonly endMs: number;
  readonly exitCode: number;
  /** At most 4,096 bytes. */
  readonly output: string;
}

/** State of a health check; `none` where there is none. */
export interface ContainerHealth {
  readonly status: "none" | "starting" | "healthy" | "unhealthy";
  readonly failingStreak: number;
  /** The last five, oldest first. */
  readonly probes: readonly HealthProbe[];
}

/** Where a container stands; times are milliseconds since the epoch, 0 for never. */
export interface ContainerState {
  readonly phase: ContainerPhase;
  /** 0 while it does not run. */
  readonly pid: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Why it could not be started, or why its end is unknown. */
  readonly error: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly restartCount: number;
  readonly health: ContainerHealth;
}

/** A mount as it came out, for `docker inspect`. */
export interface MountPoint {
  readonly type: "bind" | "volume" | "tmpfs";
  /** Name of the volume, else empty. */
  readonly name: string;
  readonly source: string;
  readonly destination: string;
  readonly driver: string;
  readonly mode: string;
  readonly writable: boolean;
  readonly propagation: string;
}

/** One container of the node, as it is now. */
export interface Container {
  /** 64 hexadecimal characters. */
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly config: ContainerConfig;
  /** Digest of the image's configuration (`sha256:…`), Docker's image id. */
  readonly imageId: string;
  /** Platform of the image it was made from. */
  readonly imagePlatform: Platform;
  /** Program and arguments that run, image defaults filled in. */
  readonly args: readonly string[];
  /** As it is inside, the image's included. */
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string;
  readonly health: HealthConfig | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly mounts: readonly MountPoint[];
  /** Runtime that runs it: runc or crun. */
  readonly runtime: string;
  readonly logPath: string;
  readonly state: ContainerState;
}
