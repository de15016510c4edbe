/**
 * `HostConfig` of `POST /containers/create` → the parts of `ContainerConfig` the node decides. Pure.
 *
 * Everything a client can say is read, or refused by the name of its field: nothing asked for is left out in silence.
 */
import { Driver, Ulimit } from "../../common/api/generated/api.ts";
import type { ContainerConfig, DeviceMapping } from "../../common/container/types.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { storageOptionFault, storageSizeFrom } from "../../common/spec/storage-size.ts";
import { parseBind, tmpfsFromText } from "./binds.ts";
import { blockDevicesFromJson, deviceRulesFromJson } from "./device-limits.ts";
import { hostResourcesFromJson, restartPolicyFromJson } from "./host-resources.ts";
import { mountFromJson } from "./mount.ts";
import type { JsonObject } from "./reader.ts";
import { privilegesFromOptions } from "./security-options.ts";

/** What of this node a request is checked against. */
export interface NodeLimits {
  readonly cpus: number;
  /** Names of the programs that run containers, the default first. */
  readonly runtimes: readonly string[];
}

/** The parts of a container's configuration that stand in `HostConfig`. */
export type HostPart = Omit<
  ContainerConfig,
  | "name"
  | "image"
  | "platform"
  | "entrypoint"
  | "command"
  | "env"
  | "workingDir"
  | "user"
  | "hostname"
  | "domainName"
  | "tty"
  | "openStdin"
  | "stdinOnce"
  | "attachStdin"
  | "attachStdout"
  | "attachStderr"
  | "labels"
  | "stopSignal"
  | "stopTimeoutS"
  | "health"
  | "networks"
  | "joins"
  | "ports"
  | "exposedPorts"
  | "publishAll"
  | "anonymousVolumes"
  | "files"
  | "task"
  | "shown"
>;

/**
 * @param volumePaths Places of volumes without a name from the binds, for the caller to add to.
 * @throws ClusterError `invalid-argument` or `unimplemented` naming the field.
 */
