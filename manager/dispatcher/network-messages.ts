/**
 * What there is to say about the data path, cut into messages of bounded size. Pure.
 */
import {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  NetworkUpdate,
} from "../../src/common/api/generated/api.ts";
import { assignmentBytesMax, networkObjectsMax } from "../../src/common/limits/agent.ts";

/** What there is to say. */
export interface NetworkChanges {
  readonly peers: readonly NetworkPeer[];
  readonly networks: readonly Network[];
  readonly services: readonly NetworkService[];
  readonly endpoints: readonly NetworkEndpoint[];
  readonly removedPeerIds: readonly string[];
  readonly removedNetworkIds: readonly string[];
  readonly removedServiceIds: readonly string[];
  readonly removedEndpointIds: readonly string[];
}

type Piece = { -readonly [K in keyof NetworkChanges]?: NetworkChanges[K][number][] };

/** Changes as messages; none when there is nothing to say. Numbers count on from `number`. */
export function networkMessagesOf(changes: NetworkChanges, number: number): NetworkUpdate[] {
  return cut(changes).map((piece, i) => NetworkUpdate.create({ ...piece, number: number + i }));
}

/**
 * A full set as messages; at least one. Numbers count on from `number`.
 *
 * @param shared Encoded updates that come first.
 */
export function fullNetworkMessagesOf(
  shared: readonly Uint8Array[],
  changes: NetworkChanges,
  number: number,
): NetworkUpdate[] {
  const pieces: Partial<NetworkUpdate>[] = [
    ...shared.map((one) => ({ shared: one })),
    ...cut(changes),
  ];
  if (pieces.length === 0) pieces.push({});
  return pieces.map((piece, i) =>
    NetworkUpdate.create({
      ...piece,
      number: number + i,
      full: true,
      first: i === 0,
      last: i === pieces.length - 1,
    }),
  );
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

/** Cuts in an order in which an agent may act: what others refer to goes first, removals last. */
function cut(changes: NetworkChanges): Piece[] {
  const pieces: Piece[] = [];
  let [bytes, objects] = [0, 0];
  const put = (key: keyof Piece, value: unknown, size: number) => {
    const isFull = objects >= networkObjectsMax || bytes + size > assignmentBytesMax;
    if (pieces.length === 0 || (isFull && objects > 0)) {
      pieces.push({});
      [bytes, objects] = [0, 0];
    }
    const piece = pieces[pieces.length - 1] as Record<string, unknown[] | undefined>;
    const list = piece[key] ?? [];
    list.push(value);
    piece[key] = list;
    bytes += size;
    objects += 1;
  };
  for (const peer of changes.peers) put("peers", peer, sizeOf(NetworkPeer, peer));
  for (const network of changes.networks) put("networks", network, sizeOf(Network, network));
  for (const service of changes.services) put("services", service, sizeOf(NetworkService, service));
  for (const one of changes.endpoints) put("endpoints", one, sizeOf(NetworkEndpoint, one));
  for (const id of changes.removedEndpointIds) put("removedEndpointIds", id, id.length);
  for (const id of changes.removedServiceIds) put("removedServiceIds", id, id.length);
  for (const id of changes.removedNetworkIds) put("removedNetworkIds", id, id.length);
  for (const id of changes.removedPeerIds) put("removedPeerIds", id, id.length);
  return pieces;
}
