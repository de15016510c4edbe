/**
 * The tables of all containers of a node: those that are in the same networks have the same one, which is made once a state.
 */
import { type StateIndex, serviceAddresses } from "./from-state.ts";
import { type TaskRules, type TaskTable, taskTable } from "./task-table.ts";

interface Made {
  readonly index: StateIndex;
  readonly table: TaskTable;
}

/** For one daemon. */
export class TaskTables {
  readonly #made = new Map<string, Made>();

  /** The table for containers in these networks. The same object for the same index, so that differences are found once. */
  tableFor(
    index: StateIndex,
    o: { readonly networkIds: readonly string[]; readonly dns: TaskRules["dns"] },
  ): TaskTable {
    const ids = [...new Set(o.networkIds)].sort();
    const key = [o.dns?.address ?? "", o.dns?.port ?? "", ...ids].join(" ");
    const before = this.#made.get(key);
    if (before?.index === index) return before.table;
    const services = serviceAddresses(index, new Set(ids));
    const table = taskTable({ services, dns: o.dns }, before?.table);
    this.#made.set(key, { index, table });
    return table;
  }

  /** Drops the tables that were not asked for since the index came. */
  prune(index: StateIndex): void {
    for (const [key, made] of this.#made) if (made.index !== index) this.#made.delete(key);
  }
}
