/**
 * The cluster's data path as this node was last told it. Objects are replaced, never changed.
 */
import type {
  Network,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
} from "../../src/common/api/generated/api.ts";

/** Everything the plans of this node are made from. */
export interface ClusterState {
  /** This node among the peers; undefined until its manager said so. */
  readonly self: NetworkPeer | undefined;
  /** The nodes this one has to do with, itself included, by id. */
  readonly peers: ReadonlyMap<string, NetworkPeer>;
  readonly networks: ReadonlyMap<string, Network>;
  readonly services: ReadonlyMap<string, NetworkService>;
  /** By task id, those of this node included. */
  readonly endpoints: ReadonlyMap<string, NetworkEndpoint>;
}

/** A node that is in no cluster, or was told nothing. */
export const emptyClusterState: ClusterState = {
  self: undefined,
  peers: new Map(),
  networks: new Map(),
  services: new Map(),
  endpoints: new Map(),
};
