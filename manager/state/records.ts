/**
 * An object as a record of its own: its message without what is shared, and where the shared parts go.
 *
 * Snapshots name shared parts by their position in the stream, checkpoints by their digest; both go through here.
 */
import { StoreObject, type StoreReference } from "../../src/common/api/generated/api.ts";
import { create, fieldNames } from "./action.ts";
import type { SharedKind } from "./intern.ts";
import { type AnyObject, codecs, sharedFields, type TableKey, tableKeys } from "./tables.ts";

type Fields = Record<string, unknown>;

/** A shared part of an object: field number and value. */
export interface SharedPart {
  readonly field: number;
  readonly kind: SharedKind;
  readonly value: object;
}

/** Splits an object in its record and its shared parts. */
export function splitObject(
  table: TableKey,
  object: AnyObject,
): { record: StoreObject; parts: readonly SharedPart[] } {
  const shared = sharedFields[table];
  if (shared === undefined) return { record: StoreObject.create({ [table]: object }), parts: [] };
  const fields: Fields = { ...object };
  const parts: SharedPart[] = [];
  for (const { field, kind } of shared) {
    const value = fields[field];
    if (value === undefined) continue;
    parts.push({ field: codecs[table].fields[field] ?? 0, kind, value: value as object });
    fields[field] = undefined;
  }
  return { record: StoreObject.create({ [table]: create(table, fields) }), parts };
}

/** Table and object of a record; undefined when it holds none this version knows. */
export function objectOfRecord(
  record: StoreObject,
): { table: TableKey; object: AnyObject } | undefined {
  for (const table of tableKeys) {
    const object = record[table];
    if (object !== undefined) return { table, object };
  }
  return undefined;
}

/** Puts a shared part back; false when the table has no such field. */
export function placePart(
  table: TableKey,
  object: AnyObject,
  field: StoreReference["field"],
  value: object,
): boolean {
  const name = fieldNames(table)[field];
  if (name === undefined) return false;
  (object as unknown as Fields)[name] = value;
  return true;
}
