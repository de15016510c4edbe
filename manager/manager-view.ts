/**
 * Reads of the tables in the form the Engine API's back end needs.
 */
import type { Task } from "../src/common/api/generated/api.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import { findByName, findOne } from "./state/find.ts";
import type { TableKey, TableTypes } from "./state/tables.ts";
import type { View } from "./state/view.ts";

/** Tables whose objects the API shows. */
export type ShownTable = Exclude<TableKey, "tombstone" | "payload">;

/** A consistent read of the tables; good until the next `await`, its objects for ever. */
export interface ManagerView {
  get<K extends ShownTable>(table: K, id: string): TableTypes[K] | undefined;
  /** Objects with exactly this name. */
  byName<K extends ShownTable>(table: K, name: string): TableTypes[K][];
  /** Full id, exact name, unambiguous id prefix. @throws ClusterError not-found, invalid-argument */
  lookup<K extends ShownTable>(table: K, reference: string): TableTypes[K];
  list<K extends ShownTable>(table: K): Iterable<TableTypes[K]>;
  tasksOfService(serviceId: string): Task[];
  tasksOfNode(nodeId: string): Task[];
}

/** A view over the store's. */
export function managerView(view: View): ManagerView {
  return {
    get: (table, id) => view.get(table, id),
    byName: (table, name) => findByName(view, table, name),
    lookup: <K extends ShownTable>(table: K, reference: string) => {
      if (table !== "cluster") return findOne(view, table, reference) as TableTypes[K];
      const cluster = view.get(table, reference);
      if (cluster === undefined)
        throw new ClusterError("not-found", `${table} ${reference} not found`);
      return cluster;
    },
    list: (table) => view.each(table),
    tasksOfService: (serviceId) => view.find("task", "service", serviceId),
    tasksOfNode: (nodeId) => view.find("task", "node", nodeId),
  };
}
