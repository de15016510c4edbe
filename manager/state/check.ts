/**
 * Checks a transaction as a whole: what it relied on, node numbers and removed nodes, and that every claim has one holder.
 *
 * Pure, and run twice: by the leader before it proposes, so that most refusals cost no round, and by every replica
 * while applying, where it counts.
 */
import {
  Meta,
  type StorePrecondition,
  type Tombstone,
} from "../../src/common/api/generated/api.ts";
import type { ErrorCode } from "../../src/common/errors/cluster-error.ts";
import { nodeNumberMax, nodeNumberRestMs } from "../../src/common/limits/limits.ts";
import { create, tableOf } from "./action.ts";
import { type Change, newChange } from "./change.ts";
import type { State } from "./state.ts";
import { type AnyObject, type TableKey, versionOf } from "./tables.ts";
import { forEachClaim, type Space, takenText } from "./uniqueness.ts";

/** Why a transaction was not applied. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  /** Whether deciding anew may help: the decision was made on something that changed. */
  readonly retry: boolean;
}

/** Where and when a transaction is applied. */
export interface Place {
  readonly index: number;
  readonly term: number;
  readonly timeMs: number;
}

/** The changes to make, complete, or why there are none. */
export interface Checked {
  readonly changes: readonly Change[];
  readonly refusal: Refusal | undefined;
}

/** Nothing to be changed, for this reason. */
export function refused(refusal: Refusal): Checked {
  return { changes: [], refusal };
}

/** The object is there already. */
export function exists(table: TableKey, id: string): Refusal {
  return { code: "already-exists", message: `${table} ${id} already exists`, retry: true };
}

/** The object is not what it was when the decision was made. */
export function changed(table: TableKey, id: string): Refusal {
  return { code: "aborted", message: `${table} ${id} was changed meanwhile`, retry: true };
}

function invalid(message: string): Refusal {
  return { code: "invalid-argument", message, retry: false };
}

/** Whether everything a decision relied on still holds. */
export function checkPreconditions(
  state: State,
  preconditions: readonly StorePrecondition[],
): Refusal | undefined {
  for (const { table: name, id, version, absent, index, key } of preconditions) {
    const table = tableOf(name) as TableKey;
    if (index !== "") {
      const declared = state.table(table).indexes.get(index);
      if (declared === undefined || declared.map.count(key) > 0) {
        return { code: "aborted", message: `${table} with ${index} ${key} appeared`, retry: true };
      }
      continue;
    }
    const object = state.get(table, id);
    const holds = absent
      ? object === undefined
      : object !== undefined && (version === 0 || versionOf(object) === version);
    if (!holds) return changed(table, id);
  }
  return undefined;
}

/** Gives an object about to be put in its version and times. */
export function stamp(next: AnyObject, base: AnyObject | undefined, place: Place): void {
  (next as { meta: Meta }).meta = Meta.create({
    version: place.index,
    createdAtMs: base?.meta?.createdAtMs ?? place.timeMs,
    updatedAtMs: place.timeMs,
  });
}

/**
 * Completes the changes of a transaction by the tombstones that follow from them, and checks the whole.
 */
export function checkChanges(state: State, changes: readonly Change[], place: Place): Checked {
  const byId = new Map<string, Change>();
  let nodes = false;
  for (const change of changes) {
    const id = change.object.id;
    if (byId.has(id)) return refused(invalid(`${change.table} ${id} is changed twice`));
    byId.set(id, change);
    nodes ||= change.table === "node";
  }
  const all = nodes ? withTombstones(state, changes, byId, place) : { changes, refusal: undefined };
  if (all.refusal !== undefined) return all;
  const refusal = checkClaims(state, all.changes, byId);
  return refusal === undefined ? all : refused(refusal);
}

