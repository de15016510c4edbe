/**
 * The part of the store that control uses: reads by id and index, and one transaction per request.
 *
 * `Store` of manager/state has this form. It is written down as an interface so that control can be tested on plain
 * tables, and so that what control may do with the store is visible in one place.
 */
import type {
  Cluster,
  Config,
  Network,
  Node,
  Secret,
  Service,
  Task,
  Tombstone,
} from "../../src/common/api/generated/api.ts";

/** The tables control works on, with the type of their objects. */
export interface ControlTables {
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly network: Network;
  readonly secret: Secret;
  readonly config: Config;
  readonly cluster: Cluster;
  readonly tombstone: Tombstone;
}

/** Name of a table. */
export type ControlTable = keyof ControlTables;

/** Indexes control asks for; `name` holds names in lower case. */
export type ControlIndex = "name" | "role" | "network" | "secret" | "config" | "node";

/** One transaction: reads that see its own writes, and changes. Objects read are shared and read-only. */
export interface ControlTransaction {
  get<T extends ControlTable>(table: T, id: string): ControlTables[T] | undefined;
  find<T extends ControlTable>(table: T, index: ControlIndex, key: string): ControlTables[T][];
  each<T extends ControlTable>(table: T): Iterable<ControlTables[T]>;
  create<T extends ControlTable>(table: T, object: ControlTables[T]): void;
  /** @throws ClusterError `unknown` with `update out of sequence` when `version` is not the present one. */
  update<T extends ControlTable>(table: T, object: ControlTables[T], version?: number): void;
  remove(table: ControlTable, id: string): void;
  /** The transaction holds only if this object is still there, as it was read, when it is applied. */
  require(table: ControlTable, id: string): void;
  /** The transaction holds only if no object has the key in this index when it is applied. */
  requireNone(table: ControlTable, index: ControlIndex, key: string): void;
}

/** Transactions of the store. */
export interface ControlStore {
  /** Resolves with what `decide` returned once the changes are applied; `decide` may run several times. */
  update<R>(
    decide: (tx: ControlTransaction) => R,
    options?: { readonly signal?: AbortSignal },
  ): Promise<R>;
}
