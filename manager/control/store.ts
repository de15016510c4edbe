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

/** Reads; objects are shared and read-only. */
export interface ControlView {
  get<T extends ControlTable>(table: T, id: string): ControlTables[T] | undefined;
  /** By a declared index of the table, such as `name`. */
  find<T extends ControlTable>(table: T, index: string, key: string): Iterable<ControlTables[T]>;
  list<T extends ControlTable>(table: T): Iterable<ControlTables[T]>;
}

/** One transaction: reads that see its own writes, and changes. */
export interface ControlTransaction extends ControlView {
  create<T extends ControlTable>(table: T, object: ControlTables[T]): void;
  /** `object.meta.version` is the version the change was decided on. */
  update<T extends ControlTable>(table: T, object: ControlTables[T]): void;
  remove<T extends ControlTable>(table: T, id: string): void;
}

/** View and update of the store. */
export interface ControlStore {
  view(): ControlView;
  update<R>(
    decide: (tx: ControlTransaction) => R,
    options?: { readonly signal?: AbortSignal },
  ): Promise<R>;
}
