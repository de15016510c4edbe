/**
 * A container's part in networks: `EndpointSettings` and `PortBindings` of requests ↔ joins, places and bindings. Pure.
 */
import type { ContainerPlaces, NetworkPlace } from "../../common/container/networks.ts";
import type {
  Container,
  ContainerConfig,
  NetworkJoin,
  PortBinding,
} from "../../common/container/types.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { parseAddress } from "../../common/spec/cidr.ts";
import { isMacAddress } from "../../common/spec/mac-address.ts";
import type { Json } from "./common.ts";
import type { JsonObject } from "./reader.ts";

/** `EndpointSettings` of a request. @throws ClusterError naming the field. */
export function joinFromJson(network: string, json: JsonObject): NetworkJoin {
  if (json.sizeOf("Links") > 0) throw refusedLinks("Links");
  const ipam = json.objectOrEmpty("IPAMConfig");
  if (ipam.sizeOf("LinkLocalIPs") > 0)
    throw new ClusterError(
      "unimplemented",
      "IPAMConfig.LinkLocalIPs is not supported: use an address of the network's subnet",
    );
  if (json.integer("GwPriority") !== 0)
    throw new ClusterError(
      "unimplemented",
      "GwPriority is not supported: the first network of a container has its default route",
    );
  const addresses = [addressOf(ipam, "IPv4Address", 4), addressOf(ipam, "IPv6Address", 6)].filter(
    (address) => address !== "",
  );
  return {
    network,
    aliases: json.strings("Aliases"),
    addresses,
    macAddress: macAddressOf(json),
    driverOptions: json.stringMap("DriverOpts"),
  };
}

/** Empty where nothing is said. @throws ClusterError `invalid-argument` */
export function macAddressOf(json: JsonObject): string {
  const text = json.string("MacAddress");
  if (text === "" || isMacAddress(text)) return text.toLowerCase();
  throw json.invalid(
    `invalid MAC address: MacAddress ${JSON.stringify(text)} is none of one device; give one such as 02:42:ac:11:00:02`,
  );
}

/** Links name containers one by one; what they did is done by networks of the user's. */
export function refusedLinks(field: string): ClusterError {
  return new ClusterError(
    "unimplemented",
    `${field} is not supported: use a network of your own, in which containers find each other by name`,
  );
}

function addressOf(json: JsonObject, field: string, family: 4 | 6): string {
  const text = json.string(field);
  if (text !== "" && parseAddress(text)?.family !== family)
    throw json.invalid(`invalid IPv${family} address: ${text}`);
  return text;
}

/** `PortBindings` of a request. @throws ClusterError naming what is wrong. */
export function portsFromJson(host: JsonObject): readonly PortBinding[] {
  const bindings = host.objectOrEmpty("PortBindings");
  return host.keys("PortBindings").flatMap((key) => {
    const port = portOf(key, host);
    const list = bindings.objects(key);
    return list.length === 0
      ? [{ ...port, hostAddress: "", hostPort: 0 }]
      : list.map((one) => ({ ...port, ...hostSide(one) }));
  });
}

/** What was asked for, as `HostConfig.PortBindings` shows it. */
export function portBindingsToJson({ ports }: Pick<ContainerConfig, "ports">): Json {
  const shown: Record<string, Json[]> = {};
  for (const { protocol, containerPort, hostAddress, hostPort, hostPortLast } of ports) {
    const key = `${containerPort}/${protocol}`;
    const range = hostPortLast === undefined ? "" : `-${hostPortLast}`;
    const HostPort = hostPort === 0 ? "" : `${hostPort}${range}`;
    shown[key] = [...(shown[key] ?? []), { HostIp: hostAddress, HostPort }];
  }
  return shown;
}

/** `80/tcp`, or `80` for TCP, checked. */
export function exposedPort(key: string, json: JsonObject): string {
  const { containerPort: number, protocol } = portOf(key, json);
  return `${number}/${protocol}`;
}

function portOf(key: string, json: JsonObject): Pick<PortBinding, "protocol" | "containerPort"> {
  const [text = "", proto = "tcp"] = key.split("/");
  const number = portNumber(text);
  if (number === undefined || number === 0)
    throw json.invalid(`invalid port specification: ${JSON.stringify(key)}`);
  const protocol = (["tcp", "udp", "sctp"] as const).find((one) => one === proto.toLowerCase());
  if (protocol === undefined)
    throw json.invalid(
      `invalid port specification: ${JSON.stringify(key)}: Invalid proto: ${proto}`,
    );
  return { protocol, containerPort: number };
}

function hostSide(
  json: JsonObject,
): Pick<PortBinding, "hostAddress" | "hostPort" | "hostPortLast"> {
  const hostAddress = json.string("HostIp");
  if (hostAddress !== "" && parseAddress(hostAddress) === undefined)
    throw json.invalid(`invalid IP address: ${hostAddress}`);
  const text = json.string("HostPort");
  if (text === "") return { hostAddress, hostPort: 0 };
  const [first, last] = text.split("-").map(portNumber);
  const isRange = text.includes("-");
  if (first === undefined || (isRange && (last === undefined || last < first)))
    throw json.invalid(`invalid port specification: ${JSON.stringify(text)}`);
  return isRange && last !== undefined
    ? { hostAddress, hostPort: first, hostPortLast: last }
    : { hostAddress, hostPort: first };
}

