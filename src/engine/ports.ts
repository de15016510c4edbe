/**
 * What the Engine API needs of the rest of the node, as small interfaces.
 *
 * The engine knows no store, no Raft and no agent: every request is translate → one port call → translate. `src/node`
 * implements these ports and hands them in. Everything that goes through here is typed and already parsed.
 *
 * Errors: ports throw `ClusterError`. Texts of errors from `SwarmPort`, `ObjectsPort.view` and `ObjectView.lookup`
 * reach the user as they are; those of `ObjectsPort.call` get Docker's `rpc error: code = … desc = …` in front.
 */
import type { Duplex } from "node:stream";
import type {
  Cluster,
  ClusterSpec,
  Config,
  MethodDescriptor,
  Network,
  Node,
  NodeAvailability,
  Peer,
  Platform,
  Secret,
  Service,
  Task,
  Volume,
} from "../common/api/generated/api.ts";
import type { RegistryAuth } from "../common/container/images.ts";
import type { Runtime } from "../common/container/runtime.ts";
import type { ImageContents, ResolvedImage } from "../common/registry/registry.ts";
import type { ClusterPlan } from "../common/spec/cluster-plan.ts";

/** Where a node stands towards its swarm, in Docker's words. */
export type LocalNodeState = "inactive" | "pending" | "active" | "error" | "locked";

/** The swarm as this node sees it now; cheap to make, no I/O. */
export interface SwarmStatus {
  readonly state: LocalNodeState;
  /** Empty while the node has no identity. */
  readonly nodeId: string;
  /** Advertised IP address without port; empty when unknown. */
  readonly nodeAddress: string;
  /** The node's role is manager, whether or not the manager is up. */
  readonly isManager: boolean;
  /** The manager runs and serves the API (Docker's ControlAvailable). */
  readonly controlAvailable: boolean;
  /** Why the state is `error` (or what ails an active node); empty otherwise. */
  readonly error: string;
  /** The error is that the node's certificate ran out. */
  readonly certificateExpired: boolean;
  /** Managers this node knows; addresses with port. */
  readonly remoteManagers: readonly Peer[];
}

/** A member of the Raft group, for `ManagerStatus` of nodes and for safety checks. */
export interface ManagerMember {
  readonly nodeId: string;
  /** host:port */
  readonly address: string;
  readonly leader: boolean;
  readonly reachable: boolean;
}

/** `docker swarm init`, parsed; addresses are as the user wrote them (host, host:port, interface name). */
export interface InitRequest {
  readonly listenAddress: string;
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  /** 0 means the default, 4789. */
  readonly dataPathPort: number;
  readonly forceNewCluster: boolean;
  /** Complete: defaults are filled in and autolock is in `spec.encryption`. */
  readonly spec: ClusterSpec;
  readonly availability: NodeAvailability;
  /** CIDR prefixes, checked; empty means the default, 10.0.0.0/8. */
  readonly defaultAddressPool: readonly string[];
  /** Prefix length of one network; 24 unless the user said otherwise. */
  readonly subnetSize: number;
}

/** `docker swarm join`, parsed. */
export interface JoinRequest {
  readonly listenAddress: string;
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  /** At least one. */
  readonly remoteAddresses: readonly string[];
  readonly joinToken: string;
  readonly availability: NodeAvailability;
}

/**
 * The life of this node in a swarm. Calls are serialised by the implementation.
 *
 * The engine itself answers with Docker's texts when the state forbids a call: init and join on a node that is already
 * in, leave without swarm, leave of a manager without force, unlock of what is not locked.
 */
export interface SwarmPort {
  status(): SwarmStatus;
  /** Members of the Raft group; empty on workers. */
  members(): readonly ManagerMember[];
  /** Resolves with the node id once the cluster answers. With `forceNewCluster` the node may already be in. */
  init(request: InitRequest): Promise<string>;
  /**
   * Resolves once the node is in and its manager, if it is one, is ready.
   * @throws ClusterError `deadline-exceeded` after 20 s; the attempt goes on in the background.
   */
  join(request: JoinRequest): Promise<void>;
  /** Ends all swarm parts of the node and removes its swarm state. */
  leave(force: boolean): Promise<void>;
  /** @throws ClusterError `unauthenticated` for a wrong key, `invalid-argument` for one of no valid form. */
  unlock(key: string): Promise<void>;
  /** `SWMKEY-1-…`, or "" while autolock is off. */
  unlockKey(): Promise<string>;
}

/** The tables the engine reads, with the type of their objects. */
export interface ObjectTypes {
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly network: Network;
  readonly secret: Secret;
  readonly config: Config;
  readonly cluster: Cluster;
  readonly volume: Volume;
}

/** Name of a table the engine reads. */
export type ObjectTable = keyof ObjectTypes;

/** A consistent read of the replicated tables. Objects are read-only and may be used after the view is gone. */
export interface ObjectView {
  get<T extends ObjectTable>(table: T, id: string): ObjectTypes[T] | undefined;
  /** Objects whose name is exactly this; a node's name is its host name, a task's `service.slot.id`. */
  byName<T extends ObjectTable>(table: T, name: string): Iterable<ObjectTypes[T]>;
  /**
   * The object a user means: full id, exact name, unambiguous id prefix, in this order.
   * @throws ClusterError `not-found` (`service x not found`), `invalid-argument` (`service x is ambiguous (2 matches found)`).
   */
  lookup<T extends ObjectTable>(table: T, reference: string): ObjectTypes[T];
  list<T extends ObjectTable>(table: T): Iterable<ObjectTypes[T]>;
  tasksOfService(serviceId: string): Iterable<Task>;
  tasksOfNode(nodeId: string): Iterable<Task>;
}

