/**
 * Addresses that are the same on every node or derive from a node's number (network.md, section 1). Pure.
 *
 * The user may move the pools; they must not overlap with routes of a host or with each other.
 */

/** Both ends of the link between the host's network and the namespace of the data path. */
export const uplink = {
  host: "172.19.0.1",
  swarm: "172.19.0.2",
  length: 30,
  host6: "fd19::1",
  swarm6: "fd19::2",
  length6: 64,
} as const;

/** Gateway of tasks and containers, the same on each node. */
export const gateway = {
  address: "172.18.0.1",
  subnet: "172.18.0.0/16",
  address6: "fd18::1",
  subnet6: "fd18::/64",
} as const;

/** Where the routing mesh's tasks have their addresses unless the ingress network says otherwise. */
export const ingressSubnet = "10.255.0.0/16";
/** IPv6 addresses of the mesh's tasks: this and their IPv4 address. */
export const ingress6Prefix = "fd55::";

/** VXLAN network id of the routing mesh. */
export const meshVni = 4096;
/** UDP port of VXLAN between nodes. */
export const vxlanPort = 4789;
/** UDP port of VXLAN inside WireGuard: its own, so that a filter can tell it. */
export const secureVxlanPort = 4790;
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
