/**
 * The networks of one node: implements `Networks` for the Engine API, and gives the half that makes devices the places of
 * containers in them.
 *
 * Only what is to be is kept here; what the kernel has is made from `endpoints` by whoever sets the plumbing. Networks of
 * the swarm are none of these: names that are not known here are left to that half.
 */
import { createHash } from "node:crypto";
import type { Network } from "../../../src/common/api/generated/api.ts";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { EventHub } from "../../../src/common/container/event-hub.ts";
import type {
  ContainerPlaces,
  LocalNetwork,
  LocalNetworkConfig,
  NetworkEvent,
  NetworkPlace,
  Networks,
} from "../../../src/common/container/networks.ts";
import type { Container, NetworkJoin, PortBinding } from "../../../src/common/container/types.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { type IpPrefix, parsePrefix } from "../../../src/common/spec/cidr.ts";
import { checkNetwork, checkParent } from "./check.ts";
import { checkUnused, configured } from "./configuration.ts";
import { chooseHostPorts, type PortProbe, type TakenPort } from "./host-ports.ts";
import { type AddressPool, type ChosenSubnet, chooseSubnets, defaultPools } from "./ipam.ts";
import { hasOwnNetworks, joinsFromConfig } from "./joins.ts";
import { configOf } from "./of-swarm.ts";
import { choosePlace } from "./place.ts";
import { defaultNetworkName, predefinedId, predefinedNetworks } from "./predefined.ts";
import type { Kept, KeptContainer, LocalStore } from "./store.ts";

/** What the networks are made with. */
export interface LocalNetworksOptions {
  readonly store: Pick<LocalStore, "load" | "save" | "keepPlaces">;
  /** Id of the installation: those of its own networks derive from it. */
  readonly engineId: string;
  /** Whether the node has the network `bridge`; one with containers in it stays until the next start without. */
  readonly hasBridge: boolean;
  /** Where subnets are taken from; Docker's when empty. */
  readonly pools: readonly AddressPool[];
  /** Prefixes the host has routes for, and those the data path has. */
  readonly takenPrefixes: () => readonly IpPrefix[];
  readonly probe: PortProbe;
  /** Whether the host has a device of this name. */
  readonly hasDevice: (name: string) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The half that makes devices. */
export interface Plumbing {
  /** The networks of a running container are others than before: its devices follow. */
  changed(container: Container): Promise<void>;
  /** Ports of the host that services of the swarm have. */
  servicePorts(): readonly TakenPort[];
  /** Its namespace and its places in networks of the swarm; undefined for a container without namespace of ours. */
  swarmPlacesOf(
    containerId: string,
  ): { readonly sandbox: string; readonly places: readonly NetworkPlace[] } | undefined;
  /** Containers of this node in a network of the swarm. */
  containersInSwarm(networkId: string): readonly string[];
  /** Networks of the swarm this node takes part in. */
  swarmNetworks(): readonly Network[];
}

/** A container's place in a network of the node. */
export interface LocalEndpoint {
  readonly containerId: string;
  readonly network: LocalNetwork;
  readonly place: NetworkPlace;
}

/** All networks of a node. */
export class LocalNetworks implements Networks {
  readonly #o: LocalNetworksOptions;
  readonly #networks = new Map<string, LocalNetwork>();
  readonly #containers = new Map<string, KeptContainer>();
  readonly #bridge: readonly ChosenSubnet[];
  /** The networks have been written down, with the subnets of `bridge`. */
  #isKept: boolean;
  readonly #events = new EventHub<NetworkEvent>();
  #plumbing: Plumbing | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Reads what there is. */
  constructor(options: LocalNetworksOptions) {
    this.#o = options;
    const kept = options.store.load(options.log);
    for (const [id, container] of Object.entries(kept?.containers ?? {}))
      this.#containers.set(id, container);
    for (const network of kept?.networks ?? []) this.#networks.set(network.id, network);
    const hasBridge = options.hasBridge || this.#isBridgeUsed();
    const had = kept?.bridge ?? [];
    this.#bridge = hasBridge && had.length === 0 ? this.#chooseBridge() : had;
    this.#isKept = kept !== undefined && this.#bridge === had;
    const { engineId, clock } = options;
    const own = predefinedNetworks(engineId, hasBridge ? this.#bridge : undefined, clock.now());
    const others = this.list();
    this.#networks.clear();
    for (const network of [...own, ...others]) this.#networks.set(network.id, network);
  }

  /** Containers that run are not cut off: as with Docker, what is asked for holds once they have ended. */
  #isBridgeUsed(): boolean {
    const id = predefinedId(this.#o.engineId, defaultNetworkName);
    const users = this.containersIn(id);
    if (users.length === 0) return false;
    this.#o.log.warn(
      "containers run in the network bridge: it stays until a start of the daemon that finds none",
      { containers: users.length },
    );
    return true;
  }

