/**
 * Where frames to addresses on other nodes go, as changes and as lines for `ip -batch -` and `bridge -batch -`. Pure.
 *
 * All of it is known beforehand, so that nothing is ever asked of all nodes.
 */
import type { Command } from "./links.ts";
import type { Forwarding, Neighbour } from "./model.ts";

/** Says which hardware address an address has. */
export function addNeighbour(neighbour: Neighbour): Command {
  const { device, address, mac } = neighbour;
  const text = `neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`;
  return { change: { what: "neighbour", put: true, neighbour }, text };
}

/** Takes that back. */
export function removeNeighbour(neighbour: Neighbour): Command {
  const text = `neigh del ${neighbour.address} dev ${neighbour.device}`;
  return { change: { what: "neighbour", put: false, neighbour }, text };
}

/** Says where a hardware address is; the line is for `bridge`. */
export function addForwarding(forwarding: Forwarding): Command {
  const { device, mac, destination } = forwarding;
  const where = destination === "" ? "master static" : `dst ${destination} self permanent`;
  const text = `fdb replace ${mac} dev ${device} ${where}`;
  return { change: { what: "forwarding", put: true, forwarding }, text };
}

/** Takes that back. */
export function removeForwarding(forwarding: Forwarding): Command {
  const { device, mac, destination } = forwarding;
  const where = destination === "" ? "master" : `dst ${destination} self`;
  const text = `fdb del ${mac} dev ${device} ${where}`;
  return { change: { what: "forwarding", put: false, forwarding }, text };
}
