/**
 * The data of secrets and configs by revision: the newest is in the object itself, earlier ones in a table of their own.
 */
import { type Config, Payload, type Secret } from "../../src/common/api/generated/api.ts";
import { type PayloadKind, payloadKey } from "../../src/common/spec/payload-revision.ts";
import type { TableKey, TableTypes } from "./tables.ts";
import type { Tx } from "./transaction.ts";
import type { View } from "./view.ts";

/** What agents are given with their tasks; of the leader's loops only one looks at it, no other is to be woken by it. */
export const payloadTables: ReadonlySet<TableKey> = new Set(["secret", "config", "payload"]);

/** Id of an earlier revision in its table. */
export function payloadId(ownerId: string, revision: number): string {
  return `${ownerId}.${revision}`;
}

/** The revision an object's own data is. */
export function presentRevision({ revision }: Secret | Config): number {
  return Math.max(revision, 1);
}

/** Whether there is the data of this revision, from 1. */
export function hasPayload(view: View, kind: PayloadKind, id: string, revision: number): boolean {
  const object = view.get(kind, id);
  if (object === undefined) return false;
  return (
    presentRevision(object) === revision ||
    view.get("payload", payloadId(id, revision)) !== undefined
  );
}

/** A secret or config as agents get it: with the data of one revision, under the id that is that revision's. */
export function payloadAt<K extends PayloadKind>(
  view: View,
  kind: K,
  wanted: { readonly id: string; readonly revision: number },
): TableTypes[K] | undefined {
  const { id, revision } = wanted;
  const object = view.get(kind, id);
  if (object?.spec === undefined) return undefined;
  if (presentRevision(object) === revision) {
    return revision === 1 ? object : { ...object, id: payloadKey(id, revision) };
  }
  const earlier = view.get("payload", payloadId(id, revision));
  if (earlier === undefined) return undefined;
  const spec = { ...object.spec, data: earlier.data };
  return { ...object, id: payloadKey(id, revision), revision, spec };
}

/** Keeps the present data of an object beside it, unless it is kept already. */
export function keepPayload(tx: Tx, object: Secret | Config): void {
  const revision = presentRevision(object);
  const id = payloadId(object.id, revision);
  if (tx.get("payload", id) !== undefined) return;
  const data = object.spec?.data ?? new Uint8Array();
  tx.create("payload", Payload.create({ id, ownerId: object.id, revision, data }));
}