  /** To be set before containers are started. */
  setPlumbing(plumbing: Plumbing): void {
    this.#plumbing = plumbing;
  }

  list(): readonly LocalNetwork[] {
    return [...this.#networks.values()];
  }

  find(reference: string): LocalNetwork {
    const network = this.lookUp(reference);
    if (network === undefined) {
      throw new ClusterError("not-found", `network ${reference} not found`);
    }
    return network;
  }

  /** As `find`, undefined when there is none. @throws ClusterError invalid-argument when several match. */
  lookUp(reference: string): LocalNetwork | undefined {
    const name = reference === "default" ? defaultNetworkName : reference;
    const exact = this.#networks.get(name);
    if (exact !== undefined) return exact;
    const named = this.list().find((network) => network.name === name);
    if (named !== undefined || name === "") return named;
    const begun = this.list().filter(({ id }) => id.startsWith(name));
    if (begun.length > 1) {
      throw new ClusterError(
        "invalid-argument",
        `network ${reference} is ambiguous (${begun.length} matches found based on ID prefix)`,
      );
    }
    return begun[0];
  }

  checkConfig(asked: LocalNetworkConfig): void {
    checkNetwork(configured(asked, this.list()));
  }

  create(asked: LocalNetworkConfig): Promise<LocalNetwork> {
    return this.#inTurn(async () => {
      const config = configured(asked, this.list());
      checkNetwork(config);
      checkParent(config, this.#o.hasDevice);
      if (this.list().some(({ name }) => name === config.name)) {
        throw new ClusterError("already-exists", `network with name ${config.name} already exists`);
      }
      const id = Buffer.from(this.#o.random.bytes(32)).toString("hex");
      const network = this.#made(id, config);
      this.#networks.set(id, network);
      try {
        await this.#save();
      } catch (error) {
        this.#networks.delete(id);
        throw error;
      }
      this.tell("create", network, {});
      return network;
    });
  }

  remove(reference: string): Promise<void> {
    return this.#inTurn(async () => {
      const network = this.find(reference);
      if (network.predefined) {
        throw new ClusterError(
          "permission-denied",
          `${network.name} is a pre-defined network and cannot be removed`,
        );
      }
      checkUnused(network, this.list());
      const users = this.containersIn(network.id);
      if (users.length > 0) {
        throw new ClusterError(
          "failed-precondition",
          `error while removing network: network ${network.name} id ${network.id} has active endpoints (${users.map((id) => `id:${JSON.stringify(id)}`).join(" ")}): stop these containers, or disconnect them`,
        );
      }
      this.#networks.delete(network.id);
      await this.#save();
      this.tell("destroy", network, {});
    });
  }

  joinsOf(container: Container): readonly NetworkJoin[] {
    return this.#containers.get(container.id)?.joins ?? joinsFromConfig(container.config);
  }

  /**
   * Whether it has no network at all, as those who name none have on a node without `bridge`: its namespace is its runtime's,
   * with a loopback device alone.
   */
  isAlone({ id, config }: Pick<Container, "id" | "config">): boolean {
    if (this.#containers.get(id)?.joins !== undefined || !hasOwnNetworks(config)) return false;
    return this.#without(joinsFromConfig(config)).length === 0;
  }

  /** Those in networks that there are, or may be. Who names the network `bridge` where there is none has nothing of it. */
  #without(joins: readonly NetworkJoin[]): readonly NetworkJoin[] {
    return joins.filter(({ network }) => network !== defaultNetworkName || this.#hasBridge());
  }

  #hasBridge(): boolean {
    return this.lookUp(defaultNetworkName) !== undefined;
  }