/** Adds the tombstones of removed nodes and freed numbers, takes those of numbers in use again. */
function withTombstones(
  state: State,
  changes: readonly Change[],
  byId: ReadonlyMap<string, Change>,
  place: Place,
): Checked {
  const derived = new Map<string, Change>();
  const entomb = (id: string, fields: Partial<Tombstone>) => {
    if (byId.has(id)) return;
    const old = state.get("tombstone", id);
    const tombstone = create("tombstone", { ...fields, id });
    stamp(tombstone, old, place);
    const kind = old === undefined ? "create" : "update";
    derived.set(id, newChange(kind, "tombstone", tombstone, old));
  };
  for (const { table, kind, object: node, old } of changes) {
    if (table !== "node") continue;
    if (kind === "remove") {
      const expiresAtMs = node.certificate?.notAfterMs ?? 0;
      entomb(`node/${node.id}`, { node: { nodeId: node.id, expiresAtMs } });
    }
    const freed = kind === "remove" ? node.number : (old?.number ?? 0);
    if (freed !== 0 && (kind === "remove" || freed !== node.number)) {
      entomb(`number/${freed}`, { number: { number: freed, freedAtMs: place.timeMs } });
    }
  }
  for (const { table, kind, object: node, old } of changes) {
    if (table !== "node" || kind === "remove") continue;
    if (kind === "create" && state.get("tombstone", `node/${node.id}`) !== undefined) {
      return refused(cannotComeBack(node.id));
    }
    if (node.number === 0 || node.number === old?.number) continue;
    const refusal = takeNumber(state, node.number, place, derived);
    if (refusal !== undefined) return refused(refusal);
  }
  return { changes: [...changes, ...derived.values()], refusal: undefined };
}

function cannotComeBack(id: string): Refusal {
  const message = `node ${id} was removed from the cluster and cannot come back under its id`;
  return { code: "failed-precondition", message, retry: false };
}

function takeNumber(
  state: State,
  number: number,
  place: Place,
  derived: Map<string, Change>,
): Refusal | undefined {
  if (!Number.isInteger(number) || number < 1 || number > nodeNumberMax) {
    return invalid(`node number ${number} is not between 1 and ${nodeNumberMax}`);
  }
  const id = `number/${number}`;
  const tombstone = state.get("tombstone", id) as Tombstone | undefined;
  if (derived.has(id) || (tombstone !== undefined && isResting(tombstone, place.timeMs))) {
    const message = `node number ${number} was freed less than a day ago`;
    return { code: "already-exists", message, retry: true };
  }
  if (tombstone !== undefined) {
    derived.set(id, newChange("remove", "tombstone", tombstone, undefined));
  }
  return undefined;
}

/** Whether the node number of a tombstone may not be given to another node yet. */
export function isResting(tombstone: Tombstone, nowMs: number): boolean {
  return tombstone.number !== undefined && nowMs < tombstone.number.freedAtMs + nodeNumberRestMs;
}

/** Checks that no claim of a changed object is held by another one afterwards. */
function checkClaims(
  state: State,
  changes: readonly Change[],
  byId: ReadonlyMap<string, Change>,
): Refusal | undefined {
  const fresh = new Set<string>();
  for (const { kind, table, object, old } of changes) {
    const declared = state.table(table).claims;
    if (declared === undefined || kind === "remove") continue;
    if (old !== undefined && declared.same(old, object)) continue;
    let refusal: Refusal | undefined;
    const own = new Set<string>();
    forEachClaim(table, object, (space, group, key) => {
      const holder = state.holder(space, group, key);
      if (holder === object.id) return;
      const name = `${space} ${group} ${key}`;
      // Naming a port twice is the object's own affair.
      if (own.has(name)) return;
      own.add(name);
      const other = holder === undefined ? undefined : byId.get(holder);
      const gaveUp = holder === undefined || (other !== undefined && !claims(other, name));
      if (!gaveUp || fresh.has(name)) {
        refusal ??= { code: "already-exists", message: takenText(space, group, key), retry: true };
      }
      fresh.add(name);
    });
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** Whether an object claims the key also after its change. */
function claims(change: Change, name: string): boolean {
  if (change.kind === "remove") return false;
  let found = false;
  forEachClaim(change.table, change.object, (space: Space, group, key) => {
    found ||= `${space} ${group} ${key}` === name;
  });
  return found;
}
