/**
 * Subnets and addresses of a node's own networks. Pure.
 *
 * A network has at most one IPv4 and one IPv6 subnet. Its first address is the gateway's unless the user said otherwise.
 */
import type { IpamConfig } from "../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import {
  addressAt,
  contains,
  formatAddress,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
  networkOf,
  overlaps,
  parseAddress,
  parsePrefix,
  sizeOf,
} from "../../../src/common/spec/cidr.ts";

/** Where subnets come from when the user names none. */
export interface AddressPool {
  /** Prefix such as 172.20.0.0/14. */
  readonly base: string;
  /** Length of the prefixes it is cut into. */
  readonly size: number;
}

/** Docker's pools without 172.18 and 172.19, which the data path of the node has. */
export const defaultPools: readonly AddressPool[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 16 },
  { base: "192.168.0.0/16", size: 20 },
];

/** A subnet as it came out. */
export interface ChosenSubnet {
  readonly subnet: string;
  readonly gateway: string;
}

/** What a network asks for. */
export interface SubnetRequest {
  readonly configs: readonly IpamConfig[];
  readonly ipv6: boolean;
  /** Forty bits that make the IPv6 prefix of this network (RFC 4193) when the user names none. */
  readonly uniqueLocal: bigint;
}

/**
 * The subnets of a new network.
 * @param taken Prefixes of networks and routes of the host.
 * @throws ClusterError `invalid-argument` naming the subnet, `permission-denied` for an overlap, `resource-exhausted`.
 */
export function chooseSubnets(
  request: SubnetRequest,
  pools: readonly AddressPool[],
  taken: readonly IpPrefix[],
): readonly ChosenSubnet[] {
  const named = request.configs.map((config) => namedSubnet(config, taken));
  const families = named.map(({ family }) => family);
  if (new Set(families).size < families.length) {
    throw new ClusterError(
      "invalid-argument",
      "a network of the node has one IPv4 and one IPv6 subnet at most: leave the other --subnet out",
    );
  }
  if (families.includes(6) && !request.ipv6) {
    throw new ClusterError(
      "invalid-argument",
      `invalid subnet ${named.find(({ family }) => family === 6)?.chosen.subnet}: IPv6 has not been enabled: add --ipv6`,
    );
  }
  const chosen = named.map((subnet) => subnet.chosen);
  const free4 = families.includes(4) ? [] : [withGateway(freePool(pools, taken))];
  const free6 = families.includes(6) || !request.ipv6 ? [] : [ownSubnet6(request.uniqueLocal)];
  return [...chosen, ...free4, ...free6].sort((a, b) => familyOf(a) - familyOf(b));
}

function familyOf({ subnet }: ChosenSubnet): number {
  return subnet.includes(":") ? 6 : 4;
}

function namedSubnet(
  config: IpamConfig,
  taken: readonly IpPrefix[],
): { readonly family: 4 | 6; readonly chosen: ChosenSubnet } {
  const subnet = parsePrefix(config.subnet);
  if (subnet === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `invalid subnet ${config.subnet}: invalid CIDR block notation`,
    );
  }
  const whole = networkOf(subnet);
  if (whole.value !== subnet.value) {
    throw new ClusterError(
      "invalid-argument",
      `invalid subnet ${config.subnet}: it should be ${formatPrefix(whole)}`,
    );
  }
  checkRange(config, whole);
  const gateway = config.gateway === "" ? addressAt(whole, 1n) : inside(config, whole);
  if (taken.some((other) => overlaps(other, whole))) {
    throw new ClusterError(
      "permission-denied",
      `invalid pool request: Pool overlaps with other one on this address space: ${config.subnet}: ` +
        "docker network ls and ip route show what is taken",
    );
  }
  const chosen = { subnet: formatPrefix(whole), gateway: formatAddress(gateway) };
  return { family: whole.family, chosen };
}

function inside(config: IpamConfig, subnet: IpPrefix): IpAddress {
  const gateway = parseAddress(config.gateway);
  if (gateway === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `invalid gateway ${config.gateway}: invalid address`,
    );
  }
  if (!contains(subnet, gateway)) {
    throw new ClusterError(
      "invalid-argument",
      `no matching subnet for gateway ${config.gateway}: it has to be within ${config.subnet}`,
    );
  }
  return gateway;
}

