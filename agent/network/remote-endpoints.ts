/**
 * Where the tasks and containers of other nodes are in overlay networks: three entries per endpoint and network, so that
 * nothing is ever asked of all nodes (network.md 2). Pure.
 *
 * There may be ten thousand, of which a change concerns one: what an endpoint adds is made once for each endpoint object.
 */
import type { NetworkEndpoint, NetworkPeer } from "../../src/common/api/generated/api.ts";
import { macAddressIn } from "../../src/common/spec/mac-address.ts";
import type { ClusterState } from "./cluster-state.ts";
import { type Forwarding, forwardingKey, type Neighbour, neighbourKey } from "./model.ts";
import { canonical, endpointMac, wireguardAddress } from "./pools.ts";

/** How an overlay network is reached from this node. */
export interface ReachedNetwork {
  readonly device: string;
  readonly encrypted: boolean;
}

/** Entries by their keys. */
export interface RemoteEntries {
  readonly neighbours: readonly (readonly [key: string, neighbour: Neighbour])[];
  readonly forwarding: readonly (readonly [key: string, entry: Forwarding])[];
}

/** All entries for endpoints of other nodes in these networks, by network. */
export function remoteEndpoints(
  cluster: ClusterState,
  reached: ReadonlyMap<string, ReachedNetwork>,
): RemoteEntries {
  const neighbours: (readonly [string, Neighbour])[] = [];
  const forwarding: (readonly [string, Forwarding])[] = [];
  if (reached.size === 0) return { neighbours, forwarding };
  const destinations = new Map<string, { plain: string; secure: string }>();
  for (const [id, peer] of cluster.peers) destinations.set(id, destinationsOf(peer));
  for (const endpoint of cluster.endpoints.values()) {
    if (endpoint.nodeId === cluster.self?.nodeId) continue;
    const peer = destinations.get(endpoint.nodeId);
    if (peer === undefined) continue;
    for (let at = 0; at < endpoint.networks.length; at++) {
      const found = reached.get(endpoint.networks[at]?.networkId ?? "");
      if (found === undefined) continue;
      const destination = found.encrypted ? peer.secure : peer.plain;
      const entries = entriesOf(endpoint, at, { device: found.device, destination });
      for (const one of entries.neighbours) neighbours.push(one);
      for (const one of entries.forwarding) forwarding.push(one);
    }
  }
  return { neighbours, forwarding };
}

function destinationsOf({ address, number }: NetworkPeer): { plain: string; secure: string } {
  return { plain: canonical(address), secure: wireguardAddress(number) };
}

interface Way {
  readonly device: string;
  readonly destination: string;
}

/** By the position of the network among the endpoint's, with the way they are for. */
const made = new WeakMap<NetworkEndpoint, (Way & RemoteEntries)[]>();

function entriesOf(endpoint: NetworkEndpoint, at: number, way: Way): RemoteEntries {
  const all = made.get(endpoint) ?? [];
  const before = all[at];
  if (before?.device === way.device && before.destination === way.destination) return before;
  const { addresses = [], driverOptions = {} } = endpoint.networks[at] ?? {};
  const mac = macAddressIn(driverOptions);
  const plain = addresses.map((text) => text.split("/")[0] ?? text);
  all[at] = { ...way, ...makeEntries(plain, mac, way) };
  made.set(endpoint, all);
  return all[at];
}

function makeEntries(
  addresses: readonly string[],
  own: string,
  { device, destination }: Way,
): RemoteEntries {
  if (addresses.length === 0) return { neighbours: [], forwarding: [] };
  const mac = own || endpointMac(addresses);
  const neighbours = addresses.map((address) => ({ device, address: canonical(address), mac }));
  const forwarding = [destination, ""].map((to) => ({ device, mac, destination: to }));
  return {
    neighbours: neighbours.map((one) => [neighbourKey(one), one]),
    forwarding: forwarding.map((one) => [forwardingKey(one), one]),
  };
}
