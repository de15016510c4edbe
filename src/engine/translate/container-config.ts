/**
 * `POST /containers/create` → `ContainerConfig`, with the checks Docker makes before it makes a container. Pure.
 */
import { HealthConfig, type Platform } from "../../common/api/generated/api.ts";
import type { ContainerConfig, NetworkJoin } from "../../common/container/types.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { exposedPort, joinFromJson, macAddressOf, portsFromJson } from "./endpoint.ts";
import { hostPartFromJson, type NodeLimits } from "./host-config.ts";
import type { JsonObject } from "./reader.ts";

/** What a request for a container comes to. */
export interface ContainerRequest {
  readonly config: ContainerConfig;
  readonly warnings: readonly string[];
}

/** What is known besides the body. */
export interface ContainerContext {
  /** As asked for, without check. */
  readonly name: string;
  readonly platform: Platform | undefined;
  readonly limits: NodeLimits;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** @throws ClusterError `invalid-argument` for a name Docker would refuse. */
export function checkContainerName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (name !== "" && (name.length < 2 || !namePattern.test(name)))
    throw new ClusterError(
      "invalid-argument",
      `Invalid container name (${text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    );
  return name;
}

/** @throws ClusterError `invalid-argument` or `unimplemented` naming the field, in Docker's words where it has some. */
export function containerConfigFromJson(
  body: JsonObject,
  context: ContainerContext,
): ContainerRequest {
  const name = checkContainerName(context.name);
  if (Object.keys(body.raw).length === 0)
    throw body.invalid("config cannot be empty in order to create a container");
  const host = body.objectOrEmpty("HostConfig");
  const volumePaths = [...body.keys("Volumes")];
  const hostPart = hostPartFromJson(host, { limits: context.limits, volumePaths });
  const taken = new Set(hostPart.mounts.map((mount) => mount.target));
  const networks = networksFromJson(body, host);
  checkNetworkConflicts(body, host, networks[0] ?? "");
  const consoleSize = host.consoleSize("ConsoleSize");
  const config: ContainerConfig = {
    ...hostPart,
    ...(consoleSize === undefined ? {} : { consoleSize }),
    ...processPart(body),
    name,
    image: body.string("Image"),
    platform: context.platform,
    hostname: body.string("Hostname"),
    domainName: body.string("Domainname"),
    labels: body.stringMap("Labels"),
    stopSignal: body.string("StopSignal"),
    stopTimeoutS: body.optionalInteger("StopTimeout"),
    health: healthFromJson(body.object("Healthcheck")),
    networks,
    joins: joinsFromJson(body, host, networks),
    ...portsPart(body, host, networks[0] ?? ""),
    anonymousVolumes: volumePaths
      .map((path) => checkVolumePath(body, path))
      .filter((path) => !taken.has(path)),
    files: [],
    task: undefined,
    shown: JSON.stringify(body.raw),
  };
  if (config.image === "") throw body.invalid("no image specified");
  return { config, warnings: warningsOf(host, networks[0] ?? "") };
}

function processPart(body: JsonObject) {
  const workingDir = body.string("WorkingDir");
  if (workingDir !== "" && !workingDir.startsWith("/"))
    throw body.invalid(
      `the working directory '${workingDir}' is invalid, it needs to be an absolute path`,
    );
  const env = body.strings("Env");
  const unnamed = env.find((line) => line === "" || line.startsWith("="));
  if (unnamed !== undefined) throw body.invalid(`invalid environment variable: ${unnamed}`);
  const entrypoint = body.stringOrStrings("Entrypoint");
  return {
    // `--entrypoint ""` is sent as one empty string and drops that of the image.
    entrypoint: entrypoint?.length === 1 && entrypoint[0] === "" ? [] : emptyIsNothing(entrypoint),
    command: emptyIsNothing(body.stringOrStrings("Cmd")),
    env,
    workingDir,
    user: body.string("User"),
    tty: body.bool("Tty"),
    openStdin: body.bool("OpenStdin"),
    stdinOnce: body.bool("StdinOnce"),
    attachStdin: body.bool("AttachStdin"),
    attachStdout: body.bool("AttachStdout"),
    attachStderr: body.bool("AttachStderr"),
  };
}

/** An empty list means that nothing was said. */
function emptyIsNothing(list: readonly string[] | undefined): readonly string[] | undefined {
  return list?.length === 0 ? undefined : list;
}

function checkVolumePath(body: JsonObject, path: string): string {
  if (!path.startsWith("/") || path === "/")
    throw body.invalid(
      `invalid volume specification: '${path}': invalid mount config for type "volume": invalid mount path: '${path}' mount path must be absolute`,
    );
  return path.replace(/(.)\/$/, "$1");
}

const healthTimes = [
  ["Interval", "intervalNs"],
  ["Timeout", "timeoutNs"],
  ["StartPeriod", "startPeriodNs"],
  ["StartInterval", "startIntervalNs"],
] as const;

function healthFromJson(json: JsonObject | undefined): HealthConfig | undefined {
  if (json === undefined) return undefined;
  for (const [field] of healthTimes) {
    const ns = json.integer(field);
    if (ns !== 0 && ns < 1e6) throw json.invalid(`${field} in Healthcheck cannot be less than 1ms`);
  }
  const retries = json.integer("Retries");
  if (retries < 0) throw json.invalid("Retries in Healthcheck cannot be negative");
  return HealthConfig.create({
    test: json.strings("Test"),
    ...Object.fromEntries(healthTimes.map(([field, key]) => [key, json.integer(field)])),
    retries,
  });
}

/** The main network first, then what else the endpoints name. */
function networksFromJson(body: JsonObject, host: JsonObject): readonly string[] {
  if (body.bool("NetworkDisabled")) return ["none"];
  const mode = host.string("NetworkMode");
  const main = mode === "" || mode === "bridge" ? "default" : mode;
  if (mode === "container:")
    throw host.invalid("Invalid network mode: missing container name or id");
  const named = body.objectOrEmpty("NetworkingConfig").keys("EndpointsConfig");
  const isMain = (name: string) =>
    name === main || name === mode || (main === "default" && name === "bridge");
  const others = named.filter((name) => !isMain(name));
  if (others.length > 0 && (main === "none" || main === "host" || main.startsWith("container:")))
    throw host.invalid(
      `conflicting options: cannot attach both ${main}-networking and user-defined networks`,
    );
  return [main, ...others];
}

function checkNetworkConflicts(body: JsonObject, host: JsonObject, main: string): void {
  const ofContainer = main.startsWith("container:");
  const conflict = (what: string) => host.invalid(`conflicting options: ${what}`);
  const hostname = body.string("Hostname");
  if (host.string("UTSMode") === "host" && hostname !== "")
    throw conflict("hostname and the UTS mode");
  if (ofContainer) {
    if (hostname !== "") throw conflict("hostname and the network mode");
    if (host.sizeOf("Dns") > 0) throw conflict("dns and the network mode");
    if (host.sizeOf("ExtraHosts") > 0)
      throw conflict("custom host-to-IP mapping and the network mode");
    if (host.sizeOf("PortBindings") > 0 || host.bool("PublishAllPorts"))
      throw conflict("port publishing and the container type network mode");
    if (body.sizeOf("ExposedPorts") > 0)
      throw conflict("port exposing and the container type network mode");
  }
  const mac = body.string("MacAddress");
  if (mac !== "" && (ofContainer || main === "host"))
    throw conflict("mac-address and the network mode");
}

/** What is said of each network; the hardware address of older clients is that of the main one. */
function joinsFromJson(
  body: JsonObject,
  host: JsonObject,
  networks: readonly string[],
): readonly NetworkJoin[] {
  const [main = "default"] = networks;
  if (main === "none" || main === "host" || main.startsWith("container:")) return [];
  const settings = body.objectOrEmpty("NetworkingConfig").objectOrEmpty("EndpointsConfig");
  const mode = host.string("NetworkMode");
  const mac = macAddressOf(body);
  return networks.flatMap((network) => {
    const keys = network === main ? [mode, main, main === "default" ? "bridge" : main] : [network];
    const said = keys.map((key) => settings.object(key)).find((one) => one !== undefined);
    if (said === undefined && (mac === "" || network !== main)) return [];
    const join = joinFromJson(network, said ?? body.objectOrEmpty(""));
    if (network !== main || mac === "") return [join];
    if (join.macAddress !== "" && join.macAddress !== mac)
      throw body.invalid(
        `the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty`,
      );
    return [{ ...join, macAddress: mac }];
  });
}

function portsPart(body: JsonObject, host: JsonObject, main: string) {
  const ports = portsFromJson(host);
  const exposedPorts = body.keys("ExposedPorts").map((key) => exposedPort(key, body));
  const hasNone = main === "none" || main === "host" || main.startsWith("container:");
  return {
    ports: hasNone ? [] : ports,
    exposedPorts,
    publishAll: !hasNone && host.bool("PublishAllPorts"),
  };
}

function warningsOf(host: JsonObject, main: string): readonly string[] {
  const warnings: string[] = [];
  const publishes = host.sizeOf("PortBindings") > 0 || host.bool("PublishAllPorts");
  if (main === "host" && publishes)
    warnings.push("Published ports are discarded when using host network mode");
  if (host.integer("KernelMemory") !== 0 || host.integer("KernelMemoryTCP") !== 0)
    warnings.push("Specifying a kernel memory limit is deprecated and has no effect");
  if (host.bool("OomKillDisable") && host.integer("Memory") === 0)
    warnings.push(
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
  return warnings;
}