/** Reads and writes of the cluster's objects; only used while `SwarmStatus.controlAvailable`. */
export interface ObjectsPort {
  /**
   * A view that shows everything acknowledged before the call (a ReadIndex round).
   * @throws ClusterError `unavailable` when there is no leader; the engine then asks again for a while.
   */
  view(signal: AbortSignal): Promise<ObjectView>;
  /** The tables as this manager has them, which may be behind; undefined while there is no manager. No I/O. */
  present(): ObjectView | undefined;
  /** One method of `ControlService`, here or forwarded to the leader. */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R>;
  /** Begins to try changes without making them. @throws ClusterError as `view` */
  rehearse(signal: AbortSignal): Promise<RehearsalPort>;
}

/** Changes that are tried and not made, each over those before it. */
export interface RehearsalPort {
  /** The tables with what was tried. */
  view(): ObjectView;
  /** One method of `ControlService`. @throws ClusterError as the method; nothing is kept of it then */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q): R;
  /** The services that were made or changed, as they would be. */
  services(): readonly Service[];
  /**
   * What would come of all of it.
   *
   * @param o.answers What registries say of images, by the reference in the spec.
   * @param o.related Ids of objects that the plan also relies on.
   */
  plan(o: {
    readonly answers: ReadonlyMap<string, ResolvedImage>;
    readonly related: readonly string[];
  }): Promise<ClusterPlan>;
}

/** A byte stream to the Engine API of another node. */
export interface NodeTunnel {
  readonly stream: Duplex;
  /** Has `listener` called once when the node falls silent while bytes are waited for; it may come back. */
  onSilent(listener: () => void): void;
}

/** The way from a manager to the Engine APIs of other nodes; they serve requests for single containers only. */
export interface TunnelsPort {
  /** @throws ClusterError `unavailable` within 2 s when the node cannot be reached, or this node is no manager. */
  open(nodeId: string, signal: AbortSignal): Promise<NodeTunnel>;
}

/** One committed change. `object` is the new state, for a removal the last one. */
export type ObjectChange = {
  readonly [T in ObjectTable]: {
    readonly kind: "create" | "update" | "remove";
    readonly table: T;
    readonly object: ObjectTypes[T];
    /** Only for updates. */
    readonly old?: ObjectTypes[T] | undefined;
  };
}[ObjectTable];

/** Source of the swarm-scope events. */
export interface EventsPort {
  /**
   * Committed changes from now on, in order. Survives leave and join: it waits while the node has no store, and ends only
   * when the signal aborts. What is lost in a resynchronisation (snapshot) is not reported.
   */
  changes(signal: AbortSignal): AsyncIterable<readonly ObjectChange[]>;
}

/** Facts of this machine and daemon that do not change while it runs. */
export interface DaemonFacts {
  /** Stable id of this installation, a UUID; also seeds the ids of the node-local networks. */
  readonly engineId: string;
  /** Version of Skep, such as 0.1.0. */
  readonly version: string;
  readonly gitCommit: string;
  /** ISO time, may be empty. */
  readonly buildTime: string;
  readonly hostname: string;
  /** uname -r */
  readonly kernelVersion: string;
  /** PRETTY_NAME of os-release. */
  readonly operatingSystem: string;
  /** VERSION_ID of os-release. */
  readonly osVersion: string;
  /** Native platform first; architecture in OCI words (amd64). */
  readonly platforms: readonly Platform[];
  /** uname -m (x86_64). */
  readonly machine: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** The data root (DockerRootDir). */
  readonly dataDir: string;
  /** Engine labels, `key=value`. */
  readonly labels: readonly string[];
  readonly debug: boolean;
  readonly experimental: boolean;
  readonly liveRestore: boolean;
  readonly httpProxy: string;
  readonly httpsProxy: string;
  readonly noProxy: string;
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: readonly string[];
  /** Lines shown at the end of `docker info`. */
  readonly warnings: readonly string[];
}

/** The registries, asked directly. */
export interface RegistryPort {
  /** What a reference stands for there. @throws ClusterError as `Registry.resolve` */
  resolve(
    reference: string,
    options: { readonly auth: RegistryAuth | undefined; readonly signal: AbortSignal },
  ): Promise<ResolvedImage>;
  /** What of an image a machine would pull. @throws ClusterError as `Registry.contents` */
  contents(
    reference: string,
    options: {
      readonly auth: RegistryAuth | undefined;
      readonly platforms: readonly Platform[];
      readonly emulated: boolean;
      readonly signal: AbortSignal;
    },
  ): Promise<ImageContents>;
  /** Checks credentials; resolves with an identity token or "". @throws ClusterError `unauthenticated` */
  login(domain: string, auth: RegistryAuth, signal: AbortSignal): Promise<string>;
}

/** Everything the engine is given. */
export interface EnginePorts {
  readonly swarm: SwarmPort;
  readonly objects: ObjectsPort;
  readonly events: EventsPort;
  readonly tunnels: TunnelsPort;
  /** Containers, images and volumes of this node. */
  readonly runtime: Runtime;
  readonly registry: RegistryPort;
  readonly facts: DaemonFacts;
}
