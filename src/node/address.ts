/**
 * Addresses of a node: what `--listen-addr`, `--advertise-addr` and `--data-path-addr` mean on this machine's interfaces.
 *
 * Pure; the interfaces are an argument. Follows Docker's rules: an interface name stands for its one address, and without
 * any setting a machine with exactly one candidate uses that, else the user has to choose.
 */
import { isIP } from "node:net";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Port of the managers' RPC. */
export const defaultPort = 2377;

/** One address of one interface. */
export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly address: string;
  readonly family: "IPv4" | "IPv6";
  readonly internal: boolean;
}

/** `HOST:PORT` in two parts; IPv6 hosts without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Joins host and port, with brackets around IPv6. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Splits `HOST[:PORT]`; the port is `portDefault` where none is given.
 *
 * @throws ClusterError invalid-argument naming `what`.
 */
export function parseHostPort(text: string, portDefault: number, what: string): HostPort {
  if (isIP(text) === 6) return { host: text, port: portDefault };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = match?.[3] === undefined ? portDefault : Number(match[3]);
  if (match === null || host === "" || port > 65_535) {
    throw new ClusterError(
      "invalid-argument",
      `invalid ${what} ${JSON.stringify(text)}: give ADDRESS or ADDRESS:PORT`,
    );
  }
  return { host, port };
}

/**
 * The host of a `HOST[:PORT]` that hardly ever changes and is asked for by every request: the last answer is remembered.
 *
 * @throws ClusterError invalid-argument, as `parseHostPort`.
 */
export function hosts(): (address: string) => string {
  let last = { address: "", host: "" };
  return (address) => {
    if (last.address !== address)
      last = { address, host: parseHostPort(address, 0, "address").host };
    return last.host;
  };
}

/**
 * Where the manager listens: an address or an interface name, with port.
 *
 * @throws ClusterError invalid-argument with Docker's text.
 */
export function resolveListen(setting: string, interfaces: readonly InterfaceAddress[]): HostPort {
  const parsed = parseHostPort(setting === "" ? "0.0.0.0" : setting, defaultPort, "listen address");
  if (isIP(parsed.host) !== 0) return parsed;
  return { host: interfaceAddress(parsed.host, interfaces, "--listen-addr"), port: parsed.port };
}

/**
 * What other nodes are told: `setting` (address or interface name), else the listen address when it names one, else the one
 * address this machine has.
 *
 * @throws ClusterError invalid-argument with Docker's texts when there is no choice, or more than one.
 */
export function resolveAdvertise(
  setting: string,
  listen: HostPort,
  interfaces: readonly InterfaceAddress[],
): HostPort {
  if (setting !== "") {
    const parsed = parseHostPort(setting, listen.port, "advertise address");
    if (isUnspecified(parsed.host)) {
      throw new ClusterError(
        "invalid-argument",
        "advertise address must be a non-zero IP address or network interface (with optional port number)",
      );
    }
    if (isIP(parsed.host) !== 0) return parsed;
    return {
      host: interfaceAddress(parsed.host, interfaces, "--advertise-addr"),
      port: parsed.port,
    };
  }
  if (!isUnspecified(listen.host)) return listen;
  return { host: onlyAddress(interfaces), port: listen.port };
}

/** Whether an address is one of this machine's own. */
export function isOwnAddress(host: string, interfaces: readonly InterfaceAddress[]): boolean {
  return interfaces.some((i) => i.address === host);
}

/**
 * What to advertise at a later start: as `resolveAdvertise`, but an address given as such that used to be the machine's own
 * and is not any more gives way to the one address the machine has now.
 *
 * @throws ClusterError invalid-argument as `resolveAdvertise`.
 */
export function resolveAdvertiseAgain(
  before: { readonly setting: string; readonly wasOwn: boolean },
  listen: HostPort,
  interfaces: readonly InterfaceAddress[],
): HostPort {
  const found = resolveAdvertise(before.setting, listen, interfaces);
  const isGone = before.wasOwn && isIP(found.host) !== 0 && !isOwnAddress(found.host, interfaces);
  if (!isGone) return found;
  return { host: onlyAddress(interfaces), port: found.port };
}

/**
 * Address of the data path: `setting`, else that of the management traffic.
 *
 * @throws ClusterError invalid-argument.
 */
export function resolveDataPath(
  setting: string,
  advertise: HostPort,
  interfaces: readonly InterfaceAddress[],
): string {
  if (setting === "") return advertise.host;
  if (isIP(setting) !== 0 && !isUnspecified(setting)) return setting;
  if (isUnspecified(setting)) {
    throw new ClusterError(
      "invalid-argument",
      "data path address must be a non-zero IP address or network interface",
    );
  }
  return interfaceAddress(setting, interfaces, "--data-path-addr");
}

/** Names of devices that the cluster itself makes; they never carry management traffic. */
function isOwnDevice(name: string): boolean {
  return /^(docker\d|docker_gwbridge$|br-[0-9a-f]{12}$|skep|sk[0-9a-f]{4}-|veth|vx-)/.test(name);
}

function isUnspecified(host: string): boolean {
  // IPv6 has many spellings of the one address: ::, ::0, 0:0:0:0:0:0:0:0, ::0.0.0.0.
  return host === "" || host === "0.0.0.0" || (isIP(host) === 6 && /^[0:.]+$/.test(host));
}

function interfaceAddress(
  name: string,
  interfaces: readonly InterfaceAddress[],
  flag: string,
): string {
  const found = interfaces.filter((i) => i.interfaceName === name);
  if (found.length === 0) {
    throw new ClusterError(
      "invalid-argument",
      `${flag} ${name}: no IP address and no interface of this machine has that name`,
    );
  }
  const usable = found.filter((i) => !i.address.toLowerCase().startsWith("fe80:"));
  const v4 = usable.filter((i) => i.family === "IPv4");
  const choice = v4.length > 0 ? v4 : usable;
  const [only, second] = choice;
  if (only === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `interface ${name} has no usable IPv4 or IPv6 address`,
    );
  }
  if (second !== undefined) {
    throw new ClusterError(
      "invalid-argument",
      `interface ${name} has more than one ${only.family} address (${only.address} and ${second.address}) - specify one with ${flag}`,
    );
  }
  return only.address;
}

function onlyAddress(interfaces: readonly InterfaceAddress[]): string {
  const usable = interfaces.filter(
    (i) =>
      !i.internal &&
      !isOwnDevice(i.interfaceName) &&
      !i.address.toLowerCase().startsWith("fe80:") &&
      !i.address.startsWith("169.254."),
  );
  const v4 = usable.filter((i) => i.family === "IPv4");
  const choice = v4.length > 0 ? v4 : usable;
  const [first, second] = choice;
  if (first === undefined) {
    throw new ClusterError(
      "invalid-argument",
      "could not find the system's IP address - specify one with --advertise-addr",
    );
  }
  if (second !== undefined) {
    const where =
      first.interfaceName === second.interfaceName
        ? `on interface ${first.interfaceName} (${first.address} and ${second.address})`
        : `on different interfaces (${first.address} on ${first.interfaceName} and ${second.address} on ${second.interfaceName})`;
    throw new ClusterError(
      "invalid-argument",
      `could not choose an IP address to advertise since this system has multiple addresses ${where} - specify one with --advertise-addr`,
    );
  }
  return first.address;
}
