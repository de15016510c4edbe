/**
 * What many agents are told of the data path, encoded once for all: what is in the mesh's network, for every agent; all
 * nodes, for those that carry tasks with published ports.
 *
 * Thousands of agents come at once when a manager starts; each is told the same of thousands of endpoints. What has changed
 * since it was encoded goes after it.
 */
import {
  type Network,
  type NetworkEndpoint,
  type NetworkPeer,
  type NetworkService,
  NetworkUpdate,
} from "../../src/common/api/generated/api.ts";
import { networkSharedLagMax } from "../../src/common/limits/agent.ts";
import type { NetworkLog } from "./network-log.ts";
import { type NetworkChanges, networkMessagesOf, noChanges } from "./network-messages.ts";

/** What the updates are made from; the index has this form. */
export interface SharedSource {
  /** Id of the mesh's network; empty while there is none. */
  readonly meshId: string;
  readonly peerLog: NetworkLog;
  logOf(networkId: string): NetworkLog;
  peerIds(): Iterable<string>;
  peer(id: string): NetworkPeer | undefined;
  nodesOf(networkId: string): Iterable<string>;
  network(id: string): Network | undefined;
  servicesOf(networkId: string): Iterable<string>;
  serviceIn(id: string, networks: ReadonlySet<string>): NetworkService | undefined;
  endpointsOf(networkId: string): Iterable<string>;
  endpointIn(id: string, networks: ReadonlySet<string>): NetworkEndpoint | undefined;
}

/** Encoded updates about all peers, and how far in their log they reach. */
export interface SharedPeers {
  readonly pieces: readonly Uint8Array[];
  readonly place: number;
}

/** The same of the mesh's network and the nodes in it. */
export interface SharedMesh extends SharedPeers {
  /** Empty when there is none. */
  readonly meshId: string;
}

/** Keeps the updates of one index for as long as little has changed since. */
export class SharedUpdates {
  readonly #index: SharedSource;
  #peers: Kept<SharedPeers> | undefined;
  #mesh: Kept<SharedMesh> | undefined;

  constructor(index: SharedSource) {
    this.#index = index;
  }

  /** All peers. */
  peers(): Promise<SharedPeers> {
    if (this.#peers?.isFresh() !== true) this.#peers = this.#makePeers();
    return this.#peers.updates;
  }

  /** What is in the mesh's network. */
  mesh(): Promise<SharedMesh> {
    if (this.#mesh?.isFresh() !== true) this.#mesh = this.#makeMesh();
    return this.#mesh.updates;
  }

  /** Everything may be different. */
  drop(): void {
    this.#peers = undefined;
    this.#mesh = undefined;
  }

  #makePeers(): Kept<SharedPeers> {
    const { peerLog } = this.#index;
    const place = peerLog.end;
    const peers = this.#peersOf(this.#index.peerIds());
    return {
      isFresh: () => isNear(peerLog, place),
      updates: encoded({ ...noChanges, peers }).then((pieces) => ({ pieces, place })),
    };
  }

  #makeMesh(): Kept<SharedMesh> {
    const index = this.#index;
    const { meshId } = index;
    if (meshId === "") {
      const updates = Promise.resolve({ pieces: [], place: 0, meshId });
      return { isFresh: () => index.meshId === "", updates };
    }
    const log = index.logOf(meshId);
    const place = log.end;
    const networks = new Set([meshId]);
    const changes = {
      ...noChanges,
      peers: this.#peersOf(index.nodesOf(meshId)),
      networks: [...networks].flatMap((id) => index.network(id) ?? []),
      services: [...index.servicesOf(meshId)].flatMap((id) => index.serviceIn(id, networks) ?? []),
      endpoints: [...index.endpointsOf(meshId)].flatMap(
        (id) => index.endpointIn(id, networks) ?? [],
      ),
    };
    return {
      isFresh: () => index.meshId === meshId && isNear(log, place),
      updates: encoded(changes).then((pieces) => ({ pieces, place, meshId })),
    };
  }

  #peersOf(ids: Iterable<string>): NetworkPeer[] {
    return [...ids].flatMap((id) => this.#index.peer(id) ?? []);
  }
}

interface Kept<T> {
  isFresh(): boolean;
  readonly updates: Promise<T>;
}

function isNear(log: NetworkLog, place: number): boolean {
  return log.end - place <= networkSharedLagMax;
}

async function encoded(changes: NetworkChanges): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for (const message of networkMessagesOf([], changes, 0)) {
    pieces.push(NetworkUpdate.encode({ ...message, number: 0 }));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return pieces;
}
