/**
 * Reads of the tables in the form the Engine API's back end needs.
 */
import type { Task } from "../src/common/api/generated/api.ts";
import { lookup } from "./state/find.ts";
import { nameKey, nameOf, type TableKey, type TableTypes } from "./state/tables.ts";
import type { View } from "./state/view.ts";

/** Tables whose objects users name. */
export type NamedTable = Exclude<TableKey, "tombstone">;

/** A consistent read of the tables; good until the next `await`, its objects for ever. */
export interface ManagerView {
  get<K extends NamedTable>(table: K, id: string): TableTypes[K] | undefined;
  /** Objects with exactly this name. */
  byName<K extends NamedTable>(table: K, name: string): TableTypes[K][];
  /** Full id, exact name, unambiguous id prefix. @throws ClusterError not-found, invalid-argument */
  lookup<K extends NamedTable>(table: K, reference: string): TableTypes[K];
  list<K extends NamedTable>(table: K): Iterable<TableTypes[K]>;
  tasksOfService(serviceId: string): Task[];
  tasksOfNode(nodeId: string): Task[];
}

/** A view over the store's. */
export function managerView(view: View): ManagerView {
  return {
    get: (table, id) => view.get(table, id),
    byName: <K extends NamedTable>(table: K, name: string) => {
      if (table === "task") return [];
      const found = view.find(table, "name" as never, nameKey(name));
      return found.filter((object) => nameOf(table, object) === name);
    },
    lookup: (table, reference) => lookup(view, table, reference),
    list: (table) => view.each(table),
    tasksOfService: (serviceId) => view.find("task", "service", serviceId),
    tasksOfNode: (nodeId) => view.find("task", "node", nodeId),
  };
}
