/**
 * Which addresses the link between the node's network and the namespace of the data path gets: those of slot 0, or where
 * several daemons share a network, others. Pure.
 */
import type { Address } from "./model.ts";
import { uplinkOf, uplinkSlots } from "./pools.ts";

/**
 * @param own Device of this daemon; the addresses it has are kept.
 * @param addresses Of all devices of the node's network.
 */
export function chooseSlot(own: string, addresses: readonly Address[], instance: string): number {
  const taken = new Set<string>();
  for (const { device, address } of addresses) {
    if (!address.startsWith("172.19.")) continue;
    if (device === own) return slotOf(address);
    taken.add(address);
  }
  const isFree = (slot: number) => {
    const { host, swarm } = uplinkOf(slot);
    return !taken.has(host) && !taken.has(swarm);
  };
  if (taken.size === 0) return 0;
  const first = Number.parseInt(instance.slice(0, 8), 16) % uplinkSlots;
  for (let tries = 0; tries < uplinkSlots; tries++) {
    const slot = (first + tries) % uplinkSlots;
    if (isFree(slot)) return slot;
  }
  return first;
}

function slotOf(address: string): number {
  const [, , c = 0, d = 0] = address.split(".").map(Number);
  return c * 64 + (d >> 2);
}
