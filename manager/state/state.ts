/**
 * The replicated state in memory: tables, their indexes, claims, shared sub-objects, proposers.
 *
 * Changed only by applying committed entries and by loading a snapshot or checkpoint; everybody else reads it through
 * a view. Objects are immutable once they are in: a change replaces the object.
 */
import type { NetworkAttachment, Task, TaskStatus } from "../../src/common/api/generated/api.ts";
import { Clients } from "./clients.ts";
import { Dirty } from "./dirty.ts";
import { IndexMap } from "./index-map.ts";
import { Interner } from "./intern.ts";
import { type FrozenObjects, ObjectTable } from "./object-table.ts";
import {
  type AnyObject,
  type IndexDeclaration,
  indexDeclarations,
  sharedFields,
  type TableKey,
  tableKeys,
  versionOf,
} from "./tables.ts";
import { type ClaimDeclaration, claimDeclarations, type Space } from "./uniqueness.ts";

type Fields = Record<string, unknown>;
type Claims = Map<Space, Map<string, Map<string | number, string>>>;

/** One table with its indexes. */
export interface Table {
  readonly key: TableKey;
  readonly objects: ObjectTable;
  readonly indexes: ReadonlyMap<string, TableIndex>;
  readonly claims: ClaimDeclaration<AnyObject> | undefined;
}

/** One index: how it finds its keys, and the ids by key. */
export interface TableIndex {
  readonly declaration: IndexDeclaration<AnyObject>;
  readonly map: IndexMap;
}

/** The state frozen at one index: cheap to take, and unaffected by later changes. */
export interface Frozen {
  readonly index: number;
  readonly term: number;
  readonly tables: ReadonlyMap<TableKey, FrozenObjects>;
  readonly clients: readonly Uint8Array[];
}

/** Short texts such as status messages repeat; this many are kept once. */
const textsMax = 4_096;

/** All tables of one replica. */
export class State {
  /** Index and term of the last entry applied. */
  index = 0;
  term = 0;
  readonly interner = new Interner();
  readonly clients = new Clients();
  readonly #tables: ReadonlyMap<TableKey, Table>;
  readonly #claims: Claims = new Map();
  readonly #texts = new Map<string, string>();
  #dirty: Dirty | undefined;

  constructor() {
    this.#tables = new Map(tableKeys.map((key) => [key, newTable(key)]));
    this.interner.onChange = (digest) => this.#dirty?.shared.add(digest);
    this.clients.onChange = (id) => this.#dirty?.clients.add(id);
  }

  table(key: TableKey): Table {
    const table = this.#tables.get(key);
    if (table === undefined) throw new Error(`no table ${key}`);
    return table;
  }

  get(table: TableKey, id: string): AnyObject | undefined {
    return this.table(table).objects.get(id);
  }

  /** Id of the object that holds a claim. */
  holder(space: Space, group: string, key: string | number): string | undefined {
    return this.#claims.get(space)?.get(group)?.get(key);
  }

