/**
 * Lines for `ip -batch -` and `bridge -batch -`: where frames to addresses on other nodes go. Pure text.
 *
 * All of it is known beforehand, so that nothing is ever asked of all nodes.
 */
import type { Forwarding, Neighbour } from "./model.ts";

/** Line for `ip` that says which hardware address an address has. */
export function addNeighbour({ device, address, mac }: Neighbour): string {
  return `neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`;
}

/** Line for `ip` that takes that back. */
export function removeNeighbour({ device, address }: Neighbour): string {
  return `neigh del ${address} dev ${device}`;
}

/** Line for `bridge` that says where a hardware address is. */
export function addForwarding({ device, mac, destination }: Forwarding): string {
  if (destination === "") return `fdb replace ${mac} dev ${device} master static`;
  return `fdb replace ${mac} dev ${device} dst ${destination} self permanent`;
}

/** Line for `bridge` that takes that back. */
export function removeForwarding({ device, mac, destination }: Forwarding): string {
  if (destination === "") return `fdb del ${mac} dev ${device} master`;
  return `fdb del ${mac} dev ${device} dst ${destination} self`;
}