export function hostPartFromJson(
  json: JsonObject,
  o: { readonly limits: NodeLimits; readonly volumePaths: string[] },
): HostPart {
  refuseUnsupported(json, o.limits);
  const autoRemove = json.bool("AutoRemove");
  const shmSizeBytes = json.integer("ShmSize");
  if (shmSizeBytes < 0) throw json.invalid("SHM size can not be less than 0");
  const oomScoreAdj = json.integer("OomScoreAdj");
  if (Math.abs(oomScoreAdj) > 1000)
    throw json.invalid(`Invalid value ${oomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  const privileges = privilegesFromOptions(json.strings("SecurityOpt"));
  return {
    groups: json.strings("GroupAdd"),
    init: json.optionalBool("Init"),
    readOnly: json.bool("ReadonlyRootfs"),
    privileged: json.bool("Privileged"),
    capabilityAdd: json.stringOrStrings("CapAdd") ?? [],
    capabilityDrop: json.stringOrStrings("CapDrop") ?? [],
    privileges,
    ulimits: json.objects("Ulimits").map(ulimitFromJson),
    sysctls: json.stringMap("Sysctls"),
    oomScoreAdj,
    ...hostResourcesFromJson(json, o.limits.cpus),
    devices: json.objects("Devices").map(deviceFromJson),
    deviceRules: deviceRulesFromJson(json),
    blkioDevices: blockDevicesFromJson(json),
    ...storageFromJson(json),
    mounts: mountsFromJson(json, o.volumePaths),
    volumesFrom: json.strings("VolumesFrom").map(checkVolumesFrom),
    shmSizeBytes,
    ipcMode: mode(json, "IpcMode", "IPC", ["none", "private", "shareable", "host"]),
    pidMode: mode(json, "PidMode", "PID", ["host"]),
    utsMode: mode(json, "UTSMode", "UTS", ["host"], false),
    cgroupnsMode: mode(json, "CgroupnsMode", "cgroup namespace", ["private", "host"], false),
    cgroupParent: json.string("CgroupParent"),
    dns: json.strings("Dns"),
    dnsSearch: json.strings("DnsSearch"),
    dnsOptions: json.strings("DnsOptions"),
    extraHosts: json.strings("ExtraHosts").map(checkHost),
    logDriver: logDriverFromJson(json.object("LogConfig")),
    restartPolicy: restartPolicyFromJson(json.object("RestartPolicy"), autoRemove),
    autoRemove,
  };
}

/** Fields this daemon has no use for, with what is to be said of them. */
const unsupported: readonly (readonly [string, string])[] = [
  ["Links", "use a network of your own, in which containers find each other by name"],
];

function refuseUnsupported(json: JsonObject, limits: NodeLimits): void {
  for (const [name, remedy] of unsupported) {
    if (json.sizeOf(name) > 0) throw refused(`HostConfig.${name}`, remedy);
  }
  if (json.sizeOf("DeviceRequests") > 0) {
    const [first] = json.objects("DeviceRequests");
    const wanted = first?.stringLists("Capabilities") ?? [];
    throw json.invalid(
      `could not select device driver ${JSON.stringify(first?.string("Driver") ?? "")} with capabilities: [${wanted.map((set) => `[${set.join(" ")}]`).join(" ")}]`,
    );
  }
  for (const name of ["CpuRealtimePeriod", "CpuRealtimeRuntime"]) {
    if (json.integer(name) !== 0)
      throw json.invalid("Your kernel does not support CPU real-time scheduler");
  }
  // Empty lists are what --security-opt systempaths=unconfined comes to.
  for (const name of ["MaskedPaths", "ReadonlyPaths"]) {
    if (json.has(name)) throw refused(`HostConfig.${name}`, "use --privileged");
  }
  const users = json.string("UsernsMode");
  if (users !== "" && users !== "host") throw json.invalid("invalid user namespace mode");
  const isolation = json.string("Isolation");
  if (isolation !== "" && isolation.toLowerCase() !== "default")
    throw json.invalid(`invalid isolation '${isolation}' on linux`);
  const runtime = json.string("Runtime");
  if (runtime !== "" && !limits.runtimes.includes(runtime))
    throw json.invalid(`unknown or invalid runtime name: ${runtime}`);
  if (runtime !== "" && runtime !== limits.runtimes[0])
    throw refused("HostConfig.Runtime", `this node runs all containers with ${limits.runtimes[0]}`);
}

function refused(field: string, remedy: string): ClusterError {
  return new ClusterError("unimplemented", `${field} is not supported: ${remedy}`);
}

/** `--storage-opt size=…`, of which the node makes a file system for the container's layer. */
function storageFromJson(json: JsonObject): Pick<ContainerConfig, "storageBytes"> {
  const options = json.stringMap("StorageOpt");
  const fault = storageOptionFault(options);
  if (fault !== undefined) throw json.invalid(`HostConfig.StorageOpt: ${fault}`);
  const storageBytes = storageSizeFrom(options["size"] ?? "");
  return storageBytes === undefined ? {} : { storageBytes };
}

function mountsFromJson(json: JsonObject, volumePaths: string[]) {
  const driver = json.string("VolumeDriver");
  const binds = json.strings("Binds").flatMap((text) => {
    const parsed = parseBind(text, driver);
    if ("mount" in parsed) return [parsed.mount];
    volumePaths.push(parsed.anonymous);
    return [];
  });
  const tmpfs = Object.entries(json.stringMap("Tmpfs")).map(([path, text]) =>
    tmpfsFromText(path, text),
  );
  const mounts = json.objects("Mounts").map((mount) => {
    const parsed = mountFromJson(mount);
    if (parsed.target === "")
      throw json.invalid(
        `invalid mount config for type "${parsed.type}": field Target must not be empty`,
      );
    if (!parsed.target.startsWith("/"))
      throw json.invalid(
        `invalid mount config for type "${parsed.type}": invalid mount path: '${parsed.target}' mount path must be absolute`,
      );
    if (parsed.type === "bind" && parsed.source === "")
      throw json.invalid(`invalid mount config for type "bind": field Source must not be empty`);
    return parsed;
  });
  const all = [...binds, ...tmpfs, ...mounts];
  const targets = all.map((mount) => mount.target);
  const twice = targets.find((target, i) => targets.indexOf(target) !== i);
  if (twice !== undefined) throw json.invalid(`Duplicate mount point: ${twice}`);
  return all;
}

/** `container:NAME` or one of the words. */
function mode(
  json: JsonObject,
  field: string,
  what: string,
  words: readonly string[],
  ofContainer = true,
): string {
  const text = json.string(field);
  const isContainer = ofContainer && /^container:.+/.test(text);
  if (text === "" || words.includes(text) || isContainer) return text;
  throw json.invalid(`invalid ${what} mode: ${text}`);
}

function ulimitFromJson(json: JsonObject): Ulimit {
  const soft = json.integer("Soft");
  const hard = json.integer("Hard");
  if (hard !== -1 && (soft === -1 || soft > hard))
    throw json.invalid(
      `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`,
    );
  return Ulimit.create({ name: json.string("Name"), soft, hard });
}

function deviceFromJson(json: JsonObject): DeviceMapping {
  const pathOnHost = json.string("PathOnHost");
  const permissions = json.string("CgroupPermissions") || "rwm";
  if (pathOnHost === "")
    throw json.invalid("error gathering device information: PathOnHost is empty");
  if (!/^[rwm]{1,3}$/.test(permissions)) throw json.invalid(`invalid device mode: ${permissions}`);
  return { pathOnHost, pathInContainer: json.string("PathInContainer") || pathOnHost, permissions };
}

function checkVolumesFrom(text: string): string {
  const [name = "", mode] = text.split(":");
  if (name === "")
    throw new ClusterError("invalid-argument", `invalid volumes-from specification: ${text}`);
  if (mode !== undefined && !["ro", "rw", "z", "Z", ""].includes(mode))
    throw new ClusterError("invalid-argument", `invalid mode for volumes-from: ${mode}`);
  return text;
}

function checkHost(text: string): string {
  const at = text.search(/[:=]/);
  if (at <= 0 || at === text.length - 1)
    throw new ClusterError("invalid-argument", `bad format for add-host: ${JSON.stringify(text)}`);
  const address = text.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
  const isAddress = /^[0-9a-fA-F:.]+$/.test(address) || address === "host-gateway";
  if (!isAddress)
    throw new ClusterError(
      "invalid-argument",
      `invalid IP address in add-host: ${JSON.stringify(address)}`,
    );
  return `${text.slice(0, at)}:${address}`;
}

function logDriverFromJson(json: JsonObject | undefined): Driver | undefined {
  const name = json?.string("Type") ?? "";
  const options = json?.stringMap("Config") ?? {};
  if (name === "" && Object.keys(options).length === 0) return undefined;
  return Driver.create({ name: name || "json-file", options });
}
