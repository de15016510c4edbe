/**
 * Reading the tables: what everybody but the store itself sees of them.
 *
 * A read is synchronous and sees one state; what is read is immutable and must not be changed. The order of several
 * objects is not defined: sort where it matters.
 */
import type { State } from "./state.ts";
import type { IndexKey, IndexName, TableKey, TableTypes } from "./tables.ts";

/** The tables as they are now. Do not hold one over an `await`: take a new one, or `Store.freeze()`. */
export interface View {
  /** Index of the last entry in the view. */
  readonly index: number;
  get<K extends TableKey>(table: K, id: string): TableTypes[K] | undefined;
  /** Objects whose index has the key. */
  find<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): TableTypes[K][];
  /** Ids of the objects `find` would return: for those that are many, and looked at in slices. */
  ids<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): readonly string[];
  /** All objects of a table; for large tables iterate `each` instead. */
  list<K extends TableKey>(table: K): TableTypes[K][];
  each<K extends TableKey>(table: K): Iterable<TableTypes[K]>;
  count(table: TableKey): number;
  /** How many objects `find` would return. */
  countOf<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): number;
}

/** A view of a state. */
export function viewOf(state: State): View {
  return {
    get index() {
      return state.index;
    },
    get: <K extends TableKey>(table: K, id: string) =>
      state.get(table, id) as TableTypes[K] | undefined,
    find: <K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey) => {
      const { objects, indexes } = state.table(table);
      const found: TableTypes[K][] = [];
      for (const id of indexes.get(index)?.map.ids(key) ?? []) {
        const object = objects.get(id);
        if (object !== undefined) found.push(object as TableTypes[K]);
      }
      return found;
    },
    ids: (table, index, key) => [...(state.table(table).indexes.get(index)?.map.ids(key) ?? [])],
    list: <K extends TableKey>(table: K) =>
      Array.from(state.table(table).objects.values()) as TableTypes[K][],
    each: <K extends TableKey>(table: K) =>
      state.table(table).objects.values() as IterableIterator<TableTypes[K]>,
    count: (table) => state.table(table).objects.size,
    countOf: (table, index, key) => state.table(table).indexes.get(index)?.map.count(key) ?? 0,
  };
}
