/**
 * One change of one object, as watchers get it and as transactions stage it.
 */
import type { AnyObject, TableKey, TableTypes } from "./tables.ts";

/** What happened to an object. */
export type ChangeKind = "create" | "update" | "remove";

/** A change; of a removed object `object` is what it last was, `old` is undefined unless it was updated. */
export type Change = {
  readonly [K in TableKey]: {
    readonly kind: ChangeKind;
    readonly table: K;
    readonly object: TableTypes[K];
    readonly old: TableTypes[K] | undefined;
  };
}[TableKey];

/** The changes of one entry, in the order they were applied; their objects have `index` as version. */
export interface Commit {
  readonly index: number;
  readonly changes: readonly Change[];
}

/** Makes a change; the caller knows that table and objects belong together. */
export function newChange(
  kind: ChangeKind,
  table: TableKey,
  object: AnyObject,
  old: AnyObject | undefined,
): Change {
  return { kind, table, object, old } as Change;
}
