/**
 * A container's places in networks, as the plan of the node sees them and as they are kept over restarts of the daemon.
 */
import type { Address } from "./model.ts";

/** A container's place in an overlay network. */
export interface OverlayPlace {
  readonly networkId: string;
  readonly vni: number;
  /** Without prefix length, one of each family at most. */
  readonly addresses: readonly Omit<Address, "device">[];
  readonly mac: string;
  /** As the network's options say; derived from the underlay when 0. */
  readonly mtu: number;
  /** Its frames travel inside WireGuard. */
  readonly encrypted: boolean;
}

/** A container's place in a bridge network of this node alone. */
export interface BridgePlace {
  readonly networkId: string;
  /** Containers in it find each other by name: not in the default network, as with Docker. */
  readonly named: boolean;
  readonly aliases: readonly string[];
  /** Bridge in the namespace `swarm`, one of `PlanInput.bridges`. */
  readonly bridge: string;
  readonly device: string;
  readonly addresses: readonly Omit<Address, "device">[];
  /** Empty ones are none: the default routes lead elsewhere. */
  readonly gateway: string;
  readonly gateway6: string;
  readonly mac: string;
}

/** A container's place in a macvlan or ipvlan network: on a device of the node. */
export interface ParentPlace {
  /** Undefined in those that an earlier version made, which have no names. */
  readonly networkId?: string;
  readonly aliases?: readonly string[];
  readonly kind: "macvlan" | "ipvlan";
  readonly parent: string;
  readonly mode: string;
  readonly device: string;
  readonly addresses: readonly Omit<Address, "device">[];
  /** Empty ones are none. */
  readonly gateway: string;
  readonly gateway6: string;
  /** A macvlan device's own. */
  readonly mac: string;
}

/** A container's address towards the gateway. */
export interface GatewayPlace {
  readonly address: string;
  readonly address6: string;
  /** Whether it may reach more than the name server through it. */
  readonly outward: boolean;
  /** There for the name server alone: routes and published ports lead elsewhere. */
  readonly namesOnly?: boolean;
}

/** A container as the plan sees it; kept over restarts of the daemon. */
export interface Sandbox {
  /** Id of the container. */
  readonly id: string;
  readonly taskId: string;
  /** Name of the container. */
  readonly name: string;
  /** Name servers it was given. */
  readonly resolvers: readonly string[];
  /** Its one address towards the gateway: of the mesh, or the node's own. Undefined: it has no such device. */
  readonly gateway: GatewayPlace | undefined;
  readonly overlays: readonly OverlayPlace[];
  readonly bridges: readonly BridgePlace[];
  readonly parents?: readonly ParentPlace[];
}
