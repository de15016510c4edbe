/**
 * Address ranges of the data path itself, which networks of the swarm must keep clear of (network.md, section 1). Pure.
 */

/** VXLAN network id of the routing mesh; those of networks come after it. */
export const meshNetworkNumber = 4096;
/** Largest VXLAN network id (RFC 7348: 24 bits). */
export const networkNumberMax = 2 ** 24 - 1;
/** Where tasks of the routing mesh have their addresses, unless its user chose another subnet. */
export const ingressSubnetDefault = "10.255.0.0/16";

/** What nodes use between themselves and for their tasks' way out: WireGuard, transit, gateway, uplink, and the mesh's IPv6. */
export const dataPathPools: readonly string[] = [
  "10.253.0.0/16",
  "10.254.0.0/16",
  "172.18.0.0/16",
  "172.19.0.0/30",
  "fd18::/64",
  "fd19::/64",
  "fd54::/64",
  "fd55::/64",
];

/** IPv6 subnet of a network whose user wants IPv6 and named none: local addresses that derive from its number. */
export function subnet6Of(networkNumber: number): string {
  const high = (networkNumber >>> 16).toString(16);
  const low = (networkNumber & 0xffff).toString(16);
  return `fd56:0:${high}:${low}::/64`;
}
