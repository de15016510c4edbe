/**
 * Whether a subnet is free for a network of the swarm. Pure.
 */
import { formatPrefix, type IpPrefix, overlaps, parsePrefix } from "./cidr.ts";
import { dataPathPools } from "./data-path-pools.ts";

/** A subnet and the name of its network. */
export interface NamedPrefix {
  readonly name: string;
  readonly prefix: IpPrefix;
}

/** Ranges that nodes use between themselves, parsed. */
export const dataPathPrefixes: readonly IpPrefix[] = dataPathPools.flatMap(
  (text) => parsePrefix(text) ?? [],
);

/** Why a subnet cannot be had; undefined when it can. */
export function clashOf(subnet: string, others: readonly NamedPrefix[]): string | undefined {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) return `invalid subnet ${subnet}`;
  const overlap = "Pool overlaps with other one on this address space";
  const other = others.find((one) => overlaps(one.prefix, prefix));
  if (other !== undefined)
    return `${overlap}: subnet ${subnet} overlaps with ${formatPrefix(other.prefix)} of network ${other.name}`;
  const own = dataPathPrefixes.find((pool) => overlaps(pool, prefix));
  if (own !== undefined)
    return `${overlap}: subnet ${subnet} overlaps with ${formatPrefix(own)}, which nodes use between themselves`;
  return undefined;
}
