/**
 * A container as `GET /containers/{id}/json` shows it: Docker's full shape. Pure.
 *
 * What the user sent is shown as it was sent, where Docker shows requests; the rest is what came out of it. Containers of
 * tasks have no request: theirs is told from the configuration.
 */
import type { HealthConfig, Mount } from "../../common/api/generated/api.ts";
import { maskedPaths, readonlyPaths } from "../../common/container/hidden-paths.ts";
import type { ImageConfig } from "../../common/container/images.ts";
import type { Container, ContainerConfig, MountPoint } from "../../common/container/types.ts";
import { type Json, timeToJson } from "./common.ts";
import { deviceLimitsToJson } from "./device-limits.ts";
import { type ContainerNetworking, networkSettingsToJson, portBindingsToJson } from "./endpoint.ts";
import { hostResourcesToJson } from "./host-resources.ts";
import { mountToJson } from "./mount.ts";

/** What is shown besides the container itself. */
export interface ContainerView {
  readonly container: Container;
  /** Of its image; undefined when that is gone. */
  readonly image: ImageConfig | undefined;
  readonly execIds: readonly string[];
  readonly snapshotter: string;
  readonly networking: ContainerNetworking;
  readonly sizes: { readonly ownBytes: number; readonly rootBytes: number } | undefined;
}

/** The container in full. */
export function containerToInspect(view: ContainerView): Json {
  const { container, sizes } = view;
  const { config } = container;
  const shown = shownRequest(config);
  return {
    Id: container.id,
    Created: timeToJson(container.createdAtMs),
    Path: container.args[0] ?? "",
    Args: container.args.slice(1),
    State: stateToJson(container),
    Image: container.imageId,
    ResolvConfPath: "",
    HostnamePath: "",
    HostsPath: "",
    LogPath: container.logPath,
    Name: `/${container.name}`,
    RestartCount: container.state.restartCount,
    Driver: view.snapshotter,
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: view.execIds.length === 0 ? null : view.execIds,
    HostConfig: overlay(hostConfigOf(container), shown.host, updatable),
    GraphDriver: { Data: null, Name: view.snapshotter },
    SizeRw: sizes?.ownBytes,
    SizeRootFs: sizes?.rootBytes,
    Mounts: container.mounts.map(mountPointToJson),
    Config: overlay(configOf(view), shown.config, merged),
    NetworkSettings: networkSettingsToJson(container, view.networking, exposedPorts(view)),
  };
}

function stateToJson(container: Container): Json {
  const { state } = container;
  const { phase, health } = state;
  return {
    Status: phase,
    Running: phase === "running" || phase === "paused" || phase === "restarting",
    Paused: phase === "paused",
    Restarting: phase === "restarting",
    OOMKilled: state.oomKilled,
    Dead: phase === "dead",
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: timeToJson(state.startedAtMs),
    FinishedAt: timeToJson(state.finishedAtMs),
    Health:
      health.status === "none"
        ? undefined
        : {
            Status: health.status,
            FailingStreak: health.failingStreak,
            Log: health.probes.map((probe) => ({
              Start: timeToJson(probe.startMs),
              End: timeToJson(probe.endMs),
              ExitCode: probe.exitCode,
              Output: probe.output,
            })),
          },
  };
}

/** The request as it was sent, in its two parts; empty for containers of tasks. */
function shownRequest(config: ContainerConfig): { config: object; host: object } {
  if (config.shown === "") return { config: {}, host: {} };
  const body = JSON.parse(config.shown) as Record<string, unknown>;
  const key = Object.keys(body).find((name) => name.toLowerCase() === "hostconfig");
  const host = key === undefined ? {} : body[key];
  return { config: body, host: typeof host === "object" && host !== null ? host : {} };
}

/** Fields that updates change, or that are shown as they came out: the request's words for them are not shown. */
const updatable = new Set(
  (
    "RestartPolicy CpuShares Memory NanoCpus BlkioWeight CpuPeriod CpuQuota CpusetCpus CpusetMems MemoryReservation " +
    "MemorySwap MemorySwappiness OomKillDisable PidsLimit CgroupnsMode IpcMode LogConfig NetworkMode Runtime ShmSize"
  )
    .toLowerCase()
    .split(" "),
);
const merged = new Set(
  "Hostname Env Cmd Entrypoint WorkingDir User Labels StopSignal Healthcheck ExposedPorts Volumes"
    .toLowerCase()
    .split(" "),
);

/** The known fields, with what the request said where it said something. */
function overlay(known: Json, sent: object, keep: ReadonlySet<string>): Json {
  const bySpelling = new Map(Object.keys(known).map((key) => [key.toLowerCase(), key]));
  const result: Record<string, unknown> = { ...known };
  for (const [key, value] of Object.entries(sent)) {
    const name = bySpelling.get(key.toLowerCase());
    if (name !== undefined && value !== null && !keep.has(key.toLowerCase())) result[name] = value;
  }
  return result;
}