function checkRange(config: IpamConfig, subnet: IpPrefix): void {
  if (config.range !== "") {
    const range = parsePrefix(config.range);
    if (range === undefined) {
      throw new ClusterError(
        "invalid-argument",
        `invalid ip-range ${config.range}: invalid CIDR block notation`,
      );
    }
    if (range.length < subnet.length || !contains(subnet, range)) {
      throw new ClusterError(
        "invalid-argument",
        `no matching subnet for ip-range ${config.range}: it has to be within ${config.subnet}`,
      );
    }
  }
  for (const [name, text] of Object.entries(config.reserved)) {
    const address = parseAddress(text);
    if (address === undefined || !contains(subnet, address)) {
      throw new ClusterError(
        "invalid-argument",
        `invalid auxiliary address ${name}=${text}: it has to be within ${config.subnet}`,
      );
    }
  }
}

function freePool(pools: readonly AddressPool[], taken: readonly IpPrefix[]): IpPrefix {
  for (const pool of pools) {
    const base = parsePrefix(pool.base);
    if (base === undefined || base.family !== 4) continue;
    const parts = 1n << BigInt(Math.max(0, pool.size - base.length));
    for (let part = 0n; part < parts; part++) {
      const start = addressAt(base, part << BigInt(32 - pool.size));
      const subnet: IpPrefix = { ...start, length: pool.size };
      if (!taken.some((other) => overlaps(other, subnet))) return subnet;
    }
  }
  throw new ClusterError(
    "resource-exhausted",
    "all predefined address pools have been fully subnetted: remove networks, name a --subnet, or start the daemon with --default-address-pool",
  );
}

function withGateway(subnet: IpPrefix): ChosenSubnet {
  return { subnet: formatPrefix(subnet), gateway: formatAddress(addressAt(subnet, 1n)) };
}

function ownSubnet6(uniqueLocal: bigint): ChosenSubnet {
  const value = (0xfdn << 120n) | ((uniqueLocal & ((1n << 40n) - 1n)) << 80n);
  return withGateway({ family: 6, value, length: 64 });
}

/** What an address is taken from. */
export interface AddressSource extends ChosenSubnet {
  /** Prefix within the subnet, or empty. */
  readonly range: string;
  /** Addresses nobody gets. */
  readonly reserved: readonly string[];
}

/**
 * The lowest free address.
 * @param taken Addresses as text.
 * @throws ClusterError `resource-exhausted`.
 */
export function freeAddress(source: AddressSource, taken: ReadonlySet<string>): string {
  const subnet = required(source.subnet);
  const range = source.range === "" ? subnet : required(source.range);
  const kept = new Set([source.gateway, ...source.reserved]);
  const network = subnet.value;
  // An IPv4 subnet ends with its broadcast address; IPv6 has none, and its first address is that of routers.
  const last = network + sizeOf(subnet) - (subnet.family === 4 && subnet.length < 31 ? 2n : 1n);
  const first = networkOf(range).value;
  for (let index = 0n; index < sizeOf(range); index++) {
    const value = first + index;
    if (value > last) break;
    if (value === network && subnet.length < (subnet.family === 4 ? 31 : 127)) continue;
    const address = formatAddress({ family: subnet.family, value });
    if (!kept.has(address) && !taken.has(address)) return address;
  }
  throw new ClusterError(
    "resource-exhausted",
    `no available IPv${subnet.family} addresses on this network's address pools: ${source.subnet}`,
  );
}

/** Whether an address the user names can be had. @throws ClusterError in Docker's words. */
export function checkAddress(
  text: string,
  sources: readonly AddressSource[],
  taken: ReadonlySet<string>,
): { readonly address: string; readonly source: AddressSource } {
  const parsed = parseAddress(text);
  if (parsed === undefined) {
    throw new ClusterError("invalid-argument", `invalid IP address: ${text}`);
  }
  const address = formatAddress(parsed);
  const source = sources.find(({ subnet }) => contains(required(subnet), parsed));
  if (source === undefined) {
    throw new ClusterError(
      "invalid-argument",
      `Invalid address ${text}: It does not belong to any of this network's subnets`,
    );
  }
  if (taken.has(address) || source.gateway === address) {
    throw new ClusterError("permission-denied", `Address already in use: ${text}`);
  }
  return { address, source };
}

function required(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new ClusterError("internal", `no prefix: ${text}`);
  return prefix;
}