function portNumber(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

/** What is known of a container's networks. */
export interface ContainerNetworking {
  readonly joins: readonly NetworkJoin[];
  /** While it runs. */
  readonly places: ContainerPlaces | undefined;
  /** Id of a network by name; empty when unknown. */
  readonly idOf: (network: string) => string;
}

/** `NetworkSettings` of a container. @param exposed `80/tcp` and the like, the image's included. */
export function networkSettingsToJson(
  container: Container,
  networking: ContainerNetworking,
  exposed: readonly string[],
): Json {
  const { places } = networking;
  const main = places?.places.find(({ networkName }) => networkName === "bridge");
  return {
    Bridge: "",
    SandboxID: (places?.sandbox ?? "") === "" ? "" : container.id,
    SandboxKey: places?.sandbox ?? "",
    Ports: portsToJson(places, exposed),
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    ...addressesToJson(main),
    Networks: networksToJson(container, networking),
  };
}

/** Published and exposed ports; null for those that lead nowhere from the host. */
function portsToJson(places: ContainerPlaces | undefined, exposed: readonly string[]): Json {
  if (places === undefined) return {};
  const ports: Record<string, Json[] | null> = {};
  for (const key of exposed) ports[key] = null;
  for (const port of places.ports) {
    const key = `${port.containerPort}/${port.protocol}`;
    const list = ports[key] ?? [];
    ports[key] = list;
    for (const address of hostAddresses(port, places))
      list.push({ HostIp: address, HostPort: String(port.hostPort) });
  }
  return ports as unknown as Json;
}

/** Over UDP and SCTP those of IPv6 lead only to containers that have it. */
function hostAddresses(
  { hostAddress, protocol }: PortBinding,
  { places }: ContainerPlaces,
): readonly string[] {
  if (hostAddress !== "") return [hostAddress];
  const hasSix = protocol === "tcp" || places.some(({ address6 }) => address6 !== "");
  return hasSix ? ["0.0.0.0", "::"] : ["0.0.0.0"];
}

/** `Ports` of a line of `docker ps`. */
export function portLines(
  places: ContainerPlaces | undefined,
  exposed: readonly string[],
): readonly Json[] {
  if (places === undefined) return [];
  const bound = new Set(places.ports.map((port) => `${port.containerPort}/${port.protocol}`));
  const open = exposed
    .filter((key) => !bound.has(key))
    .map((key) => key.split("/"))
    .map(([port, type]) => ({ PrivatePort: Number(port), Type: type ?? "tcp" }));
  const published = places.ports.flatMap((port) =>
    hostAddresses(port, places).map((address) => ({
      IP: address,
      PrivatePort: port.containerPort,
      PublicPort: port.hostPort,
      Type: port.protocol,
    })),
  );
  return [...open, ...published];
}

/** The networks a container is in, with what is known of it there. */
export function networksToJson(container: Container, networking: ContainerNetworking): Json {
  const { joins, places, idOf } = networking;
  const [mode = ""] = container.config.networks;
  if (mode === "host" || mode === "none")
    return { [mode]: endpointToJson(container, undefined, undefined, idOf(mode)) };
  const found = places?.places ?? [];
  const left = new Set(found);
  const entries = joins.map((join) => {
    const place = found.find(
      (one) => one.networkName === join.network || one.networkId === join.network,
    );
    if (place !== undefined) left.delete(place);
    const name = place?.networkName ?? join.network;
    return [name, endpointToJson(container, join, place, idOf(name))] as const;
  });
  const others = [...left].map(
    (place) =>
      [place.networkName, endpointToJson(container, undefined, place, place.networkId)] as const,
  );
  return Object.fromEntries([...entries, ...others]);
}

function endpointToJson(
  container: Container,
  join: NetworkJoin | undefined,
  place: NetworkPlace | undefined,
  networkId: string,
): Json {
  const named = join?.addresses ?? [];
  const aliases = join?.aliases ?? place?.aliases ?? [];
  const names = [container.name, ...aliases, container.id.slice(0, 12)];
  const isBridge = (place?.networkName ?? join?.network ?? "bridge") === "bridge";
  return {
    IPAMConfig: named.length === 0 ? null : namedAddresses(named),
    Links: null,
    Aliases: aliases.length === 0 ? null : aliases,
    DriverOpts:
      join === undefined || Object.keys(join.driverOptions).length === 0
        ? null
        : join.driverOptions,
    GwPriority: 0,
    NetworkID: place?.networkId ?? networkId,
    ...addressesToJson(place),
    DNSNames: isBridge || place === undefined ? null : [...new Set(names)],
  };
}

function namedAddresses(addresses: readonly string[]): Json {
  const of = (six: boolean) => addresses.find((address) => address.includes(":") === six);
  return { IPv4Address: of(false), IPv6Address: of(true) };
}

function addressesToJson(place: NetworkPlace | undefined): Json {
  return {
    EndpointID: place?.endpointId ?? "",
    Gateway: place?.gateway ?? "",
    IPAddress: place?.address ?? "",
    IPPrefixLen: place?.prefixLength ?? 0,
    IPv6Gateway: place?.gateway6 ?? "",
    GlobalIPv6Address: place?.address6 ?? "",
    GlobalIPv6PrefixLen: place?.prefixLength6 ?? 0,
    MacAddress: place?.macAddress ?? "",
  };
}
