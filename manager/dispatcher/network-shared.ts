/**
 * What every agent is told of the data path, encoded once for all: the nodes, and what is in the mesh's network.
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
import { networkMessagesOf } from "./network-messages.ts";

/** What the set is made from; the index has this form. */
export interface SharedSource {
  /** Id of the mesh's network; empty while there is none. */
  readonly meshId: string;
  readonly peerLog: NetworkLog;
  logOf(networkId: string): NetworkLog;
  peerIds(): Iterable<string>;
  peer(id: string): NetworkPeer | undefined;
  network(id: string): Network | undefined;
  servicesOf(networkId: string): Iterable<string>;
  serviceIn(id: string, networks: ReadonlySet<string>): NetworkService | undefined;
  endpointsOf(networkId: string): Iterable<string>;
  endpointIn(id: string, networks: ReadonlySet<string>): NetworkEndpoint | undefined;
}

/** Encoded updates, and how far in the logs they reach. */
export interface SharedSet {
  readonly pieces: readonly Uint8Array[];
  readonly peerPlace: number;
  /** The mesh's network; empty when there is none. */
  readonly meshId: string;
  readonly meshPlace: number;
}

/** Keeps the set of one index for as long as little has changed since. */
export class SharedNetworkSet {
  readonly #index: SharedSource;
  #present: Promise<SharedSet> | undefined;
  #isFresh: () => boolean = () => false;

  constructor(index: SharedSource) {
    this.#index = index;
  }

  /** The set; encoded anew when too much has changed. */
  get(): Promise<SharedSet> {
    if (this.#present === undefined || !this.#isFresh()) this.#present = this.#make();
    return this.#present;
  }

  /** Everything may be different. */
  drop(): void {
    this.#present = undefined;
  }

  async #make(): Promise<SharedSet> {
    const index = this.#index;
    const { meshId } = index;
    const peerPlace = index.peerLog.end;
    const meshPlace = meshId === "" ? 0 : index.logOf(meshId).end;
    this.#isFresh = () =>
      index.meshId === meshId &&
      index.peerLog.end - peerPlace <= networkSharedLagMax &&
      (meshId === "" || index.logOf(meshId).end - meshPlace <= networkSharedLagMax);
    const networks = new Set(meshId === "" ? [] : [meshId]);
    const messages = networkMessagesOf(
      {
        peers: [...index.peerIds()].flatMap((id) => index.peer(id) ?? []),
        networks: [...networks].flatMap((id) => index.network(id) ?? []),
        services: [...index.servicesOf(meshId)].flatMap(
          (id) => index.serviceIn(id, networks) ?? [],
        ),
        endpoints: [...index.endpointsOf(meshId)].flatMap(
          (id) => index.endpointIn(id, networks) ?? [],
        ),
        removedPeerIds: [],
        removedNetworkIds: [],
        removedServiceIds: [],
        removedEndpointIds: [],
      },
      0,
    );
    const pieces: Uint8Array[] = [];
    for (const message of messages) {
      pieces.push(NetworkUpdate.encode({ ...message, number: 0 }));
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return { pieces, peerPlace, meshId, meshPlace };
  }
}
