/**
 * How messages change the state of the data path, what of it changed, and how it is written down. Pure.
 *
 * Objects that stay the same stay the same objects: plans that are made from them can be kept.
 */
import {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  type NetworkUpdate,
} from "../../src/common/api/generated/api.ts";
import { type ClusterState, emptyClusterState } from "./cluster-state.ts";

/** Ids of what is new, another, or gone. */
export interface StateChange {
  readonly peers: ReadonlySet<string>;
  readonly networks: ReadonlySet<string>;
  readonly services: ReadonlySet<string>;
  readonly endpoints: ReadonlySet<string>;
}

/** A state and what it differs in from the one before. */
export interface Changed {
  readonly state: ClusterState;
  readonly change: StateChange;
}

/** What is remembered: an object's bytes by its kind and id. */
export type Entries = Iterable<readonly [key: string, value: Uint8Array]>;

/** Objects of one kind that are put in or taken out. */
interface Patch<T> {
  readonly put: Iterable<readonly [id: string, object: T]>;
  readonly removed: Iterable<string>;
}

interface Patches {
  readonly peers: Patch<NetworkPeer>;
  readonly networks: Patch<Network>;
  readonly services: Patch<NetworkService>;
  readonly endpoints: Patch<NetworkEndpoint>;
}

/** Applies the changes of one message. @param nodeId This node; empty while it is in no cluster. */
export function applyUpdate(state: ClusterState, update: NetworkUpdate, nodeId: string): Changed {
  const patches: Patches = {
    peers: {
      put: update.peers.map((peer) => [peer.nodeId, peer]),
      removed: update.removedPeerIds,
    },
    networks: { put: update.networks.map(byId), removed: update.removedNetworkIds },
    services: { put: update.services.map(byId), removed: update.removedServiceIds },
    endpoints: { put: update.endpoints.map(byId), removed: update.removedEndpointIds },
  };
  return patched(state, patches, nodeId);
}

/** Replaces everything; `self` of `after` does not matter. */
export function replaceAll(state: ClusterState, after: ClusterState, nodeId: string): Changed {
  const patches: Patches = {
    peers: replacing(state.peers, after.peers),
    networks: replacing(state.networks, after.networks),
    services: replacing(state.services, after.services),
    endpoints: replacing(state.endpoints, after.endpoints),
  };
  return patched(state, patches, nodeId);
}

/** Whether nothing changed. */
export function isEmptyChange({ peers, networks, services, endpoints }: StateChange): boolean {
  return peers.size + networks.size + services.size + endpoints.size === 0;
}

/** What has to be written for a change; undefined for what is gone. */
export function entriesOf(
  state: ClusterState,
  change: StateChange,
): ReadonlyMap<string, Uint8Array | undefined> {
  const entries = new Map<string, Uint8Array | undefined>();
  const add = <T>(kind: string, encode: Encode<T>, all: ReadonlyMap<string, T>, ids: Ids) => {
    for (const id of ids) {
      const object = all.get(id);
      entries.set(`${kind}/${id}`, object === undefined ? undefined : encode(object));
    }
  };
  add("peer", NetworkPeer.encode, state.peers, change.peers);
  add("network", Network.encode, state.networks, change.networks);
  add("service", NetworkService.encode, state.services, change.services);
  add("endpoint", NetworkEndpoint.encode, state.endpoints, change.endpoints);
  return entries;
}

/** The state that was written down. @throws Error for bytes that are none. */
export function stateOfEntries(entries: Entries): ClusterState {
  const peers = new Map<string, NetworkPeer>();
  const networks = new Map<string, Network>();
  const services = new Map<string, NetworkService>();
  const endpoints = new Map<string, NetworkEndpoint>();
  for (const [key, value] of entries) {
    const [kind = "", id = ""] = key.split("/");
    if (kind === "peer") peers.set(id, NetworkPeer.decode(value));
    else if (kind === "network") networks.set(id, Network.decode(value));
    else if (kind === "service") services.set(id, NetworkService.decode(value));
    else if (kind === "endpoint") endpoints.set(id, NetworkEndpoint.decode(value));
  }
  return { ...emptyClusterState, peers, networks, services, endpoints };
}

type Encode<T> = (object: T) => Uint8Array;
type Ids = ReadonlySet<string>;

function patched(state: ClusterState, patches: Patches, nodeId: string): Changed {
  const peers = patch(state.peers, patches.peers, NetworkPeer.encode);
  const networks = patch(state.networks, patches.networks, Network.encode);
  const services = patch(state.services, patches.services, NetworkService.encode);
  const endpoints = patch(state.endpoints, patches.endpoints, NetworkEndpoint.encode);
  return {
    state: {
      self: peers.map.get(nodeId),
      peers: peers.map,
      networks: networks.map,
      services: services.map,
      endpoints: endpoints.map,
    },
    change: {
      peers: peers.ids,
      networks: networks.ids,
      services: services.ids,
      endpoints: endpoints.ids,
    },
  };
}

/** The map with the changes, itself where there are none, and their ids. */
function patch<T>(before: ReadonlyMap<string, T>, { put, removed }: Patch<T>, encode: Encode<T>) {
  const ids = new Set<string>();
  // Copied only for a change: there may be ten thousand entries, and most messages are about one.
  let copy: Map<string, T> | undefined;
  const own = () => {
    copy ??= new Map(before);
    return copy;
  };
  for (const id of removed) {
    if (!before.has(id)) continue;
    own().delete(id);
    ids.add(id);
  }
  for (const [id, object] of put) {
    const old = (copy ?? before).get(id);
    if (old !== undefined && isSame(old, object, encode)) continue;
    own().set(id, object);
    ids.add(id);
  }
  return { map: copy ?? before, ids };
}

function isSame<T>(a: T, b: T, encode: Encode<T>): boolean {
  return a === b || Buffer.compare(encode(a), encode(b)) === 0;
}

function byId<T extends { readonly id: string }>(object: T): readonly [string, T] {
  return [object.id, object];
}

function replacing<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): Patch<T> {
  return { put: after, removed: [...before.keys()].filter((id) => !after.has(id)) };
}
