/**
 * A transaction being decided: reads of the tables with the staged changes on top.
 *
 * Nothing is visible to others before it is applied. Several changes of one object become one. What was staged is
 * checked against the versions it was decided on when it is applied, whatever happens in between.
 */
import { StorePrecondition } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { type Change, newChange } from "./change.ts";
import { keyText } from "./index-map.ts";
import type { State } from "./state.ts";
import {
  type AnyObject,
  type IndexDeclaration,
  type IndexKey,
  type IndexName,
  indexDeclarations,
  type TableKey,
  type TableTypes,
  versionOf,
} from "./tables.ts";
import type { View } from "./view.ts";

/** Reads and staged changes of one decision. */
export interface Tx extends View {
  /** @throws ClusterError already-exists when the table has the id. */
  create<K extends TableKey>(table: K, object: TableTypes[K]): void;
  /**
   * Replaces an object; its meta is ignored, unchanged fields cost nothing.
   *
   * @param version What the user said the object's version is.
   * @throws ClusterError not-found; `unknown` with `update out of sequence` when `version` is not the present one.
   */
  update<K extends TableKey>(table: K, object: TableTypes[K], version?: number): void;
  /** @throws ClusterError as `update`. */
  remove(table: TableKey, id: string, version?: number): void;
  /** The transaction holds only if this object, which it read, is still there as it was. */
  require(table: TableKey, id: string): void;
  /** The transaction holds only if no object has the key in this index. */
  requireNone<K extends TableKey>(table: K, index: IndexName<K>, key: string): void;
}

interface Staged {
  readonly kind: "create" | "update" | "remove" | "nothing";
  readonly table: TableKey;
  /** Undefined when the object is removed. */
  readonly object: AnyObject | undefined;
  /** The object as the tables have it. */
  readonly base: AnyObject | undefined;
}

/** The store's side of a transaction. */
export class Staging implements Tx {
  readonly #view: View;
  readonly #state: State;
  readonly #staged = new Map<TableKey, Map<string, Staged>>();
  readonly #undo: { table: TableKey; id: string; before: Staged | undefined }[] = [];
  readonly #preconditions = new Map<string, StorePrecondition>();

  constructor(state: State, view: View) {
    this.#state = state;
    this.#view = view;
  }

  get index(): number {
    return this.#view.index;
  }

  get<K extends TableKey>(table: K, id: string): TableTypes[K] | undefined {
    const staged = this.#staged.get(table)?.get(id);
    return staged === undefined
      ? this.#view.get(table, id)
      : (staged.object as TableTypes[K] | undefined);
  }