function configOf(view: ContainerView): Json {
  const { container, image } = view;
  const { config } = container;
  const own = config.entrypoint !== undefined;
  const entrypoint = config.entrypoint ?? image?.entrypoint ?? [];
  const command = config.command ?? (own ? [] : (image?.command ?? []));
  const sent = shownRequest(config).config as { Volumes?: object };
  const ports = exposedPorts(view);
  const volumes = [...(image?.volumes ?? []), ...Object.keys(sent.Volumes ?? {})];
  return {
    Hostname: hostnameOf(container),
    Domainname: config.domainName,
    User: container.user,
    AttachStdin: config.attachStdin,
    AttachStdout: config.attachStdout,
    AttachStderr: config.attachStderr,
    ExposedPorts: ports.length === 0 ? undefined : setToJson(ports),
    Tty: config.tty,
    OpenStdin: config.openStdin,
    StdinOnce: config.stdinOnce,
    Env: container.env,
    Cmd: command.length === 0 ? null : command,
    Healthcheck: healthToJson(container.health),
    Image: config.image,
    Volumes: volumes.length === 0 ? null : setToJson(volumes),
    WorkingDir: container.workingDir,
    Entrypoint: entrypoint.length === 0 ? null : entrypoint,
    OnBuild: null,
    Labels: container.labels,
    StopSignal: container.stopSignal === "" ? undefined : container.stopSignal,
    StopTimeout: config.stopTimeoutS,
    Shell: undefined,
  };
}

/** Those of the image too. */
function exposedPorts({ container, image }: Pick<ContainerView, "container" | "image">) {
  return [...new Set([...(image?.exposedPorts ?? []), ...container.config.exposedPorts])];
}

function hostnameOf(container: Container): string {
  const { config, id } = container;
  if (config.hostname !== "") return config.hostname;
  return config.networks[0]?.startsWith("container:") ? "" : id.slice(0, 12);
}

/** A set as Go writes one. */
function setToJson(keys: readonly string[]): Json {
  return Object.fromEntries(keys.map((key) => [key, {}]));
}

/** A health check as images and containers show it. */
export function healthToJson(health: HealthConfig | undefined): Json | undefined {
  if (health === undefined || health.test.length === 0) return undefined;
  return {
    Test: health.test,
    Interval: health.intervalNs || undefined,
    Timeout: health.timeoutNs || undefined,
    StartPeriod: health.startPeriodNs || undefined,
    StartInterval: health.startIntervalNs || undefined,
    Retries: health.retries || undefined,
  };
}

function hostConfigOf(container: Container): Json {
  const { config } = container;
  return {
    Binds: null,
    ContainerIDFile: "",
    LogConfig: {
      Type: config.logDriver?.name || "json-file",
      Config: config.logDriver?.options ?? {},
    },
    NetworkMode: networkMode(config),
    PortBindings: portBindingsToJson(config),
    ...hostResourcesToJson(config),
    AutoRemove: config.autoRemove,
    VolumeDriver: "",
    VolumesFrom: orNull(config.volumesFrom),
    ConsoleSize: [0, 0],
    CapAdd: orNull(config.capabilityAdd),
    CapDrop: orNull(config.capabilityDrop),
    CgroupnsMode: config.cgroupnsMode || "private",
    Dns: config.dns,
    DnsOptions: config.dnsOptions,
    DnsSearch: config.dnsSearch,
    ExtraHosts: orNull(config.extraHosts),
    GroupAdd: orNull(config.groups),
    IpcMode: config.ipcMode || "private",
    Cgroup: "",
    Links: null,
    OomScoreAdj: config.oomScoreAdj,
    PidMode: config.pidMode,
    Privileged: config.privileged,
    PublishAllPorts: config.publishAll,
    ReadonlyRootfs: config.readOnly,
    SecurityOpt: null,
    StorageOpt: config.storageBytes ? { size: `${config.storageBytes}` } : undefined,
    Tmpfs: undefined,
    UTSMode: config.utsMode,
    UsernsMode: "",
    ShmSize: config.shmSizeBytes || 64 * 2 ** 20,
    Sysctls: Object.keys(config.sysctls).length === 0 ? undefined : config.sysctls,
    Runtime: container.runtime,
    Isolation: "",
    CgroupParent: config.cgroupParent,
    ...deviceLimitsToJson(config),
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    Devices: config.devices.map((device) => ({
      PathOnHost: device.pathOnHost,
      PathInContainer: device.pathInContainer,
      CgroupPermissions: device.permissions,
    })),
    DeviceRequests: null,
    Ulimits: config.ulimits.map((u) => ({ Name: u.name, Hard: u.hard, Soft: u.soft })),
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    Mounts: config.shown === "" ? mountsToJson(config.mounts) : undefined,
    Init: config.init,
    MaskedPaths: config.privileged ? null : maskedPaths,
    ReadonlyPaths: config.privileged ? null : readonlyPaths,
  };
}

function mountsToJson(mounts: readonly Mount[]): readonly Json[] | undefined {
  return mounts.length === 0 ? undefined : mounts.map(mountToJson);
}

/** The main network as `HostConfig.NetworkMode` names it. */
export function networkMode(config: ContainerConfig): string {
  const [main = ""] = config.networks;
  return main === "" || main === "default" ? "bridge" : main;
}

function orNull<T>(list: readonly T[]): readonly T[] | null {
  return list.length === 0 ? null : list;
}

/** A mount as it came out. */
export function mountPointToJson(mount: MountPoint): Json {
  return {
    Type: mount.type,
    Name: mount.name === "" ? undefined : mount.name,
    Source: mount.source,
    Destination: mount.destination,
    Driver: mount.driver === "" ? undefined : mount.driver,
    Mode: mount.mode,
    RW: mount.writable,
    Propagation: mount.propagation,
  };
}
