/**
 * How far one agent was told of the data path, and what there is to say to it. Pure over the index it reads from.
 *
 * Not every id it was told of is remembered, as thousands of agents are told of the same: an agent knows what is in its
 * networks, up to a place in the log of each.
 */
import type {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
} from "../../src/common/api/generated/api.ts";
import type { NetworkIndex, NetworkReader } from "./network-index.ts";
import type { NetworkEntry } from "./network-log.ts";
import type { NetworkChanges } from "./network-messages.ts";
import type { SharedMesh, SharedPeers } from "./network-shared.ts";

/** What there is to say next. */
export interface Increment {
  /** Encoded updates, which come before the changes. */
  readonly shared: readonly Uint8Array[];
  readonly changes: NetworkChanges;
}

/** One agent's place in the logs. */
export class NetworkPosition {
  readonly #index: NetworkIndex;
  readonly #reader: NetworkReader;
  /** Place in the log of each network the agent was told of. */
  readonly #places = new Map<string, number>();
  /** Place in the log of all peers; undefined while the agent is told only of those in its networks. */
  #peerPlace: number | undefined;
  /** The node itself, as the agent was told of it. */
  #self: NetworkPeer | undefined;
  #isClosed = false;

  constructor(index: NetworkIndex, reader: NetworkReader) {
    this.#index = index;
    this.#reader = reader;
    index.add(reader);
  }

  /** Goes to where an agent is that was told this, and nothing else. */
  begin({ place, meshId }: SharedMesh): void {
    if (this.#isClosed) return;
    for (const id of this.#places.keys()) this.#index.unsubscribe(this.#reader, id);
    this.#places.clear();
    this.#peerPlace = undefined;
    this.#self = undefined;
    if (meshId === "") return;
    this.#places.set(meshId, place);
    this.#index.subscribe(this.#reader, meshId);
  }

  /** Whether the agent has to be told of all nodes now, and is not yet. */
  get lacksEveryone(): boolean {
    return this.#peerPlace === undefined && this.#index.needsEveryone(this.#reader.nodeId);
  }

  /**
   * What changed since; undefined when so much did that everything has to be said.
   *
   * @param everyone All nodes, where the agent lacks them.
   */
  increment(everyone: SharedPeers | undefined): Increment | undefined {
    if (this.#isClosed) return undefined;
    const changed = new Changed();
    const isTaken = everyone !== undefined && this.lacksEveryone;
    if (isTaken) this.#peerPlace = everyone.place;
    if (!this.#readLogs(changed)) return undefined;
    this.#leave(changed);
    this.#enter(changed);
    this.#forgetEveryone(changed);
    this.#addSelf(changed, isTaken);
    return { shared: isTaken ? everyone.pieces : [], changes: this.#changesOf(changed) };
  }

  /** The session is over. */
  close(): void {
    this.#isClosed = true;
    this.#index.remove(this.#reader, this.#places.keys());
    this.#places.clear();
  }

  /** The node is told of itself whenever it is another, and whenever it may be told of an older one. */
  #addSelf(changed: Changed, isTold: boolean): void {
    const { nodeId } = this.#reader;
    const self = this.#index.peer(nodeId);
    if (isTold || self !== this.#self) changed.peers.add(nodeId);
    else changed.peers.delete(nodeId);
    this.#self = self;
  }

  /** @returns False when some of what changed is not known any more. */
  #readLogs(changed: Changed): boolean {
    const index = this.#index;
    const see = (entry: NetworkEntry) => changed.add(entry);
    if (this.#peerPlace !== undefined) {
      if (!index.peerLog.read(this.#peerPlace, see)) return false;
      this.#peerPlace = index.peerLog.end;
    }
    for (const [id, place] of this.#places) {
      const log = index.logOf(id);
      if (log.end === place) continue;
      if (!log.read(place, see)) return false;
      this.#places.set(id, log.end);
    }
    return true;
  }

  /** Of a network the node has no part in any more the agent forgets all that is in none of its others. */
  #leave(changed: Changed): void {
    const index = this.#index;
    const wanted = index.networksOf(this.#reader.nodeId);
    for (const id of [...this.#places.keys()]) {
      if (wanted.has(id)) continue;
      this.#addAll(id, changed);
      this.#places.delete(id);
      index.unsubscribe(this.#reader, id);
    }
  }

  #enter(changed: Changed): void {
    const index = this.#index;
    for (const id of index.networksOf(this.#reader.nodeId)) {
      if (this.#places.has(id)) continue;
      this.#places.set(id, index.logOf(id).end);
      index.subscribe(this.#reader, id);
      this.#addAll(id, changed);
    }
  }

  /** Everything in a network. */
  #addAll(networkId: string, changed: Changed): void {
    const index = this.#index;
    changed.networks.add(networkId);
    for (const id of index.nodesOf(networkId)) changed.peers.add(id);
    for (const id of index.servicesOf(networkId)) changed.services.add(id);
    for (const id of index.endpointsOf(networkId)) changed.endpoints.add(id);
  }

  /** Of the nodes it does not need any more the agent forgets all but those in its networks. */
  #forgetEveryone(changed: Changed): void {
    if (this.#peerPlace === undefined || this.#index.needsEveryone(this.#reader.nodeId)) return;
    this.#peerPlace = undefined;
    for (const id of this.#index.peerIds()) changed.peers.add(id);
  }

  #changesOf(changed: Changed): NetworkChanges {
    const index = this.#index;
    const known = this.#places;
    const { nodeId } = this.#reader;
    const [peers, removedPeerIds] = sorted<NetworkPeer>(changed.peers, (id) =>
      index.peerFor(nodeId, id, known),
    );
    const [networks, removedNetworkIds] = sorted<Network>(changed.networks, (id) =>
      known.has(id) ? index.network(id) : undefined,
    );
    const [services, removedServiceIds] = sorted<NetworkService>(changed.services, (id) =>
      index.serviceIn(id, known),
    );
    const [endpoints, removedEndpointIds] = sorted<NetworkEndpoint>(changed.endpoints, (id) =>
      index.endpointIn(id, known),
    );
    return {
      peers,
      networks,
      services,
      endpoints,
      removedPeerIds,
      removedNetworkIds,
      removedServiceIds,
      removedEndpointIds,
    };
  }
}

/** Ids of what may be different from what the agent has. */
class Changed {
  readonly peers = new Set<string>();
  readonly networks = new Set<string>();
  readonly services = new Set<string>();
  readonly endpoints = new Set<string>();

  add({ kind, id }: NetworkEntry): void {
    switch (kind) {
      case "peer":
        this.peers.add(id);
        return;
      case "network":
        this.networks.add(id);
        return;
      case "service":
        this.services.add(id);
        return;
      case "endpoint":
        this.endpoints.add(id);
    }
  }
}

/** Those that are there, and the ids of the others. */
function sorted<T>(
  ids: ReadonlySet<string>,
  find: (id: string) => T | undefined,
): [there: T[], gone: string[]] {
  const there: T[] = [];
  const gone: string[] = [];
  for (const id of ids) {
    const object = find(id);
    if (object === undefined) gone.push(id);
    else there.push(object);
  }
  return [there, gone];
}
