/**
 * Applying entries: what stops a replica, exactly-once, term fence, preconditions, all or nothing.
 */
import assert from "node:assert/strict";
import { encodeTransaction, type TransactionParts } from "../../../../manager/state/action.ts";
import { type Applied, applyEntry } from "../../../../manager/state/apply.ts";
import { newChange } from "../../../../manager/state/change.ts";
import { Clients } from "../../../../manager/state/clients.ts";
import { State } from "../../../../manager/state/state.ts";
import {
  StoreAction,
  StoreClient,
  StoreEntry,
  StoreEntryParts,
  StorePrecondition,
  StoreTransaction,
} from "../../../../src/common/api/generated/api.ts";
import { clientSequencesMax, clientsMax } from "../../../../src/common/limits/store.ts";
import { config, task, taskSpec } from "../../../support/store-objects.ts";

function applyData(state: State, data: Uint8Array, term = 1): Applied {
  return applyEntry(state, { index: state.index + 1, term, data });
}

function apply(state: State, parts: Partial<TransactionParts>, term = 1): Applied {
  const whole = { changes: [], preconditions: [], term: 0, clientId: 0, sequence: 0, ...parts };
  const transactions = [encodeTransaction(whole)];
  return applyData(state, StoreEntryParts.encode({ format: 1, timeMs: 5, transactions }), term);
}

function creation(id: string) {
  return newChange("create", "config", config(id), undefined);
}

describe("manager/state/apply", () => {
  it("counts Raft's own entries and changes nothing", () => {
    const state = new State();
    assert.deepEqual(applyData(state, new Uint8Array(0), 3), { changes: [], outcomes: [] });
    assert.deepEqual([state.index, state.term], [1, 3]);
  });

  it("asserts that entries come in order", () => {
    const entry = { index: 3, term: 1, data: new Uint8Array(0) };
    assert.throws(() => applyEntry(new State(), entry), /entry 3 applied after entry 0/);
  });

  const transactions = [StoreTransaction.create({})];
  const withAction = (action: Partial<StoreAction>) =>
    StoreEntry.create({
      format: 1,
      transactions: [StoreTransaction.create({ actions: [StoreAction.create(action)] })],
    });
  const foreign: readonly (readonly [string, Uint8Array])[] = [
    ["a newer format", StoreEntry.encode(StoreEntry.create({ format: 2, transactions }))],
    ["no format", StoreEntry.encode(StoreEntry.create({ transactions }))],
    ["an unknown kind", StoreEntry.encode(withAction({ kind: "unknown", table: "config" }))],
    ["no table", StoreEntry.encode(withAction({ kind: "create", table: "none" }))],
    ["an object of no table", StoreEntry.encode(withAction({ kind: "create", table: "config" }))],
    ["an unknown table", Uint8Array.from([8, 1, 26, 6, 10, 4, 8, 1, 16, 99])],
    ["garbage", Uint8Array.from([255, 255, 255])],
  ];
  for (const [what, data] of foreign) {
    it(`stops the replica at an entry with ${what}, before anything is applied`, () => {
      const state = new State();
      assert.throws(() => applyData(state, data), {
        code: "unimplemented",
        message: /cannot apply entry 1 of the log.*install the version/,
      });
      assert.equal(state.index, 0);
    });
  }

  it("applies a transaction once, whatever place it comes in again", () => {
    const state = new State();
    const parts = { changes: [creation("a")], clientId: 9, sequence: 1 };
    assert.equal(apply(state, parts).changes.length, 1);
    const again = apply(state, parts);
    assert.equal(again.changes.length, 0);
    assert.equal(again.outcomes[0]?.refusal, undefined);
    assert.equal(state.get("config", "a")?.meta?.version, 1);
  });

  it("never applies later what it refused once", () => {
    const state = new State();
    apply(state, { changes: [creation("a")] });
    const parts = { changes: [creation("a")], clientId: 9, sequence: 1 };
    assert.equal(apply(state, parts).outcomes[0]?.refusal?.code, "already-exists");
    const old = state.get("config", "a");
    assert.ok(old);
    apply(state, { changes: [newChange("remove", "config", old, undefined)] });
    assert.equal(apply(state, parts).outcomes[0]?.refusal?.code, "aborted");
    assert.equal(state.get("config", "a"), undefined);
  });

  it("refuses a transaction decided in another term", () => {
    const state = new State();
    const parts = { changes: [creation("a")], term: 1 };
    assert.match(apply(state, parts, 2).outcomes[0]?.refusal?.message ?? "", /earlier term/);
    assert.equal(apply(state, parts, 1).outcomes[0]?.refusal, undefined);
  });

  it("refuses all of a transaction when one change is stale", () => {
    const state = new State();
    apply(state, { changes: [creation("a")] });
    const old = state.get("config", "a");
    assert.ok(old);
    apply(state, { changes: [newChange("update", "config", config("a", "a", "y"), old)] });
    const late = newChange("update", "config", config("a", "a", "z"), old);
    const refusal = apply(state, { changes: [creation("b"), late] }).outcomes[0]?.refusal;
    assert.deepEqual([refusal?.code, refusal?.retry], ["aborted", true]);
    assert.equal(state.get("config", "b"), undefined);
  });

  const preconditions: readonly (readonly [string, Partial<StorePrecondition>, boolean])[] = [
    ["an object at its version", { id: "a", version: 1 }, true],
    ["an object at any version", { id: "a" }, true],
    ["an object at another version", { id: "a", version: 2 }, false],
    ["an object that is missing", { id: "b" }, false],
    ["the absence of a missing object", { id: "b", absent: true }, true],
    ["the absence of an object that is there", { id: "a", absent: true }, false],
    ["an index key nobody has", { index: "name", key: "b" }, true],
    ["an index key somebody has", { index: "name", key: "a" }, false],
    ["an index that does not exist", { index: "size", key: "a" }, false],
  ];
  for (const [what, fields, holds] of preconditions) {
    it(`${holds ? "accepts" : "refuses"} a transaction that relies on ${what}`, () => {
      const state = new State();
      apply(state, { changes: [creation("a")] });
      const precondition = StorePrecondition.create({ table: "config", ...fields });
      const parts = { changes: [creation("c")], preconditions: [precondition] };
      const refusal = apply(state, parts).outcomes[0]?.refusal;
      assert.equal(refusal === undefined, holds);
      assert.equal(state.get("config", "c") !== undefined, holds);
    });
  }

  it("carries only what an update changes, and keeps the rest and its instances", () => {
    const state = new State();
    const spec = taskSpec("image ".repeat(100));
    const first = { ...task({ id: "t", serviceId: "s", slot: 1 }), spec };
    apply(state, { changes: [newChange("create", "task", first, undefined)] });
    const old = state.get("task", "t");
    assert.ok(old && "desiredState" in old);
    const next = { ...old, desiredState: "shutdown" as const };
    const change = newChange("update", "task", next, old);
    const parts = { changes: [change], preconditions: [], term: 0, clientId: 1, sequence: 1 };
    assert.ok(encodeTransaction(parts).length < 40);
    apply(state, parts);
    const now = state.get("task", "t");
    assert.ok(now && "desiredState" in now);
    assert.deepEqual({ ...now, meta: old.meta }, next);
    assert.equal(now.spec, old.spec);
    assert.deepEqual(now.meta, { version: 2, createdAtMs: 5, updatedAtMs: 5 });
  });

  it("keeps one instance of the spec of a service's tasks, and forgets it with the last", () => {
    const state = new State();
    for (const id of ["t", "u"]) {
      const change = newChange("create", "task", task({ id, image: "same" }), undefined);
      apply(state, { changes: [change] });
    }
    const [t, u] = ["t", "u"].map((id) => state.get("task", id));
    assert.ok(t && u && "status" in t && "status" in u);
    assert.equal(t.spec, u.spec);
    assert.equal(state.interner.size, 1);
    for (const object of [t, u]) {
      apply(state, { changes: [newChange("remove", "task", object, undefined)] });
    }
    assert.equal(state.interner.size, 0);
  });
});