  /** Puts an object in, in place of the one with its id if there is one. The state owns it from now on. */
  put(key: TableKey, object: AnyObject): void {
    const table = this.table(key);
    const old = table.objects.get(object.id);
    this.#share(key, object, old);
    for (const { declaration, map } of table.indexes.values()) {
      if (old !== undefined) {
        if (sameOn(declaration.on, old, object)) continue;
        declaration.keys(old, (k) => map.remove(k, old.id));
      }
      declaration.keys(object, (k) => map.add(k, object.id));
    }
    const claims = table.claims;
    if (claims !== undefined && (old === undefined || !claims.same(old, object))) {
      if (old !== undefined) claims.claims(old, (s, g, k) => this.#disclaim(s, g, k, old.id));
      claims.claims(object, (s, g, k) => this.#claim(s, g, k, object.id));
    }
    table.objects.set(object);
    this.#dirty?.object(key, object.id, old === undefined ? 0 : versionOf(old));
  }

  /** Takes an object out. */
  remove(key: TableKey, id: string): void {
    const table = this.table(key);
    const old = table.objects.get(id);
    if (old === undefined) return;
    for (const { declaration, map } of table.indexes.values()) {
      declaration.keys(old, (k) => map.remove(k, id));
    }
    table.claims?.claims(old, (s, g, k) => this.#disclaim(s, g, k, id));
    for (const { field } of sharedFields[key] ?? []) {
      const value = (old as unknown as Fields)[field];
      if (value !== undefined) this.interner.release(value as object);
    }
    table.objects.delete(id);
    this.#dirty?.object(key, id, versionOf(old));
  }

  /** The state as it is now: references only. */
  freeze(): Frozen {
    const tables = new Map<TableKey, FrozenObjects>();
    for (const table of this.#tables.values()) tables.set(table.key, table.objects.freeze());
    const clients: Uint8Array[] = [];
    for (const id of this.clients.ids()) {
      const record = this.clients.encoded(id);
      if (record !== undefined) clients.push(record);
    }
    return { index: this.index, term: this.term, tables, clients };
  }

  /** What changed since tracking began or since the last call; from now on changes are noted anew. */
  takeDirty(): Dirty {
    const dirty = this.#dirty ?? new Dirty();
    this.#dirty = new Dirty();
    return dirty;
  }

  /** What changed so far; undefined while nobody keeps a checkpoint. */
  get dirty(): Dirty | undefined {
    return this.#dirty;
  }

  #claim(space: Space, group: string, key: string | number, id: string): void {
    let groups = this.#claims.get(space);
    if (groups === undefined) {
      groups = new Map();
      this.#claims.set(space, groups);
    }
    let keys = groups.get(group);
    if (keys === undefined) {
      keys = new Map();
      groups.set(group, keys);
    }
    keys.set(key, id);
  }

  /** Gives up a claim, unless another object of the same transaction has taken it over by now. */
  #disclaim(space: Space, group: string, key: string | number, id: string): void {
    const groups = this.#claims.get(space);
    const keys = groups?.get(group);
    if (keys?.get(key) !== id) return;
    keys.delete(key);
    if (keys.size === 0) groups?.delete(group);
  }

  /** Replaces parts of a new object by the instances the state has already. */
  #share(key: TableKey, object: AnyObject, old: AnyObject | undefined): void {
    const fields = object as unknown as Fields;
    const before = old as unknown as Fields | undefined;
    if (old !== undefined) fields["id"] = old.id;
    for (const { field, kind } of sharedFields[key] ?? []) {
      const value = fields[field];
      const previous = before?.[field];
      if (value === previous) continue;
      if (value !== undefined) fields[field] = this.interner.acquire(kind, value as object);
      if (previous !== undefined) this.interner.release(previous as object);
    }
    if (key === "task") this.#shareTexts(object as Task, old as Task | undefined);
  }

  #shareTexts(task: Task, old: Task | undefined): void {
    const fields = task as unknown as Fields;
    fields["serviceId"] = this.get("service", task.serviceId)?.id ?? this.#text(task.serviceId);
    fields["nodeId"] = this.get("node", task.nodeId)?.id ?? this.#text(task.nodeId);
    if (task.networks !== old?.networks) {
      for (const attachment of task.networks) {
        const known = this.get("network", attachment.networkId)?.id;
        if (known !== undefined) (attachment as Mutable<NetworkAttachment>).networkId = known;
      }
    }
    if (task.status !== undefined && task.status !== old?.status) {
      const status = task.status as Mutable<TaskStatus>;
      status.message = this.#text(status.message);
      status.appliedBy = status.appliedBy === task.nodeId ? task.nodeId : status.appliedBy;
    }
  }

  #text(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    if (this.#texts.size >= textsMax) this.#texts.clear();
    this.#texts.set(text, text);
    return text;
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function newTable(key: TableKey): Table {
  const indexes = new Map<string, TableIndex>();
  for (const [name, declaration] of Object.entries(indexDeclarations[key])) {
    indexes.set(name, {
      declaration: declaration as unknown as IndexDeclaration<AnyObject>,
      map: new IndexMap(),
    });
  }
  const claims = claimDeclarations[key] as ClaimDeclaration<AnyObject> | undefined;
  return { key, objects: new ObjectTable(), indexes, claims };
}

/** Whether two versions of an object have the same values in these fields. */
function sameOn(on: readonly string[], a: AnyObject, b: AnyObject): boolean {
  for (const field of on) {
    if ((a as unknown as Fields)[field] !== (b as unknown as Fields)[field]) return false;
  }
  return true;
}
