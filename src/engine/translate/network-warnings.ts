/**
 * What managers warn of before there are no addresses left. Pure.
 */
import type { Cluster, Network } from "../../common/api/generated/api.ts";
import { contains, networkOf, overlaps, parsePrefix, sizeOf } from "../../common/spec/cidr.ts";
import { defaultAddressPool, defaultSubnetSize } from "../../common/spec/cluster-defaults.ts";

/** Share of a pool's subnets that is worth a warning. */
const poolWarnedFrom = 0.75;

/** Of one network; none while it has addresses enough. */
export function networkWarnings({ spec, ipam, id, fullness }: Network): string[] {
  if (fullness === 0) return [];
  const name = spec?.annotations?.name ?? id;
  const subnets = (ipam?.configs ?? []).map(({ subnet }) => subnet).join(", ");
  const fix = "remove services or tasks from it, or make a network with a larger --subnet";
  return fullness >= 100
    ? [`WARNING: network ${name} has no free address left in ${subnets}: ${fix}`]
    : [`WARNING: network ${name}: ${fullness}% or more of ${subnets} are taken: ${fix}`];
}

/** Of all networks, and of the pools their subnets come from. */
export function addressWarnings(cluster: Cluster, networks: Iterable<Network>): string[] {
  const all = [...networks];
  return [...all.flatMap(networkWarnings), ...poolWarnings(cluster, all)];
}

function poolWarnings(cluster: Cluster, networks: readonly Network[]): string[] {
  const named = cluster.defaultAddressPool.length > 0;
  const texts = named ? cluster.defaultAddressPool : defaultAddressPool;
  const length = cluster.subnetSize || defaultSubnetSize;
  const pools = texts.flatMap((text) => parsePrefix(text) ?? []);
  const total = pools.reduce((sum, pool) => sum + 2 ** Math.max(0, length - pool.length), 0);
  const taken = networks
    .flatMap(({ ipam }) => ipam?.configs ?? [])
    .flatMap(({ subnet }) => parsePrefix(subnet) ?? [])
    .filter((subnet) => pools.some((pool) => overlaps(pool, subnet)))
    .map((subnet) =>
      pools.some((pool) => contains(pool, networkOf(subnet)))
        ? Math.max(1, Number(sizeOf(subnet)) / 2 ** (32 - length))
        : total,
    )
    .reduce((sum, count) => sum + count, 0);
  if (total === 0 || taken < total * poolWarnedFrom) return [];
  const left = Math.max(0, Math.floor(total - taken));
  return [
    `WARNING: the address pools of the swarm (${texts.join(", ")}) have ${left} of ${total} subnets left: remove networks, or name subnets of other ranges with --subnet`,
  ];
}
