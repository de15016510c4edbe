/**
 * `GET /info` and `GET /version` from the daemon's facts and the state of the swarm. Pure.
 */
import type { Cluster } from "../../common/api/generated/api.ts";
import type { RuntimeFacts } from "../../common/container/runtime.ts";
import type { Container } from "../../common/container/types.ts";
import type { DaemonFacts, SwarmStatus } from "../ports.ts";
import { apiVersion, apiVersionMin } from "../versions.ts";
import { type Json, listOrNothing, numberOrNothing } from "./common.ts";
import { clusterToJson } from "./swarm.ts";

/** What a manager knows of its cluster. */
export interface SwarmNumbers {
  readonly cluster: Cluster;
  readonly nodes: number;
  readonly managers: number;
  /** Of networks and pools that run out of addresses. */
  readonly warnings: readonly string[];
}

const twoManagersText = `WARNING: Running Swarm in a two-manager configuration. This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.`;

/** What the node's runtime adds to the answer: its facts, and how much there is. */
export interface RuntimeNumbers {
  readonly facts: RuntimeFacts;
  readonly containers: readonly Container[];
  readonly images: number;
}

/**
 * `GET /version`.
 * @param platform What the daemon itself runs on, shown where Docker shows its Go version.
 */
export function versionToJson(facts: DaemonFacts, runtime: RuntimeFacts, platform: string): Json {
  const arch = facts.platforms[0]?.architecture ?? "";
  const common = {
    ApiVersion: apiVersion,
    Arch: arch,
    BuildTime: facts.buildTime,
    GitCommit: facts.gitCommit,
    GoVersion: platform,
    KernelVersion: facts.kernelVersion,
    MinAPIVersion: apiVersionMin,
    Os: "linux",
  };
  return {
    Platform: { Name: "Skep" },
    Components: [
      {
        Name: "Engine",
        Version: facts.version,
        Details: { ...common, Experimental: String(facts.experimental) },
      },
      ...componentsOf(runtime),
    ],
    Version: facts.version,
    ...common,
    Experimental: facts.experimental ? true : undefined,
  };
}

/** The programs beside the daemon that run containers. */
function componentsOf(runtime: RuntimeFacts): readonly Json[] {
  const { containerdVersion, containerdCommit, programs, init } = runtime;
  const containerd = {
    Name: "containerd",
    Version: containerdVersion,
    Details: { GitCommit: containerdCommit },
  };
  return [
    ...(containerdVersion === "" ? [] : [containerd]),
    ...[...programs, init].flatMap(({ name, path, version }) =>
      path === "" ? [] : [{ Name: name, Version: version, Details: { GitCommit: "" } }],
    ),
  ];
}

/** What an answer to `GET /info` is made of. */
export interface InfoParts {
  readonly facts: DaemonFacts;
  readonly status: SwarmStatus;
  readonly numbers: SwarmNumbers | { readonly error: string } | undefined;
  readonly runtime: RuntimeNumbers;
  readonly now: number;
}

/** `GET /info`. */
export function infoToJson({ facts, status, numbers, runtime, now }: InfoParts): Json {
  const known = numbers !== undefined && "managers" in numbers ? numbers : undefined;
  const swarmWarnings = [
    ...(known?.managers === 2 ? [twoManagersText] : []),
    ...(known?.warnings ?? []),
  ];
  return {
    ID: facts.engineId,
    ...counts(runtime),
    ...machine(facts, runtime.facts),
    Debug: facts.debug,
    SystemTime: new Date(now).toISOString(),
    ...features(runtime.facts),
    ...registries(facts),
    DockerRootDir: facts.dataDir,
    HttpProxy: facts.httpProxy,
    HttpsProxy: facts.httpsProxy,
    NoProxy: facts.noProxy,
    Name: facts.hostname,
    Labels: facts.labels,
    ExperimentalBuild: facts.experimental,
    ServerVersion: facts.version,
    Swarm: swarmToInfo(status, numbers, swarmWarnings),
    LiveRestoreEnabled: facts.liveRestore,
    Warnings: [...facts.warnings, ...runtime.facts.warnings, ...swarmWarnings],
  };
}

