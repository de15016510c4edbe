/**
 * Names of devices and files of the data path. Pure. Names of devices have at most 15 characters.
 *
 * In the node's own network they carry the daemon's instance, as several daemons may share it; the namespace `swarm` and
 * those of containers belong to one daemon, so that names are plain there.
 */

/** The node's end of the link to the namespace `swarm`. */
export function uplinkDevice(instance: string): string {
  return `sk${instance.slice(0, 4)}-up`;
}

/** WireGuard device of the node. */
export function wireguardDevice(instance: string): string {
  return `sk${instance.slice(0, 4)}-wg`;
}

/** Whether a device of the node's network is the uplink of any daemon. */
export function isUplink(name: string): boolean {
  return /^sk[0-9a-f]{4}-up$/.test(name);
}

/** Devices of the namespace `swarm`. */
export const swarmDevices = {
  /** Its end of the link to the node. */
  uplink: "up0",
  /** Bridge that is the gateway of tasks and containers. */
  gateway: "gw0",
  /** VXLAN of the routing mesh. */
  mesh: "vx-ing",
} as const;

/** Bridge of an overlay network in the namespace `swarm`. @param vni Its VXLAN network id. */
export function overlayBridge(vni: number): string {
  return `br${vni}`;
}

/** VXLAN device of an overlay network. */
export function overlayTunnel(vni: number): string {
  return `vx${vni}`;
}

/** Whether a device of the namespace `swarm` is of an overlay network. */
export function isOverlayDevice(name: string): boolean {
  return /^(br|vx)\d+$/.test(name);
}

/** The gateway's end of the link to a container. */
export function gatewayPort(containerId: string): string {
  return `g${containerId.slice(0, 12)}`;
}

/** The end in the namespace `swarm` of a container's link to its network with this position. */
export function overlayPort(containerId: string, position: number): string {
  return `o${position}-${containerId.slice(0, 10)}`;
}

/** Device of a container that leads to the gateway. */
export const gatewayDevice = "ethg";

/** Device of a container in its network with this position. */
export function overlayDevice(position: number): string {
  return `ov${position}`;
}

/** Bridge of a network of this node alone, in the namespace `swarm`. */
export function localBridge(networkId: string): string {
  return `lb${networkId.slice(0, 12)}`;
}

/** Device of a container in its bridge network with this position; as Docker names them. */
export function localDevice(position: number): string {
  return `eth${position}`;
}