  find<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): TableTypes[K][] {
    const staged = this.#staged.get(table);
    const found = this.#view.find(table, index, key);
    if (staged === undefined) return found;
    const text = keyText(key);
    const kept = found.filter((object) => !staged.has(object.id));
    for (const { object } of staged.values()) {
      if (object !== undefined && hasKey(table, index, object, text)) {
        kept.push(object as TableTypes[K]);
      }
    }
    return kept;
  }

  ids<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): readonly string[] {
    if (!this.#staged.has(table)) return this.#view.ids(table, index, key);
    return this.find(table, index, key).map(({ id }) => id);
  }

  list<K extends TableKey>(table: K): TableTypes[K][] {
    const staged = this.#staged.get(table);
    const all = this.#view.list(table);
    if (staged === undefined) return all;
    const kept = all.filter((object) => !staged.has(object.id));
    for (const { object } of staged.values()) {
      if (object !== undefined) kept.push(object as TableTypes[K]);
    }
    return kept;
  }

  each<K extends TableKey>(table: K): Iterable<TableTypes[K]> {
    return this.#staged.has(table) ? this.list(table) : this.#view.each(table);
  }

  count(table: TableKey): number {
    let count = this.#view.count(table);
    for (const { kind } of this.#staged.get(table)?.values() ?? []) {
      if (kind === "create") count++;
      else if (kind === "remove") count--;
    }
    return count;
  }

  countOf<K extends TableKey>(table: K, index: IndexName<K>, key: IndexKey): number {
    if (!this.#staged.has(table)) return this.#view.countOf(table, index, key);
    return this.find(table, index, key).length;
  }

  create<K extends TableKey>(table: K, object: TableTypes[K]): void {
    if (this.get(table, object.id) !== undefined) {
      throw new ClusterError("already-exists", `${table} ${object.id} already exists`);
    }
    this.#stage(table, object.id, object);
  }

  update<K extends TableKey>(table: K, object: TableTypes[K], version?: number): void {
    this.#check(table, object.id, version);
    this.#stage(table, object.id, object);
  }

  remove(table: TableKey, id: string, version?: number): void {
    this.#check(table, id, version);
    this.#stage(table, id, undefined);
  }

  require(table: TableKey, id: string): void {
    const object = this.#state.get(table, id);
    // What this transaction changes itself is checked anyway.
    if (object === undefined && this.get(table, id) !== undefined) return;
    this.#precondition({
      table,
      id,
      version: object === undefined ? 0 : versionOf(object),
      absent: object === undefined,
    });
  }

  requireNone<K extends TableKey>(table: K, index: IndexName<K>, key: string): void {
    this.#precondition({ table, index, key });
  }

  /** The changes staged, in the order their objects were first touched. */
  changes(): Change[] {
    const changes: Change[] = [];
    for (const staged of this.#staged.values()) {
      for (const one of staged.values()) {
        const change = changeOf(one);
        if (change !== undefined) changes.push(change);
      }
    }
    return changes;
  }

  /** How many objects were touched. */
  get size(): number {
    let size = 0;
    for (const staged of this.#staged.values()) size += staged.size;
    return size;
  }

  /** What the decision relied on. */
  preconditions(): StorePrecondition[] {
    return [...this.#preconditions.values()];
  }

  /** A point to roll back to. */
  mark(): number {
    return this.#undo.length;
  }

  /** The changes of objects touched since a mark. */
  changesSince(mark: number): Change[] {
    const changes: Change[] = [];
    for (let at = mark; at < this.#undo.length; at++) {
      const touched = this.#undo[at];
      const staged = touched && this.#staged.get(touched.table)?.get(touched.id);
      const change = staged && changeOf(staged);
      if (change !== undefined) changes.push(change);
    }
    return changes;
  }

  /** Takes back what was staged since a mark. */
  rollback(mark: number): void {
    for (const { table, id, before } of this.#undo.splice(mark).reverse()) {
      const staged = this.#staged.get(table);
      if (before === undefined) staged?.delete(id);
      else staged?.set(id, before);
    }
  }

  #check(table: TableKey, id: string, version: number | undefined): void {
    const object = this.get(table, id);
    if (object === undefined) throw new ClusterError("not-found", `${table} ${id} not found`);
    const base = this.#state.get(table, id);
    if (version !== undefined && (base === undefined || versionOf(base) !== version)) {
      throw new ClusterError("unknown", "update out of sequence", {
        fields: { table, id, version },
      });
    }
  }

  #stage(table: TableKey, id: string, object: AnyObject | undefined): void {
    let staged = this.#staged.get(table);
    if (staged === undefined) {
      staged = new Map();
      this.#staged.set(table, staged);
    }
    this.#undo.push({ table, id, before: staged.get(id) });
    const base = this.#state.get(table, id);
    staged.set(id, { kind: kindOf(base, object), table, object, base });
  }

  #precondition(fields: Partial<StorePrecondition>): void {
    const precondition = StorePrecondition.create(fields);
    const { table, id, index, key } = precondition;
    this.#preconditions.set(`${table}/${id}/${index}/${key}`, precondition);
  }
}

function changeOf({ kind, table, object, base }: Staged): Change | undefined {
  if (kind === "remove" && base !== undefined) return newChange(kind, table, base, undefined);
  if (object === undefined || kind === "remove" || kind === "nothing") return undefined;
  return newChange(kind, table, object, base);
}

function kindOf(base: AnyObject | undefined, object: AnyObject | undefined): Staged["kind"] {
  if (base === undefined) return object === undefined ? "nothing" : "create";
  return object === undefined ? "remove" : "update";
}

function hasKey(table: TableKey, index: string, object: AnyObject, text: string): boolean {
  const declared = indexDeclarations[table] as unknown as Record<
    string,
    IndexDeclaration<AnyObject> | undefined
  >;
  let found = false;
  declared[index]?.keys(object, (key) => {
    found ||= keyText(key) === text;
  });
  return found;
}
