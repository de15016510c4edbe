/**
 * What a node tells of its data path when it is asked: what its kernel has against the plan, who else is in the way, and what
 * came of probes from its namespaces. Sent as JSON from the node to the manager that explains.
 */
import type { PortProtocol } from "../api/generated/api.ts";

/** A port of a protocol. */
export interface PortName {
  readonly protocol: PortProtocol;
  readonly port: number;
}

/** An attempt to open a TCP connection from a namespace of the node: whether it is taken or refused, it has arrived. */
export interface Probe {
  /** `host`, the node's own network; `mesh`, the namespace of the data path; else an address of a container in `networkId`. */
  readonly from: string;
  /** Network of the container; empty otherwise. */
  readonly networkId: string;
  readonly address: string;
  readonly port: number;
}

/** What came of a probe. */
export interface ProbeResult extends Probe {
  /**
   * `open` and `refused` have arrived; `silent` had no answer in time; `failed` was given up by the kernel, as `error` says;
   * `unmade` could not be tried.
   */
  readonly outcome: "open" | "refused" | "silent" | "failed" | "unmade";
  /** Milliseconds until then. */
  readonly ms: number;
  readonly error: string;
}

/** A question to the name server of a container, for addresses of IPv4. */
export interface NameQuestion {
  /** Address of the container in `networkId`. */
  readonly from: string;
  readonly networkId: string;
  readonly name: string;
}

/** What the name server of a container said. */
export interface NameAnswer extends NameQuestion {
  /** Ascending; empty for names that lead nowhere. */
  readonly addresses: readonly string[];
  /** Why there was no answer; empty when there was one. */
  readonly error: string;
}

/** What is to be looked at. */
export interface LookRequest {
  /** Overlay networks. */
  readonly networkIds: readonly string[];
  readonly serviceIds: readonly string[];
  /** Ports published in the mesh, or on this node. */
  readonly ports: readonly PortName[];
  readonly names: readonly NameQuestion[];
  readonly probes: readonly Probe[];
}

/** Something the kernel has otherwise than planned. */
export interface Difference {
  /** `host`, `swarm`, or the name of a container. */
  readonly where: string;
  /** A sentence for people, such as `device vx4097 is missing`. */
  readonly what: string;
}

/** A set of addresses that the kernel of the node leads to. */
export interface LedTo {
  /** Name of the container whose namespace it is in; `mesh` for published ports. */
  readonly where: string;
  readonly serviceId: string;
  /** The service's address, or `8080/tcp`. */
  readonly what: string;
  /** As the kernel's rules have them, ascending. */
  readonly addresses: readonly string[];
}

/** A program that listens. */
export interface ListeningProgram extends PortName {
  readonly address: string;
  /** `name (pid)` */
  readonly program: string;
}

/** A chain of rules of others that drops or refuses packets. */
export interface ForeignChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: string;
  /** Everything that it does not name. */
  readonly drops: "rest" | "some";
}

/** A node as this one's WireGuard device has it. */
export interface TunnelState {
  readonly nodeId: string;
  /** Where it was last heard of; empty when never. */
  readonly endpoint: string;
  /** Seconds since the last handshake; undefined when there was none. */
  readonly handshakeAgeS: number | undefined;
}

/** What a node has. */
export interface NodeLook {
  /** Whether its managers have told it of the cluster. */
  readonly knowsCluster: boolean;
  /** Why it could not make the kernel what it should be; empty when it could. */
  readonly trouble: string;
  /** Devices, addresses, routes, entries, rules and settings that were compared. */
  readonly compared: number;
  readonly differences: readonly Difference[];
  /** Addresses of ready tasks by service and network, as the node was told. */
  readonly told: readonly {
    readonly serviceId: string;
    readonly networkId: string;
    readonly addresses: readonly string[];
  }[];
  readonly ledTo: readonly LedTo[];
  /** Ports of the request that the kernel of the node takes for the mesh or for containers. */
  readonly listens: readonly PortName[];
  /** Programs of the node at ports of the request. */
  readonly programs: readonly ListeningProgram[];
  /** What keeps forwarded packets from containers, as sentences with the remedy. */
  readonly barriers: readonly string[];
  readonly foreign: readonly ForeignChain[];
  readonly tunnels: readonly TunnelState[];
  readonly names: readonly NameAnswer[];
  readonly probes: readonly ProbeResult[];
}

/** The data path of a node, to be looked at. */
export interface DataPath {
  /** Reads the kernel; changes nothing. @throws ClusterError unavailable when it cannot be read. */
  look(request: LookRequest, signal: AbortSignal): Promise<NodeLook>;
  /** Programs of the node, this one apart, that listen at these ports. Takes nothing. */
  programsAt(ports: readonly PortName[]): Promise<readonly ListeningProgram[]>;
}
