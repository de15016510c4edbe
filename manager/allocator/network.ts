/**
 * What a network of the swarm gets from the cluster: its number on the wire, its subnets and gateways. Pure.
 */
import { Driver, IpamConfig, IpamOptions, Network } from "../../src/common/api/generated/api.ts";
import {
  addressAt,
  formatAddress,
  type IpPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from "../../src/common/spec/cidr.ts";
import { defaultAddressPool, defaultSubnetSize } from "../../src/common/spec/cluster-defaults.ts";
import {
  ingressSubnetDefault,
  meshNetworkNumber,
  subnet6Of,
} from "../../src/common/spec/data-path-pools.ts";
import { clashOf, dataPathPrefixes, type NamedPrefix } from "../../src/common/spec/subnet-clash.ts";
import { chooseSubnet, type PoolOfSubnets } from "./ipam.ts";
import type { NetworkNumbers } from "./vni.ts";

/** Option by which Docker shows a network's number. */
const numberOption = "com.docker.network.driver.overlay.vxlanid_list";

/** What a network is allocated from. */
export interface NetworkSurroundings {
  readonly numbers: NetworkNumbers;
  readonly pools: PoolOfSubnets;
  /** The other networks that have subnets, each with its name. */
  readonly others: readonly NamedPrefix[];
  /** Addresses of nodes, which no subnet that is chosen here contains. */
  readonly nodes: readonly NamedPrefix[];
}

/** What becomes of a network. */
export type NetworkAllocation =
  | { readonly kind: "done"; readonly network: Network }
  | { readonly kind: "wait"; readonly reason: string };

/** Whether the cluster gives the network its addresses; of the others, nodes have their own. */
export function isClusterWide(network: Network | undefined): boolean {
  const spec = network?.spec;
  return spec?.driver?.name === "overlay" && !spec.configOnly;
}

/** Whether the network still has to get something. */
export function needsNetwork(network: Network): boolean {
  return isClusterWide(network) && (network.networkNumber === 0 || network.ipam === undefined);
}

/** The pools of the cluster, or those of a cluster that names none. */
export function poolsOf(
  cluster:
    | { readonly defaultAddressPool: readonly string[]; readonly subnetSize: number }
    | undefined,
): PoolOfSubnets {
  const { defaultAddressPool: pools = [], subnetSize = 0 } = cluster ?? {};
  return {
    pools: pools.length === 0 ? defaultAddressPool : pools,
    length: subnetSize === 0 ? defaultSubnetSize : subnetSize,
  };
}

/** Gives the network what it lacks. Numbers are taken at once; the same network gets the same one again. */
export function allocateNetwork(
  network: Network,
  surroundings: NetworkSurroundings,
): NetworkAllocation {
  const number = network.networkNumber || numberFor(network, surroundings.numbers);
  if (number === undefined) return { kind: "wait", reason: "all network numbers are taken" };
  const configs = configsFor(network, number, surroundings);
  if (typeof configs === "string") return { kind: "wait", reason: configs };
  const { spec } = network;
  const options = { ...spec?.driver?.options, [numberOption]: String(number) };
  const driver = spec?.ipam?.driver;
  return {
    kind: "done",
    network: Network.create({
      ...network,
      networkNumber: number,
      driverState: Driver.create({ name: "overlay", options }),
      ipam: IpamOptions.create({
        driver: Driver.create({ ...driver, name: driver?.name || "default" }),
        configs,
      }),
    }),
  };
}

function numberFor(network: Network, numbers: NetworkNumbers): number | undefined {
  if (network.spec?.ingress === true) {
    const holder = numbers.holderOf(meshNetworkNumber);
    if (holder === undefined || holder === network.id) {
      numbers.note(network.id, meshNetworkNumber);
      return meshNetworkNumber;
    }
  }
  return numbers.take(network.id);
}

/** The subnets with their gateways; the reason in words when there is none to be had. */
function configsFor(
  network: Network,
  number: number,
  { pools, others, nodes }: NetworkSurroundings,
): IpamConfig[] | string {
  const given = network.spec?.ipam?.configs ?? [];
  for (const { subnet } of given) {
    const clash = clashOf(subnet, others);
    if (clash !== undefined) return clash;
  }
  const configs = [...given];
  if (!given.some(({ subnet }) => parsePrefix(subnet)?.family === 4)) {
    const used = [...others, ...nodes];
    const taken = [...used.map(({ prefix }) => prefix), ...dataPathPrefixes];
    const subnet =
      network.spec?.ingress === true && clashOf(ingressSubnetDefault, used) === undefined
        ? ingressSubnetDefault
        : chooseSubnet(pools, [...taken, ...prefixesOf([ingressSubnetDefault])]);
    if (subnet === undefined)
      return `could not find an available, non-overlapping IPv4 address pool among the defaults (${pools.pools.join(", ")}) to assign to the network: name one with --subnet`;
    configs.unshift(IpamConfig.create({ subnet }));
  }
  if (
    network.spec?.ipv6Enabled === true &&
    !given.some(({ subnet }) => parsePrefix(subnet)?.family === 6)
  )
    configs.push(IpamConfig.create({ subnet: subnet6Of(number) }));
  return configs.map(withGateway);
}

/** Subnets of networks, as others must not overlap with them. */
export function subnetsOf(network: Network): NamedPrefix[] {
  const name = network.spec?.annotations?.name ?? network.id;
  return prefixesOf((network.ipam?.configs ?? []).map(({ subnet }) => subnet)).map((prefix) => ({
    name,
    prefix: networkOf(prefix),
  }));
}

function prefixesOf(texts: readonly string[]): IpPrefix[] {
  return texts.flatMap((text) => parsePrefix(text) ?? []);
}

/** The first address that is not reserved is the gateway's, unless the user named one. */
function withGateway(config: IpamConfig): IpamConfig {
  const prefix = parsePrefix(config.subnet);
  if (config.gateway !== "" || prefix === undefined) return config;
  const reserved = new Set(
    Object.values(config.reserved).map((text) => parseAddress(text.split("/")[0] ?? "")?.value),
  );
  for (let place = 1n; place < 1_000n; place++) {
    const address = addressAt(prefix, place);
    if (!reserved.has(address.value))
      return IpamConfig.create({ ...config, gateway: formatAddress(address) });
  }
  return config;
}
