/**
 * Applies committed entries to the state: the one place where the state changes, the same on every replica.
 *
 * Pure: what comes of an entry depends on the state and the entry alone. No clock (times are the entry's), no
 * randomness, nothing that depends on the order of a Map. A transaction is checked as a whole against the state it
 * would leave behind and then applied as a whole, or refused without a trace but the memory of its refusal.
 */
import { StoreEntry, type StoreTransaction } from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { knownKind, objectOfAction, tableOf } from "./action.ts";
import { type Change, newChange } from "./change.ts";
import {
  type Checked,
  changed,
  checkChanges,
  checkPreconditions,
  exists,
  type Place,
  type Refusal,
  refused,
  stamp,
} from "./check.ts";
import { sharedValue } from "./intern.ts";
import type { CommittedEntry } from "./proposer.ts";
import type { State } from "./state.ts";
import { type TableKey, versionOf } from "./tables.ts";

/** Format of the entries this version writes, and the newest it reads. */
export const entryFormat = 1;

/** What became of one transaction of an entry. */
export interface Outcome {
  readonly clientId: number;
  readonly sequence: number;
  /** Undefined when it was applied, now or by an earlier entry. */
  readonly refusal: Refusal | undefined;
}

/** What became of one entry. */
export interface Applied {
  readonly changes: readonly Change[];
  readonly outcomes: readonly Outcome[];
}

const nothing: Applied = { changes: [], outcomes: [] };

/**
 * Applies one entry, which must be the next one.
 *
 * @throws ClusterError unimplemented when the entry was written by a newer version: this replica must stop.
 */
export function applyEntry(state: State, entry: CommittedEntry): Applied {
  const { index, term, data } = entry;
  if (index !== state.index + 1) {
    throw new Error(`entry ${index} applied after entry ${state.index}`);
  }
  if (data.length === 0) {
    advance(state, entry);
    return nothing;
  }
  const decoded = decodeEntry(entry);
  const transactions = decoded.transactions.map((transaction) => readable(transaction, index));
  const place = { index, term, timeMs: decoded.timeMs };
  const changes: Change[] = [];
  const outcomes: Outcome[] = [];
  for (const transaction of transactions) {
    const refusal = applyTransaction(state, transaction, place, changes);
    outcomes.push({
      clientId: transaction.clientId,
      sequence: transaction.sequence,
      refusal,
    });
  }
  advance(state, entry);
  return { changes, outcomes };
}

function advance(state: State, entry: CommittedEntry): void {
  state.index = entry.index;
  state.term = entry.term;
}

function decodeEntry(entry: CommittedEntry): StoreEntry {
  let decoded: StoreEntry;
  try {
    decoded = StoreEntry.decode(entry.data);
  } catch (cause) {
    throw tooNew(entry.index, errorText(cause), cause);
  }
  if (decoded.format < 1 || decoded.format > entryFormat) {
    throw tooNew(entry.index, `its format is ${decoded.format}, this version knows ${entryFormat}`);
  }
  return decoded;
}

function tooNew(index: number, reason: string, cause?: unknown): ClusterError {
  return new ClusterError(
    "unimplemented",
    `cannot apply entry ${index} of the log: ${reason}; this manager stops before it differs from the others: ` +
      "install the version of skep the other managers run",
    { cause, fields: { "raft.index": index, fatal: true } },
  );
}

/** Checks that every action can be read at all, before anything of the entry is applied. */
function readable(transaction: StoreTransaction, index: number): StoreTransaction {
  for (const action of transaction.actions) {
    if (!knownKind(action.kind)) throw tooNew(index, `unknown kind of action "${action.kind}"`);
    const table = tableOf(action.table);
    if (table === undefined) throw tooNew(index, `unknown table "${action.table}"`);
    if (action.kind !== "remove" && action.object?.[table] === undefined) {
      throw tooNew(index, `the action holds no ${table}`);
    }
  }
  for (const shared of transaction.shared) {
    if (sharedValue(shared) === undefined) throw tooNew(index, "unknown kind of shared value");
  }
  for (const precondition of transaction.preconditions) {
    if (tableOf(precondition.table) === undefined) {
      throw tooNew(index, `unknown table "${precondition.table}"`);
    }
  }
  return transaction;
}

function applyTransaction(
  state: State,
  transaction: StoreTransaction,
  place: Place,
  log: Change[],
): Refusal | undefined {
  const { clientId, sequence } = transaction;
  if (clientId !== 0) {
    const verdict = state.clients.verdict(clientId, sequence);
    if (verdict === "applied") return undefined;
    if (verdict !== "unseen") return refusedBefore;
  }
  const { changes, refusal } = resolve(state, transaction, place);
  for (const change of changes) {
    if (change.kind === "remove") state.remove(change.table, change.object.id);
    else state.put(change.table, change.object);
    log.push(change);
  }
  if (clientId !== 0) state.clients.record(clientId, sequence, refusal === undefined, place.index);
  return refusal;
}

const refusedBefore: Refusal = {
  code: "aborted",
  message: "the transaction was already refused",
  retry: false,
};

/** The changes of a transaction, complete and checked, or why it is refused. */
function resolve(state: State, transaction: StoreTransaction, place: Place): Checked {
  if (transaction.term !== 0 && transaction.term !== place.term) return refused(otherTerm);
  const failed = checkPreconditions(state, transaction.preconditions);
  if (failed !== undefined) return refused(failed);
  const shared = transaction.shared.map(sharedValue);
  const changes: Change[] = [];
  for (const action of transaction.actions) {
    const table = tableOf(action.table) as TableKey;
    const base = state.get(table, action.id);
    if (action.kind === "create" ? base !== undefined : base === undefined) {
      return refused((action.kind === "create" ? exists : changed)(table, action.id));
    }
    if (base !== undefined && action.expectedVersion !== 0) {
      if (versionOf(base) !== action.expectedVersion) {
        return refused(changed(table, action.id));
      }
    }
    if (action.kind === "remove") {
      if (base !== undefined) changes.push(newChange("remove", table, base, undefined));
      continue;
    }
    const next = objectOfAction(action, table, base, shared);
    if (next === undefined) throw tooNew(place.index, `unknown fields of ${table} ${action.id}`);
    stamp(next, base, place);
    changes.push(newChange(base === undefined ? "create" : "update", table, next, base));
  }
  return checkChanges(state, changes, place);
}

const otherTerm: Refusal = {
  code: "aborted",
  message: "decided in an earlier term of leadership",
  retry: false,
};
