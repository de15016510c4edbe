/**
 * Finding what a user named: by id, by name, by the beginning of the id, in this order, with Docker's texts.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { type IndexName, nameKey, nameOf, type TableKey, type TableTypes } from "./tables.ts";
import type { View } from "./view.ts";

/** Tables users name objects of. */
export type NamedTable = Exclude<TableKey, "tombstone" | "payload" | "cluster">;

/**
 * The object a user meant.
 *
 * @throws ClusterError not-found (`service web not found`), or invalid-argument when several objects match (`service we is
 *   ambiguous (2 matches found)`).
 */
export function findOne<K extends NamedTable>(view: View, table: K, input: string): TableTypes[K] {
  const byId = view.get(table, input);
  if (byId !== undefined) return byId;
  const byName = findByName(view, table, input);
  const matches = byName.length > 0 ? byName : findByPrefix(view, table, input);
  const [only] = matches;
  if (only === undefined) throw new ClusterError("not-found", `${table} ${input} not found`);
  if (matches.length > 1) {
    throw new ClusterError(
      "invalid-argument",
      `${table} ${input} is ambiguous (${matches.length} matches found)`,
    );
  }
  return only;
}

/** Objects of exactly this name; nodes are named by their hostname, of which there may be several. */
export function findByName<K extends TableKey>(
  view: View,
  table: K,
  name: string,
): TableTypes[K][] {
  if (table === "task" || table === "tombstone" || table === "payload" || name === "") return [];
  return view
    .find(table, "name" as IndexName<K>, nameKey(name))
    .filter((object) => nameOf(table, object) === name);
}

/** Objects whose id begins so. Looks at every id of the table: 20 ms for a million. */
export function findByPrefix<K extends TableKey>(
  view: View,
  table: K,
  prefix: string,
): TableTypes[K][] {
  const found: TableTypes[K][] = [];
  // Ids have 25 characters of base 36; anything else begins none, and need not be looked for.
  if (!/^[0-9a-z]{1,25}$/.test(prefix)) return found;
  for (const object of view.each(table)) {
    if (object.id.startsWith(prefix)) found.push(object);
  }
  return found;
}
