/**
 * One change as data: how changes become bytes of a transaction and changes again on every replica.
 *
 * An update carries only the fields that differ from the version it was decided on, so that the many small steps of a
 * task stay small in the log; the rest is kept from the object itself, which cannot have changed, since the version is
 * checked first. Shared sub-objects are written once per transaction.
 */
import {
  type ActionKind,
  StoreAction,
  StoreObject,
  type StorePrecondition,
  type StoreReference,
  StoreShared,
  StoreTransaction,
} from "../../src/common/api/generated/api.ts";
import type { Change } from "./change.ts";
import type { SharedKind } from "./intern.ts";
import {
  type AnyObject,
  codecs,
  sharedFields,
  type TableKey,
  tableKeys,
  versionOf,
} from "./tables.ts";

type Fields = Record<string, unknown>;

/** A transaction ready to be encoded. */
export interface TransactionParts {
  readonly changes: readonly Change[];
  readonly preconditions: readonly StorePrecondition[];
  /** Term the decision holds in; 0 for any. */
  readonly term: number;
  readonly clientId: number;
  readonly sequence: number;
}

/** Bytes of a transaction. */
export function encodeTransaction(parts: TransactionParts): Uint8Array {
  const pool = new SharedPool();
  const actions = parts.changes.map((change) => actionOf(change, pool));
  const { preconditions, term, clientId, sequence } = parts;
  return StoreTransaction.encode(
    StoreTransaction.create({
      actions,
      term,
      clientId,
      sequence,
      preconditions,
      shared: pool.values,
    }),
  );
}

/** About how many bytes a change adds to a transaction. */
export function changeBytes(change: Change): number {
  return StoreAction.encode(actionOf(change, new SharedPool())).length + 8;
}

/** Shared sub-objects in the order of their first use. */
export class SharedPool {
  readonly values: StoreShared[] = [];
  readonly #positions = new Map<object, number>();

  position(kind: SharedKind, value: object): number {
    let position = this.#positions.get(value);
    if (position === undefined) {
      position = this.values.push(StoreShared.create({ [kind]: value })) - 1;
      this.#positions.set(value, position);
    }
    return position;
  }
}

function actionOf(change: Change, pool: SharedPool): StoreAction {
  const { kind, table, object, old } = change;
  if (kind === "remove") {
    return StoreAction.create({ kind, table, id: object.id, expectedVersion: versionOf(object) });
  }
  const codec = codecs[table];
  const { fields, kept } = changedFields(table, object, old);
  const shared: StoreReference[] = [];
  for (const { field, kind: sharedKind } of sharedFields[table] ?? []) {
    const value = fields[field];
    if (value === undefined) continue;
    const number = codec.fields[field] ?? 0;
    shared.push({ field: number, position: pool.position(sharedKind, value as object) });
    fields[field] = undefined;
  }
  return StoreAction.create({
    kind,
    table,
    id: object.id,
    object: StoreObject.create({ [table]: create(table, fields) }),
    expectedVersion: old === undefined ? 0 : versionOf(old),
    kept: kept >>> 0,
    shared,
  });
}

/** What of an object is to be written, and as bits by field number what stays as it was. */
function changedFields(
  table: TableKey,
  object: AnyObject,
  old: AnyObject | undefined,
): { readonly fields: Fields; readonly kept: number } {
  if (old === undefined) return { fields: { ...object, id: undefined, meta: undefined }, kept: 0 };
  const fields: Fields = {};
  let kept = 0;
  const names = fieldNames(table);
  for (let number = 1; number < names.length; number++) {
    const field = names[number];
    if (field === undefined || field === "id" || field === "meta") continue;
    const value = (object as unknown as Fields)[field];
    if (number < 32 && value === (old as unknown as Fields)[field]) kept |= 1 << number;
    else fields[field] = value;
  }
  return { fields, kept };
}

/**
 * The object an action makes, from the object it was decided on; without meta.
 *
 * @param shared Values of the transaction's shared sub-objects.
 * @returns undefined when the action does not hold what its table says (it was written by a newer version).
 */
export function objectOfAction(
  action: StoreAction,
  table: TableKey,
  base: AnyObject | undefined,
  shared: readonly (object | undefined)[],
): AnyObject | undefined {
  const part = action.object?.[table];
  if (part === undefined) return undefined;
  const fields = part as unknown as Fields;
  fields["id"] = action.id;
  if (base !== undefined && action.kept !== 0) {
    const names = fieldNames(table);
    for (let bits = action.kept >>> 0, number = 0; bits !== 0; bits >>>= 1, number++) {
      const name = names[number];
      if ((bits & 1) === 0) continue;
      if (name === undefined) return undefined;
      fields[name] = (base as unknown as Fields)[name];
    }
  }
  return placeShared(table, fields, action.shared, shared) ? part : undefined;
}

/** Puts shared values in their fields; false when a reference leads nowhere. */
export function placeShared(
  table: TableKey,
  fields: Fields,
  references: readonly StoreReference[],
  shared: readonly (object | undefined)[],
): boolean {
  for (const { field, position } of references) {
    const name = fieldNames(table)[field];
    const value = shared[position];
    if (name === undefined || value === undefined) return false;
    fields[name] = value;
  }
  return true;
}

const namesByTable = new Map<TableKey, readonly (string | undefined)[]>();

/** Names of a table's fields by their numbers. */
export function fieldNames(table: TableKey): readonly (string | undefined)[] {
  const known = namesByTable.get(table);
  if (known !== undefined) return known;
  const names: (string | undefined)[] = [];
  for (const [name, number] of Object.entries(codecs[table].fields)) names[number] = name;
  namesByTable.set(table, names);
  return names;
}

/** An object of a table from loose fields; absent ones get their defaults, and all objects of a table one shape. */
export function create(table: TableKey, fields: Fields): AnyObject {
  return codecs[table].create(fields as never);
}

/** The table an action names, if this version knows it. */
export function tableOf(name: string): TableKey | undefined {
  return tableKeys.find((key) => key === name);
}

/** Whether this version knows the kind of an action. */
export function knownKind(kind: ActionKind): kind is "create" | "update" | "remove" {
  return kind === "create" || kind === "update" || kind === "remove";
}
