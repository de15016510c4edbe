/**
 * What the CA needs of the rest of a manager, as interfaces: the tables, and the way to the leader.
 */
import type {
  Cluster,
  MethodDescriptor,
  Node,
  Tombstone,
} from "../../src/common/api/generated/api.ts";

/** The tables the CA reads and writes. */
export interface CaTables {
  readonly node: Node;
  readonly cluster: Cluster;
  readonly tombstone: Tombstone;
}

/** Reads; objects are shared and read-only. */
export interface CaView {
  get<K extends keyof CaTables>(table: K, id: string): CaTables[K] | undefined;
  list<K extends keyof CaTables>(table: K): Iterable<CaTables[K]>;
}

/** One transaction. */
export interface CaTx extends CaView {
  create<K extends keyof CaTables>(table: K, object: CaTables[K]): void;
  update<K extends keyof CaTables>(table: K, object: CaTables[K]): void;
}

/** The part of the store the CA uses. */
export interface CaStore {
  view(): CaView;
  update<R>(
    decide: (tx: CaTx) => R,
    options?: { readonly term?: number; readonly signal?: AbortSignal },
  ): Promise<R>;
}

/** Where the leader is. */
export interface LeaderLink {
  isLeader(): boolean;
  /** Passes a call on to the leader, marked as forwarded. @throws ClusterError unavailable when there is none. */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal?: AbortSignal): Promise<R>;
}

/** The one cluster object, or undefined while the tables are empty. */
export function clusterOf(view: CaView): Cluster | undefined {
  for (const cluster of view.list("cluster")) return cluster;
  return undefined;
}

/** Id of the tombstone of a removed node. */
export function nodeTombstoneId(nodeId: string): string {
  return `node/${nodeId}`;
}