  /** What a container is to have of networks that are not the node's. */
  swarmJoinsOf(container: Container): readonly NetworkJoin[] {
    const joins = this.#without(this.joinsOf(container));
    return joins.filter(({ network }) => this.lookUp(network) === undefined);
  }

  async connect(container: Container, join: NetworkJoin): Promise<void> {
    const joins = this.joinsOf(container);
    const network = this.lookUp(join.network);
    if (this.#without([join]).length === 0) this.find(join.network);
    if (container.state.pid !== 0 && this.isAlone(container)) {
      throw new ClusterError(
        "failed-precondition",
        `container ${container.name} was started without networks: stop it, connect it, and start it again`,
      );
    }
    const reference = network?.name ?? join.network;
    if (joins.some((other) => this.#isSame(other.network, join.network))) {
      throw new ClusterError(
        "permission-denied",
        `endpoint with name ${container.name} already exists in network ${reference}`,
      );
    }
    await this.#change(container, [...joins, { ...join, network: reference }]);
  }

  async disconnect(container: Container, reference: string, _force: boolean): Promise<void> {
    const joins = this.joinsOf(container);
    const rest = joins.filter((join) => !this.#isSame(join.network, reference));
    if (rest.length === joins.length) {
      throw new ClusterError(
        "permission-denied",
        `container ${container.id} is not connected to the network ${this.lookUp(reference)?.name ?? reference}`,
      );
    }
    await this.#change(container, rest);
  }

  placesOf(containerId: string): ContainerPlaces | undefined {
    const kept = this.#containers.get(containerId);
    const swarm = this.#plumbing?.swarmPlacesOf(containerId);
    const places = [...(kept?.places ?? []), ...(swarm?.places ?? [])];
    const ports = kept?.ports ?? [];
    if (swarm === undefined && places.length === 0 && ports.length === 0) return undefined;
    return { sandbox: swarm?.sandbox ?? "", places, ports };
  }

  containersIn(networkId: string): readonly string[] {
    const swarm = this.#plumbing?.containersInSwarm(networkId) ?? [];
    const own = [...this.#containers]
      .filter(([, { places }]) => places.some((place) => place.networkId === networkId))
      .map(([id]) => id);
    return [...own, ...swarm];
  }

  swarmNetworks(): readonly Network[] {
    return this.#plumbing?.swarmNetworks() ?? [];
  }

  events(signal: AbortSignal): AsyncIterable<NetworkEvent> {
    return this.#events.read(signal);
  }

  /** Says to all readers of events what happened to a network. */
  tell(
    action: NetworkEvent["action"],
    network: NetworkEvent["network"],
    attributes: Readonly<Record<string, string>>,
  ): void {
    const timeNs = BigInt(this.#o.clock.now()) * 1_000_000n;
    this.#events.emit({ timeNs, action, network, attributes });
  }

  /** @throws ClusterError for what a container asks of the networks of this node and cannot have; before it is made. */
  check(config: Container["config"]): void {
    if (config.ports.length > 0 && this.isAlone({ id: "", config })) {
      this.#o.log.warn("published ports lead nowhere: the node has no network bridge", {
        "task.id": config.task?.taskId,
        ports: config.ports.map(({ hostPort, protocol }) => `${hostPort}/${protocol}`).join(" "),
      });
    }
    for (const join of joinsFromConfig(config)) {
      const network = this.lookUp(join.network);
      if (network !== undefined) choosePlace(network, join, new Set(), "");
    }
  }

  /**
   * The places of a container that is about to start in networks of this node, and its ports. The same again until
   * `release`.
   * @throws ClusterError for addresses and ports that are taken.
   */
  give(container: Container): Promise<ContainerPlaces> {
    return this.#inTurn(async () => {
      const before = this.#containers.get(container.id);
      const joins = this.joinsOf(container);
      const isMore = this.#makeForSwarm(joins);
      const places = this.#placesFor(joins, before?.places ?? []);
      const had = before?.ports ?? [];
      const ports = had.length > 0 ? had : await this.#portsFor(container);
      if (places.length > 0 || ports.length > 0) {
        this.#containers.set(container.id, { ...before, places, ports });
        await this.#keep(container.id, isMore);
      }
      this.#told(container.id, before?.places ?? [], places);
      return { sandbox: "", places, ports };
    });
  }

  /** After its end: addresses and ports are free again. What was connected stays so for its next start. */
  release(containerId: string): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#containers.get(containerId);
      const hasNone =
        before === undefined || (before.places.length === 0 && before.ports.length === 0);
      if (!hasNone) {
        if (before.joins === undefined) this.#containers.delete(containerId);
        else this.#containers.set(containerId, { ...before, places: [], ports: [] });
        this.#told(containerId, before.places, []);
      }
      const isLess = this.#removeUnusedOfSwarm();
      if (!hasNone || isLess) await this.#keep(containerId, isLess);
    });
  }

  /** The container is gone. */
  async forget(containerId: string): Promise<void> {
    await this.release(containerId);
    await this.#inTurn(async () => {
      if (this.#containers.delete(containerId)) await this.#keep(containerId, true);
    });
  }

  /** Every place of a container in a network of this node. */
  endpoints(): readonly LocalEndpoint[] {
    return [...this.#containers].flatMap(([containerId, { places }]) =>
      places.flatMap((place) => {
        const network = this.#networks.get(place.networkId);
        return network === undefined ? [] : [{ containerId, network, place }];
      }),
    );
  }

  /** Ports of the host by container. */
  ports(): ReadonlyMap<string, readonly PortBinding[]> {
    return new Map([...this.#containers].map(([id, { ports }]) => [id, ports]));
  }

  /** Removes what is kept of containers that are not there any more; once all are known. */
  async keepOnly(containerIds: ReadonlySet<string>): Promise<void> {
    for (const id of [...this.#containers.keys()]) {
      if (!containerIds.has(id)) await this.forget(id);
    }
  }

  #made(id: string, config: LocalNetworkConfig): LocalNetwork {
    const request = {
      configs: config.ipam?.configs ?? [],
      ipv6: config.ipv6,
      uniqueLocal: BigInt(`0x${createHash("sha256").update(id).digest("hex").slice(0, 10)}`),
    };
    const subnets =
      config.configOnly === true ? [] : chooseSubnets(request, this.#pools(), this.#taken(config));
    return { ...config, id, createdAtMs: this.#o.clock.now(), subnets, predefined: false };
  }

  /** Makes the networks of the swarm that are the nodes' to make, for the first container in them. @returns Whether it did. */
  #makeForSwarm(joins: readonly NetworkJoin[]): boolean {
    let isMore = false;
    for (const { network: id, made } of joins) {
      if (made === undefined || this.#networks.has(id)) continue;
      const config = configured(configOf(made), this.list());
      checkNetwork(config);
      checkParent(config, this.#o.hasDevice);
      const network = { ...this.#made(id, config), ofSwarm: true };
      this.#networks.set(id, network);
      this.tell("create", network, {});
      isMore = true;
    }
    return isMore;
  }

  /** They go with the last container. @returns Whether some did. */
  #removeUnusedOfSwarm(): boolean {
    const unused = this.list().filter(
      ({ id, ofSwarm }) => ofSwarm === true && this.#addressesIn(id).size === 0,
    );
    for (const network of unused) {
      this.#networks.delete(network.id);
      this.tell("destroy", network, {});
    }
    return unused.length > 0;
  }

  /** Takes up other networks: at once when the container runs, and back to those of before when that fails. */
  async #change(container: Container, joins: readonly NetworkJoin[]): Promise<void> {
    const running = container.state.pid !== 0;
    let before: KeptContainer | undefined;
    await this.#inTurn(async () => {
      before = this.#containers.get(container.id);
      const had = before?.places ?? [];
      const places = running ? this.#placesFor(joins, had) : had;
      this.#containers.set(container.id, { places, ports: before?.ports ?? [], joins });
      await this.#keep(container.id, true);
      if (running) this.#told(container.id, had, places);
    });
    if (!running) return;
    try {
      await this.#plumbing?.changed(container);
    } catch (error) {
      await this.#inTurn(async () => {
        if (before === undefined) this.#containers.delete(container.id);
        else this.#containers.set(container.id, before);
        await this.#keep(container.id, true);
      });
      throw error;
    }
  }

  #placesFor(joins: readonly NetworkJoin[], had: readonly NetworkPlace[]): readonly NetworkPlace[] {
    return joins.flatMap((join) => {
      const network = this.lookUp(join.network);
      if (network === undefined) return [];
      const same = had.find((place) => place.networkId === network.id);
      if (same !== undefined) return [same];
      const endpointId = Buffer.from(this.#o.random.bytes(32)).toString("hex");
      return [choosePlace(network, join, this.#addressesIn(network.id), endpointId)];
    });
  }

  #addressesIn(networkId: string): ReadonlySet<string> {
    const places = [...this.#containers.values()].flatMap((container) => container.places);
    const inside = places.filter((place) => place.networkId === networkId);
    return new Set(inside.flatMap(({ address, address6 }) => [address, address6]));
  }

  #portsFor(container: Container): Promise<readonly PortBinding[]> {
    const { ports, publishAll, exposedPorts } = container.config;
    const bound = new Set(ports.map((port) => `${port.containerPort}/${port.protocol}`));
    const all = publishAll ? exposedPorts.filter((text) => !bound.has(text)) : [];
    const taken = [...this.#containers.values()].flatMap((other) => other.ports);
    const services = this.#plumbing?.servicePorts() ?? [];
    const wanted = [...ports, ...all.map(anyHostPort)];
    return chooseHostPorts(wanted, [...taken, ...services], this.#o.probe);
  }

  #isSame(a: string, b: string): boolean {
    const [one, other] = [this.lookUp(a), this.lookUp(b)];
    return one === undefined || other === undefined ? a === b : one.id === other.id;
  }

  #pools(): readonly AddressPool[] {
    return this.#o.pools.length > 0 ? this.#o.pools : defaultPools;
  }

  /** Networks on a device of the host (macvlan, ipvlan) have the subnet of that device. */
  #taken(config: LocalNetworkConfig): readonly IpPrefix[] {
    const onDevice = config.driver !== "bridge";
    return onDevice ? prefixesOf(this.list()) : this.#takenWith(this.list());
  }

  #takenWith(networks: readonly LocalNetwork[]): readonly IpPrefix[] {
    return [...prefixesOf(networks), ...this.#o.takenPrefixes()];
  }

  #chooseBridge(): readonly ChosenSubnet[] {
    const request = { configs: [], ipv6: false, uniqueLocal: 0n };
    try {
      return chooseSubnets(request, this.#pools(), this.#takenWith(this.list()));
    } catch (error) {
      this.#o.log.error("there are no addresses for containers in the network bridge", {
        err: errorText(error),
      });
      return [];
    }
  }

  #told(
    containerId: string,
    before: readonly NetworkPlace[],
    after: readonly NetworkPlace[],
  ): void {
    const ids = (places: readonly NetworkPlace[]) => new Set(places.map((p) => p.networkId));
    const [had, has] = [ids(before), ids(after)];
    for (const { networkId } of before)
      if (!has.has(networkId)) this.#emitById("disconnect", networkId, containerId);
    for (const { networkId } of after)
      if (!had.has(networkId)) this.#emitById("connect", networkId, containerId);
  }

  #emitById(action: "connect" | "disconnect", networkId: string, container: string): void {
    const network = this.#networks.get(networkId);
    if (network !== undefined) this.tell(action, network, { container });
  }

  /** A container's places are others. @param isLasting Networks, or what it was connected to, are, too. */
  async #keep(containerId: string, isLasting: boolean): Promise<void> {
    this.#o.store.keepPlaces(containerId, this.#containers.get(containerId));
    if (isLasting || !this.#isKept) await this.#save();
  }

  async #save(): Promise<void> {
    const kept: Kept = {
      format: 1,
      bridge: this.#bridge,
      networks: this.list().filter(({ predefined }) => !predefined),
      containers: Object.fromEntries(this.#containers),
    };
    await this.#o.store.save(kept);
    this.#isKept = true;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {});
    return turn;
  }
}

function prefixesOf(networks: readonly LocalNetwork[]): IpPrefix[] {
  return networks
    .flatMap(({ subnets }) => subnets)
    .flatMap(({ subnet }) => parsePrefix(subnet) ?? []);
}

function anyHostPort(text: string): PortBinding {
  const [port = "", protocol = "tcp"] = text.split("/");
  return {
    protocol: protocol === "udp" || protocol === "sctp" ? protocol : "tcp",
    containerPort: Number(port),
    hostAddress: "",
    hostPort: 0,
  };
}
