/**
 * `GET /info` and `GET /version` from the daemon's facts and the state of the swarm. Pure.
 */
import type { Cluster } from "../../common/api/generated/api.ts";
import type { DaemonFacts, SwarmStatus } from "../ports.ts";
import { apiVersion, apiVersionMin } from "../versions.ts";
import { type Json, listOrNothing, numberOrNothing } from "./common.ts";
import { clusterToJson } from "./swarm.ts";

/** What a manager knows of its cluster. */
export interface SwarmNumbers {
  readonly cluster: Cluster;
  readonly nodes: number;
  readonly managers: number;
}

const twoManagersText = `WARNING: Running Swarm in a two-manager configuration. This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.`;

/** `GET /version`. @param runtime What the daemon runs on, shown where Docker shows its Go version. */
export function versionToJson(facts: DaemonFacts, runtime: string): Json {
  const arch = facts.platforms[0]?.architecture ?? "";
  const common = {
    ApiVersion: apiVersion,
    Arch: arch,
    BuildTime: facts.buildTime,
    GitCommit: facts.gitCommit,
    GoVersion: runtime,
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
    ],
    Version: facts.version,
    ...common,
    Experimental: facts.experimental ? true : undefined,
  };
}

/** `GET /info`. Containers and images are counted once there is a runtime. */
export function infoToJson(
  facts: DaemonFacts,
  status: SwarmStatus,
  numbers: SwarmNumbers | { readonly error: string } | undefined,
  now: number,
): Json {
  const swarmWarnings =
    numbers !== undefined && "managers" in numbers && numbers.managers === 2
      ? [twoManagersText]
      : [];
  return {
    ID: facts.engineId,
    ...containerCounts,
    ...machine(facts),
    Debug: facts.debug,
    SystemTime: new Date(now).toISOString(),
    ...features(facts),
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
    Warnings: [...facts.warnings, ...swarmWarnings],
  };
}

const containerCounts = {
  Containers: 0,
  ContainersRunning: 0,
  ContainersPaused: 0,
  ContainersStopped: 0,
  Images: 0,
};

function machine(facts: DaemonFacts): Json {
  return {
    KernelVersion: facts.kernelVersion,
    OperatingSystem: facts.operatingSystem,
    OSVersion: facts.osVersion,
    OSType: "linux",
    Architecture: facts.machine,
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    CgroupDriver: "cgroupfs",
    CgroupVersion: facts.cgroupVersion,
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    BridgeNfIptables: false,
    BridgeNfIp6tables: false,
    OomKillDisable: false,
    NFd: 0,
    NGoroutines: 0,
    NEventsListener: 0,
  };
}

function features(facts: DaemonFacts): Json {
  return {
    Driver: "overlayfs",
    DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]],
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "null", "overlay"],
      Authorization: null,
      Log: ["json-file"],
    },
    LoggingDriver: "json-file",
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
      InsecureRegistryCIDRs: ["127.0.0.0/8"],
      IndexConfigs: {
        "docker.io": {
          Name: "docker.io",
          Mirrors: facts.registryMirrors,
          Secure: true,
          Official: true,
        },
        ...Object.fromEntries(
          facts.insecureRegistries.map((name) => [
            name,
            { Name: name, Mirrors: [], Secure: false, Official: false },
          ]),
        ),
      },
      Mirrors: facts.registryMirrors,
    },
    GenericResources: null,
    Runtimes: { runc: { path: "runc" } },
    DefaultRuntime: "runc",
    Isolation: "",
    InitBinary: "",
    ContainerdCommit: { ID: "", Expected: "" },
    RuncCommit: { ID: "", Expected: "" },
    InitCommit: { ID: "", Expected: "" },
    SecurityOptions: null,
    CDISpecDirs: null,
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
