/**
 * The networks of one node: what `docker network` and containers that are run by hand see of them. Networks of the swarm are
 * the managers' (`ControlService`); a node takes part in them through attachments.
 */
import type { IpamOptions, Network } from "../api/generated/api.ts";
import type { Container, NetworkJoin, PortBinding } from "./types.ts";

/** What a network of the node is made from. */
export interface LocalNetworkConfig {
  readonly name: string;
  /** bridge, macvlan or ipvlan; host and null exist once. */
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly internal: boolean;
  readonly ipv6: boolean;
  readonly ipam: IpamOptions | undefined;
  /** As asked for, and only shown: every container can be put into a network of the node. */
  readonly attachable?: boolean;
  /** It only holds settings, for networks that are made from it: nothing can be in it. */
  readonly configOnly?: boolean;
  /** Name of the network its settings are from. */
  readonly configFrom?: string;
}

/** A network of the node. */
export interface LocalNetwork extends LocalNetworkConfig {
  /** 64 hexadecimal characters. */
  readonly id: string;
  readonly createdAtMs: number;
  /** Subnets with their gateways as they came out. */
  readonly subnets: readonly { readonly subnet: string; readonly gateway: string }[];
  /** Every node has it by itself: bridge, host, none, docker_gwbridge. */
  readonly predefined: boolean;
  /** It is one of the swarm, with its id, made here for the tasks that are in it. */
  readonly ofSwarm?: boolean;
}

/** A container's place in one network, as it came out. Empty strings for what it does not have. */
export interface NetworkPlace {
  readonly networkId: string;
  readonly networkName: string;
  readonly endpointId: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly address6: string;
  readonly prefixLength6: number;
  readonly gateway6: string;
  readonly macAddress: string;
  readonly aliases: readonly string[];
}

/** What a running container has of networks. */
export interface ContainerPlaces {
  /** File that keeps its network namespace. */
  readonly sandbox: string;
  readonly places: readonly NetworkPlace[];
  /** With the host ports that were chosen. */
  readonly ports: readonly PortBinding[];
}

/**
 * Something that happened to a network of the node. One of the swarm is made there with its first container, and taken away
 * with its last.
 */
export interface NetworkEvent {
  readonly timeNs: bigint;
  readonly action: "create" | "destroy" | "connect" | "disconnect";
  readonly network: Pick<LocalNetwork, "id" | "name" | "driver">;
  /** `container`: id of the one that came or went. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** Networks of the node. References are ids, names, or beginnings of ids, in this order. */
export interface Networks {
  list(): readonly LocalNetwork[];
  /** @throws ClusterError not-found, or invalid-argument when several match. */
  find(reference: string): LocalNetwork;
  /** @throws ClusterError already-exists, invalid-argument with field and fix. */
  create(config: LocalNetworkConfig): Promise<LocalNetwork>;
  /** @throws ClusterError for a network of the swarm that this node could not make. */
  checkConfig(config: LocalNetworkConfig): void;
  /** @throws ClusterError permission-denied for predefined ones, failed-precondition while in use. */
  remove(reference: string): Promise<void>;
  /** Adds a network to a container; at once when it runs. */
  connect(container: Container, join: NetworkJoin): Promise<void>;
  disconnect(container: Container, reference: string, force: boolean): Promise<void>;
  /** Networks a container is in or, while it does not run, will be in: `connect` and `disconnect` included. */
  joinsOf(container: Container): readonly NetworkJoin[];
  /** Undefined for containers without places of their own, such as those that do not run. */
  placesOf(containerId: string): ContainerPlaces | undefined;
  /** Ids of the containers that have a place in a network. */
  containersIn(networkId: string): readonly string[];
  /** Networks of the swarm this node takes part in, as its manager told. */
  swarmNetworks(): readonly Network[];
  events(signal: AbortSignal): AsyncIterable<NetworkEvent>;
}