function counts({ containers, images }: RuntimeNumbers): Json {
  const inPhase = (...phases: readonly string[]) =>
    containers.filter(({ state }) => phases.includes(state.phase)).length;
  const running = inPhase("running", "restarting");
  const paused = inPhase("paused");
  return {
    Containers: containers.length,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: containers.length - running - paused,
    Images: images,
  };
}

function machine(facts: DaemonFacts, runtime: RuntimeFacts): Json {
  const { limits } = runtime;
  return {
    KernelVersion: facts.kernelVersion,
    OperatingSystem: facts.operatingSystem,
    OSVersion: facts.osVersion,
    OSType: "linux",
    Architecture: facts.machine,
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    CgroupDriver: runtime.cgroupDriver,
    CgroupVersion: runtime.cgroupVersion,
    MemoryLimit: limits.memory,
    SwapLimit: limits.swap,
    CpuCfsPeriod: limits.cpuQuota,
    CpuCfsQuota: limits.cpuQuota,
    CPUShares: limits.cpuShares,
    CPUSet: limits.cpuset,
    PidsLimit: limits.pids,
    IPv4Forwarding: true,
    BridgeNfIptables: false,
    BridgeNfIp6tables: false,
    OomKillDisable: limits.oomKillDisable,
    NFd: 0,
    NGoroutines: 0,
    NEventsListener: 0,
  };
}

function features(runtime: RuntimeFacts): Json {
  const [main] = runtime.programs;
  return {
    Driver: runtime.snapshotter,
    DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]],
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"],
      Authorization: null,
      Log: ["json-file"],
    },
    LoggingDriver: "json-file",
    GenericResources: null,
    Runtimes: Object.fromEntries(runtime.programs.map(({ name, path }) => [name, { path }])),
    DefaultRuntime: main?.name ?? "",
    Isolation: "",
    InitBinary: runtime.init.path,
    ContainerdCommit: {
      ID: runtime.containerdCommit || runtime.containerdVersion,
      Expected: runtime.containerdCommit || runtime.containerdVersion,
    },
    RuncCommit: { ID: main?.version ?? "", Expected: main?.version ?? "" },
    InitCommit: { ID: runtime.init.version, Expected: runtime.init.version },
    SecurityOptions: runtime.securityOptions.length === 0 ? null : runtime.securityOptions,
    CDISpecDirs: null,
  };
}

function registries(facts: DaemonFacts): Json {
  const [networks, names] = [
    facts.insecureRegistries.filter((name) => name.includes("/")),
    facts.insecureRegistries.filter((name) => !name.includes("/")),
  ];
  return {
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
      InsecureRegistryCIDRs: networks,
      IndexConfigs: {
        "docker.io": {
          Name: "docker.io",
          Mirrors: facts.registryMirrors,
          Secure: true,
          Official: true,
        },
        ...Object.fromEntries(
          names.map((name) => [name, { Name: name, Mirrors: [], Secure: false, Official: false }]),
        ),
      },
      Mirrors: facts.registryMirrors,
    },
  };
}

function swarmToInfo(
  status: SwarmStatus,
  numbers: SwarmNumbers | { readonly error: string } | undefined,
  warnings: readonly string[],
): Json {
  const error = numbers !== undefined && "error" in numbers ? numbers.error : status.error;
  const known = numbers !== undefined && "cluster" in numbers ? numbers : undefined;
  return {
    NodeID: status.nodeId,
    NodeAddr: status.nodeAddress,
    LocalNodeState: status.state,
    ControlAvailable: status.controlAvailable,
    Error: error,
    RemoteManagers:
      status.remoteManagers.length === 0
        ? null
        : status.remoteManagers.map((peer) => ({ NodeID: peer.nodeId, Addr: peer.address })),
    Nodes: numberOrNothing(known?.nodes ?? 0),
    Managers: numberOrNothing(known?.managers ?? 0),
    Cluster: known && clusterToJson(known.cluster),
    Warnings: listOrNothing(warnings),
  };
}