describe("manager/state/clients", () => {
  it("remembers outcomes in any order as few runs", () => {
    const clients = new Clients();
    for (const sequence of [1, 2, 5, 4, 3]) clients.record(7, sequence, true, 1);
    clients.record(7, 6, false, 1);
    const record = StoreClient.decode(clients.encoded(7) ?? new Uint8Array(0));
    assert.deepEqual(record.runs, [
      { first: 1, count: 5, applied: true },
      { first: 6, count: 1, applied: false },
    ]);
    assert.deepEqual(
      [3, 6, 7].map((sequence) => clients.verdict(7, sequence)),
      ["applied", "refused", "unseen"],
    );
  });

  it("applies nothing older than what it remembers", () => {
    const clients = new Clients();
    clients.record(7, 1, true, 1);
    clients.record(7, clientSequencesMax + 5, true, 2);
    assert.equal(clients.verdict(7, 5), "forgotten");
    assert.equal(clients.verdict(7, 6), "unseen");
  });

  it("forgets the proposer not heard of for longest", () => {
    const clients = new Clients();
    for (let id = 1; id <= clientsMax + 1; id++) clients.record(id, 1, true, id);
    assert.equal(clients.ids().length, clientsMax);
    assert.equal(clients.verdict(1, 1), "unseen");
  });

  it("comes back from its records the same", () => {
    const clients = new Clients();
    clients.record(7, 3, true, 4);
    const copy = new Clients();
    copy.load(StoreClient.decode(clients.encoded(7) ?? new Uint8Array(0)));
    copy.record(7, 4, true, 5);
    clients.record(7, 4, true, 5);
    assert.deepEqual(copy.encoded(7), clients.encoded(7));
  });
});
