/**
 * An agent that is told of the data path, and what it should know by then.
 */
import assert from "node:assert/strict";
import { NetworkFlow } from "../../manager/dispatcher/network-flow.ts";
import type { NetworkIndex } from "../../manager/dispatcher/network-index.ts";
import {
  endpointOf,
  hasPlace,
  networkServiceOf,
  networksOfService,
  peerOf,
} from "../../manager/dispatcher/network-view.ts";
import type { Store } from "../../manager/state/store.ts";
import { type NetworkEndpoint, NetworkUpdate } from "../../src/common/api/generated/api.ts";

const objectsOf = { peers: "nodeId", networks: "id", services: "id", endpoints: "id" } as const;
const removedOf = {
  peers: "removedPeerIds",
  networks: "removedNetworkIds",
  services: "removedServiceIds",
  endpoints: "removedEndpointIds",
} as const;
type Kind = keyof typeof objectsOf;
/** What an agent was told, by kind and id. */
export type Known = Record<Kind, Map<string, object>>;

/** An agent that was told nothing. */
export function nothing(): Known {
  return { peers: new Map(), networks: new Map(), services: new Map(), endpoints: new Map() };
}

/** An agent that takes in what it is told. */
export class PlayedAgent {
  known = nothing();
  readonly heard: NetworkUpdate[] = [];
  readonly flow: NetworkFlow;
  readonly nodeId: string;
  /** Lets go of the message that is on its way; messages arrive at once while undefined. */
  release: (() => void) | undefined;
  isSlow = false;
  #next = 1;
  #coming = nothing();

  constructor(nodeId: string, index: NetworkIndex) {
    this.nodeId = nodeId;
    this.flow = new NetworkFlow(nodeId, index, {
      send: (update) => this.#take(update),
      upToDate: () => Promise.resolve(),
      failed: (error) => {
        throw error;
      },
    });
  }

  async #take(update: NetworkUpdate): Promise<void> {
    assert.equal(this.release, undefined, "one message is on its way at a time");
    if (this.isSlow)
      await new Promise<void>((resolve) => {
        this.release = () => {
          this.release = undefined;
          resolve();
        };
      });
    this.heard.push(update);
    assert.equal(update.number, this.#next++);
    if (update.first) this.#coming = nothing();
    const into = update.full ? this.#coming : this.known;
    if (update.shared.length > 0) this.#put(NetworkUpdate.decode(update.shared), into);
    this.#put(update, into);
    if (update.last) this.known = this.#coming;
  }

  #put(update: NetworkUpdate, into: Known): void {
    for (const kind of Object.keys(objectsOf) as Kind[]) {
      for (const object of update[kind])
        into[kind].set(
          (object as unknown as Record<string, string>)[objectsOf[kind]] ?? "",
          object,
        );
      for (const id of update[removedOf[kind]]) into[kind].delete(id);
    }
  }
}

/** What a node should know, computed from the store as a whole. */
export function expected(store: Store, nodeId: string): Known {
  const view = store.view();
  const known = nothing();
  const mine = new Set(
    [...view.each("task")]
      .filter((one) => hasPlace(one) && one.nodeId === nodeId)
      .flatMap((one) => endpointOf(one).networks.map(({ networkId }) => networkId)),
  );
  for (const one of view.each("network"))
    if (one.networkNumber !== 0 && (mine.has(one.id) || one.spec?.ingress === true))
      known.networks.set(one.id, one);
  for (const one of view.each("service")) {
    const told = networkServiceOf(one);
    if (told !== undefined && [...networksOfService(one)].some((id) => known.networks.has(id)))
      known.services.set(one.id, told);
  }
  for (const one of view.each("task")) {
    if (!hasPlace(one)) continue;
    const endpoint = endpointOf(one);
    if (endpoint.networks.some(({ networkId }) => known.networks.has(networkId)))
      known.endpoints.set(one.id, endpoint);
  }
  const meets = new Set(
    [...known.endpoints.values()].map((one) => (one as NetworkEndpoint).nodeId),
  );
  const isInMesh = [...mine].some((id) => view.get("network", id)?.spec?.ingress === true);
  for (const one of view.each("node")) {
    const peer = peerOf(one);
    if (peer === undefined) continue;
    if (isInMesh || meets.has(one.id) || one.id === nodeId) known.peers.set(one.id, peer);
  }
  return known;
}
