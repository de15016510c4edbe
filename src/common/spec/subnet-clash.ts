/**
 * Whether a subnet is free for a network of the swarm. Pure.
 */
import type { Node } from "../api/generated/api.ts";
import {
  formatAddress,
  formatPrefix,
  type IpPrefix,
  overlaps,
  parseAddress,
  parsePrefix,
} from "./cidr.ts";
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

/** As Docker says it. */
const overlap = "Pool overlaps with other one on this address space";

/** The addresses by which others reach a node, each as a prefix of its own. */
export function addressesOf(node: Node): NamedPrefix[] {
  const { id, description, status, dataPathAddress, outerAddress } = node;
  const name = description?.hostname || id;
  const texts = new Set([status?.address ?? "", dataPathAddress, outerAddress]);
  return [...texts].flatMap((text) => {
    const address = parseAddress(text);
    if (address === undefined) return [];
    return [{ name, prefix: { ...address, length: address.family === 6 ? 128 : 32 } }];
  });
}

/**
 * Why a subnet is in the way of nodes, whose addresses containers in it would look for among themselves; undefined when it is not.
 *
 * @param nodes Their addresses.
 */
export function hiddenNodeIn(subnet: string, nodes: Iterable<NamedPrefix>): string | undefined {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) return undefined;
  for (const { name, prefix: address } of nodes)
    if (overlaps(prefix, address))
      return `${overlap}: subnet ${subnet} contains ${formatAddress(address)}, the address of node ${name}, which containers in the network could not reach: choose another --subnet`;
  return undefined;
}

/** Why a subnet cannot be had; undefined when it can. */
export function clashOf(subnet: string, others: readonly NamedPrefix[]): string | undefined {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) return `invalid subnet ${subnet}`;
  const other = others.find((one) => overlaps(one.prefix, prefix));
  if (other !== undefined)
    return `${overlap}: subnet ${subnet} overlaps with ${formatPrefix(other.prefix)} of network ${other.name}`;
  const own = dataPathPrefixes.find((pool) => overlaps(pool, prefix));
  if (own !== undefined)
    return `${overlap}: subnet ${subnet} overlaps with ${formatPrefix(own)}, which nodes use between themselves`;
  return undefined;
}
