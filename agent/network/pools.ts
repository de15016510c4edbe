/**
 * Addresses that are the same on every node or derive from a node's number (network.md, section 1). Pure.
 *
 * The user may move the pools; they must not overlap with routes of a host or with each other.
 */

import { isIPv4 } from "node:net";
import {
  formatAddress,
  formatPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from "../../src/common/spec/cidr.ts";

/** Both ends of the link between the host's network and the namespace of the data path. */
export interface Uplink {
  readonly host: string;
  readonly swarm: string;
  readonly length: number;
  readonly host6: string;
  readonly swarm6: string;
  readonly length6: number;
}

/** How many daemons can share the network of one host. */
export const uplinkSlots = 16_384;

/** The addresses of a daemon's link. @param slot Less than `uplinkSlots`; 0 unless several daemons share a network. */
export function uplinkOf(slot: number): Uplink {
  const prefix = `172.19.${slot >> 6}`;
  const prefix6 = slot === 0 ? "fd19:" : `fd19:0:0:${slot.toString(16)}:`;
  return {
    host: `${prefix}.${(slot & 63) * 4 + 1}`,
    swarm: `${prefix}.${(slot & 63) * 4 + 2}`,
    length: 30,
    host6: `${prefix6}:1`,
    swarm6: `${prefix6}:2`,
    length6: 64,
  };
}

/** The link of the only daemon in its network. */
export const uplink: Uplink = uplinkOf(0);

/** Gateway of tasks and containers, the same on each node. */
export const gateway = {
  address: "172.18.0.1",
  subnet: "172.18.0.0/16",
  address6: "fd18::1",
  subnet6: "fd18::/64",
} as const;

/** IPv6 addresses of the mesh's tasks: this and their IPv4 address. */
export const ingress6Prefix = "fd55::";

/** VXLAN network id of the routing mesh. */
export const meshVni = 4096;
/** UDP port of VXLAN between nodes, unless the cluster was made with another. */
export const vxlanPort = 4789;
/** UDP port of VXLAN inside WireGuard: its own, so that a filter can tell it. */
export const secureVxlanPort = 4790;

/** UDP ports of VXLAN of a cluster: in clear, and inside WireGuard. */
export interface VxlanPorts {
  readonly plain: number;
  readonly secure: number;
}

/** @param chosen As the cluster was made; 0 for the default. */
export function vxlanPortsOf(chosen: number): VxlanPorts {
  const plain = chosen === 0 ? vxlanPort : chosen;
  return { plain, secure: plain === secureVxlanPort ? vxlanPort : secureVxlanPort };
}

/** UDP port of WireGuard between nodes. */
export const wireguardPort = 51820;

/** Address of a node in the mesh between nodes. @param number Node.number, 1 to 65,534. */
export function transitAddress(number: number): string {
  return `10.254.${number >> 8}.${number & 255}`;
}

/** The same over IPv6. */
export function transitAddress6(number: number): string {
  return `fd54::${number.toString(16)}`;
}

/** Hardware address of a node in the mesh between nodes. */
export function transitMac(number: number): string {
  return `02:42:0a:fe:${hex(number >> 8)}:${hex(number & 255)}`;
}

/** Address of a node in the WireGuard mesh. */
export function wireguardAddress(number: number): string {
  return `10.253.${number >> 8}.${number & 255}`;
}

/** Hardware address that goes with an IPv4 address. */
export function macOf(address: string): string {
  return ["02", "42", ...address.split(".").map((part) => hex(Number(part)))].join(":");
}

/** The mesh's IPv6 address of a task with this IPv4 address. */
export function ingress6Of(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
  return `${ingress6Prefix}${hex(a)}${hex(b)}:${hex(c)}${hex(d)}`;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** Lengths of the prefixes that hold the addresses of all nodes in the mesh between them. */
export const transitPrefixLength = { v4: 16, v6: 64 } as const;

/** Hardware address of an endpoint of an overlay network. @param addresses Its own there, of both families. */
export function endpointMac(addresses: readonly string[]): string {
  const address = addresses.find((text) => !text.includes(":"));
  if (address !== undefined) return macOf(address);
  // The end of an IPv6 address tells endpoints of one network apart; the first byte says that it was made up here.
  const value = parseAddress(addresses[0] ?? "")?.value ?? 0n;
  const low = (value ^ (value >> 64n)) & 0xffffffffffn;
  const text = low.toString(16).padStart(10, "0");
  return `06:${text.match(/../g)?.join(":")}`;
}

/** An address of IPv6 that goes with the node-local IPv4 address of a container. */
export function gateway6Of(address: string): string {
  const [, , c = 0, d = 0] = address.split(".").map(Number);
  return `fd18::1:${((c << 8) | d).toString(16)}`;
}

/** An address as the kernel writes it. */
export function canonical(text: string): string {
  // There is one way only to write those of IPv4.
  if (isIPv4(text)) return text;
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}

/** A prefix as the kernel writes it. */
export function canonicalPrefix(text: string): string {
  const prefix = parsePrefix(text);
  return prefix === undefined ? text : formatPrefix(networkOf(prefix));
}

/** The slot of a link. */
export function uplinkSlotOf({ host }: Uplink): number {
  const [, , c = 0, d = 0] = host.split(".").map(Number);
  return c * 64 + (d >> 2);
}
