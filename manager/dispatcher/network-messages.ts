/**
 * What there is to say about the data path, as messages of bounded size. Pure.
 */
import {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  NetworkUpdate,
} from "../../src/common/api/generated/api.ts";
import { networkObjectsMax } from "../../src/common/limits/agent.ts";
import { cut, idSize, numbered, numberedInFull } from "./message-pieces.ts";

/** What there is to say. */
export type NetworkChanges = {
  readonly peers: readonly NetworkPeer[];
  readonly networks: readonly Network[];
  readonly services: readonly NetworkService[];
  readonly endpoints: readonly NetworkEndpoint[];
  readonly removedPeerIds: readonly string[];
  readonly removedNetworkIds: readonly string[];
  readonly removedServiceIds: readonly string[];
  readonly removedEndpointIds: readonly string[];
};

/** Nothing to say. */
export const noChanges: NetworkChanges = {
  peers: [],
  networks: [],
  services: [],
  endpoints: [],
  removedPeerIds: [],
  removedNetworkIds: [],
  removedServiceIds: [],
  removedEndpointIds: [],
};

/**
 * Changes as messages; none when there is nothing to say. Numbers count on from `number`.
 *
 * @param shared Encoded updates that come first.
 */
export function networkMessagesOf(
  shared: readonly Uint8Array[],
  changes: NetworkChanges,
  number: number,
): NetworkUpdate[] {
  return numbered(piecesOf(shared, changes), number).map((one) => NetworkUpdate.create(one));
}

/** A full set as messages; at least one. */
export function fullNetworkMessagesOf(
  shared: readonly Uint8Array[],
  changes: NetworkChanges,
  number: number,
): NetworkUpdate[] {
  return numberedInFull(piecesOf(shared, changes), number).map((one) => NetworkUpdate.create(one));
}

/** What is said before what: what others refer to first, removals last. */
const order = [
  { field: "peers", sizeOf: (peer: NetworkPeer) => sizeOf(NetworkPeer, peer) },
  { field: "networks", sizeOf: (network: Network) => sizeOf(Network, network) },
  { field: "services", sizeOf: (service: NetworkService) => sizeOf(NetworkService, service) },
  { field: "endpoints", sizeOf: (endpoint: NetworkEndpoint) => sizeOf(NetworkEndpoint, endpoint) },
  { field: "removedEndpointIds", sizeOf: idSize },
  { field: "removedServiceIds", sizeOf: idSize },
  { field: "removedNetworkIds", sizeOf: idSize },
  { field: "removedPeerIds", sizeOf: idSize },
] as const;

function piecesOf(
  shared: readonly Uint8Array[],
  changes: NetworkChanges,
): Partial<NetworkUpdate>[] {
  const pieces = cut(changes, order, networkObjectsMax);
  const encoded = shared.map((one) => ({ shared: one }));
  const last = encoded.pop();
  if (last === undefined) return pieces;
  // What most agents are told at first is one message.
  return [...encoded, { ...pieces[0], ...last }, ...pieces.slice(1)];
}

/** Sizes of objects, which many sessions are told of. */
const sizes = new WeakMap<object, number>();

function sizeOf<T extends object>(codec: { encode(object: T): Uint8Array }, object: T): number {
  let size = sizes.get(object);
  if (size === undefined) {
    size = codec.encode(object).length;
    sizes.set(object, size);
  }
  return size;
}
