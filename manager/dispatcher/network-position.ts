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
import type { SharedSet } from "./network-shared.ts";

/** One agent's place in the logs. */
export class NetworkPosition {
  readonly #index: NetworkIndex;
  readonly #reader: NetworkReader;
  /** Place in the log of each network the agent was told of. */
  readonly #places = new Map<string, number>();
  #peerPlace = 0;

  constructor(index: NetworkIndex, reader: NetworkReader) {
    this.#index = index;
    this.#reader = reader;
    index.add(reader);
  }

  /** Goes to where an agent is that was told this, and nothing else. */
  begin({ peerPlace, meshId, meshPlace }: SharedSet): void {
    for (const id of this.#places.keys()) this.#index.unsubscribe(this.#reader, id);
    this.#places.clear();
    this.#peerPlace = peerPlace;
    if (meshId === "") return;
    this.#places.set(meshId, meshPlace);
    this.#index.subscribe(this.#reader, meshId);
  }

  /** What changed since; undefined when so much did that everything has to be said. */
  increment(): NetworkChanges | undefined {
    const index = this.#index;
    const changed = new Changed();
    const see = (entry: NetworkEntry) => changed.add(entry);
    if (!index.peerLog.read(this.#peerPlace, see)) return undefined;
    this.#peerPlace = index.peerLog.end;
    for (const [id, place] of this.#places) {
      const log = index.logOf(id);
      if (log.end === place) continue;
      if (!log.read(place, see)) return undefined;
      this.#places.set(id, log.end);
    }
    this.#leave(changed);
    this.#enter(changed);
    return this.#changesOf(changed);
  }

  /** The session is over. */
  close(): void {
    this.#index.remove(this.#reader, this.#places.keys());
    this.#places.clear();
  }

  /** Of a network the node has no part in any more the agent forgets all that is in none of its others. */
  #leave(changed: Changed): void {
    const index = this.#index;
    const wanted = index.networksOf(this.#reader.nodeId);
    for (const id of [...this.#places.keys()]) {
      if (wanted.has(id)) continue;
      for (const service of index.servicesOf(id)) changed.services.add(service);
      for (const endpoint of index.endpointsOf(id)) changed.endpoints.add(endpoint);
      changed.networks.add(id);
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
      changed.networks.add(id);
      for (const service of index.servicesOf(id)) changed.services.add(service);
      for (const endpoint of index.endpointsOf(id)) changed.endpoints.add(endpoint);
    }
  }

  #changesOf(changed: Changed): NetworkChanges {
    const index = this.#index;
    const known = new Set(this.#places.keys());
    const [peers, removedPeerIds] = sorted<NetworkPeer>(changed.peers, (id) => index.peer(id));
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
