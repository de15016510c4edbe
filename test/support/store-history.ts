/**
 * Random histories of the store from a seed, and a check of a state against its own rules, for model-based tests.
 */
import assert from "node:assert/strict";
import { encodeTransaction } from "../../manager/state/action.ts";
import { type Change, newChange } from "../../manager/state/change.ts";
import { keyText } from "../../manager/state/index-map.ts";
import type { CommittedEntry } from "../../manager/state/proposer.ts";
import type { Store } from "../../manager/state/store.ts";
import {
  type AnyObject,
  type IndexDeclaration,
  indexDeclarations,
  type TableKey,
  tableKeys,
  versionOf,
} from "../../manager/state/tables.ts";
import { forEachClaim } from "../../manager/state/uniqueness.ts";
import { StoreEntryParts, type Task, TaskStatus } from "../../src/common/api/generated/api.ts";
import type { Random } from "../../src/common/random/random.ts";
import { config, network, node, service, task } from "./store-objects.ts";

const states = ["new", "assigned", "running", "failed"] as const;
const desired = ["running", "shutdown"] as const;

/** Makes entries that suit, more or less, the store they are for: some of their transactions are refused. */
export class HistoryMaker {
  readonly #random: Random;
  readonly #store: Store;
  #term = 1;
  #sequence = 0;
  #timeMs = 1_700_000_000_000;
  #last: Uint8Array | undefined;

  constructor(random: Random, store: Store) {
    this.#random = random;
    this.#store = store;
  }

  /** The entry after the last one the store has applied. */
  next(): CommittedEntry {
    const random = this.#random;
    if (random.int(40) === 0) this.#term++;
    this.#timeMs += random.int(10) === 0 ? 3_600_000 * random.int(30) : random.int(1_000);
    const place = { index: this.#store.appliedIndex() + 1, term: this.#term };
    if (random.int(20) === 0) return { ...place, data: new Uint8Array(0) };
    const transactions = Array.from({ length: 1 + random.int(3) }, () => this.#transaction());
    const timeMs = this.#timeMs;
    return { ...place, data: StoreEntryParts.encode({ format: 1, timeMs, transactions }) };
  }

  #transaction(): Uint8Array {
    const random = this.#random;
    if (this.#last !== undefined && random.int(15) === 0) return this.#last;
    const changes = new Map<string, Change>();
    for (let n = 1 + random.int(4); n > 0; n--) {
      const change = this.#change();
      if (change !== undefined) changes.set(change.object.id, change);
    }
    this.#last = encodeTransaction({
      changes: [...changes.values()],
      preconditions: [],
      term: random.int(4) === 0 ? this.#term - random.int(2) : 0,
      clientId: random.int(8) === 0 ? 0 : 1 + random.int(3),
      sequence: ++this.#sequence,
    });
    return this.#last;
  }

  #change(): Change | undefined {
    const random = this.#random;
    const [table, made] = this.#object();
    const view = this.#store.view();
    const old = view.get(table, made.id);
    if (old === undefined) return newChange("create", table, made, undefined);
    if (random.int(4) === 0) return newChange("remove", table, old, undefined);
    const base = random.int(10) === 0 ? stale(old) : old;
    if (table === "task" && random.int(2) === 0) {
      const state = states[random.int(4)] ?? "new";
      const status = TaskStatus.create({ state, timestampMs: this.#timeMs, message: "moved" });
      return newChange("update", table, { ...(old as Task), status }, base);
    }
    return newChange("update", table, made, base);
  }

  #object(): [TableKey, AnyObject] {
    const random = this.#random;
    const pick = (count: number) => random.int(count);
    const address = [`net${pick(2)}`, `10.0.0.${pick(12)}/24`] as const;
    switch (pick(7)) {
      case 0:
        return ["config", config(`c${pick(10)}`, `name${pick(8)}`, "x".repeat(pick(50)))];
      case 1:
        return ["network", network(`net${pick(6)}`, pick(5), `name${pick(8)}`)];
      case 2:
        return ["node", node(`n${pick(12)}`, pick(8), `host${pick(3)}`)];
      case 3: {
        const ports = pick(2) === 0 ? [] : [{ publishedPort: 80 + pick(3), targetPort: 1 }];
        const vips = pick(2) === 0 ? [] : [address];
        const image = `image${pick(4)}`;
        return [
          "service",
          service({ id: `s${pick(4)}`, name: `name${pick(6)}`, ports, vips, image }),
        ];
      }
      default: {
        const parts = {
          id: `t${pick(40)}`,
          serviceId: `s${pick(4)}`,
          slot: pick(4),
          nodeId: pick(2) === 0 ? "" : `n${pick(3)}`,
          specVersion: 1 + pick(2),
          desired: desired[pick(2)] ?? "running",
          state: states[pick(4)] ?? "new",
          addresses: pick(2) === 0 ? [] : [address],
          image: `image${pick(4)}`,
        };
        return ["task", task(parts)];
      }
    }
  }
}

/** The object as if it had an earlier version. */
function stale(object: AnyObject): AnyObject {
  const meta = { version: versionOf(object) - 1, createdAtMs: 0, updatedAtMs: 0 };
  return { ...object, meta } as AnyObject;
}

/** Compares indexes with what is in the tables, and looks for claims with two holders. */
export function assertConsistent(store: Store): void {
  const view = store.view();
  const holders = new Map<string, string>();
  for (const table of tableKeys) {
    const expected = new Map<string, string[]>();
    for (const object of view.each(table)) {
      forEachKey(table, object, (name) => {
        const ids = expected.get(name) ?? [];
        if (!ids.includes(object.id)) ids.push(object.id);
        expected.set(name, ids);
      });
      forEachClaim(table, object, (space, group, key) => {
        const name = `${space} ${group} ${key}`;
        assert.equal(holders.get(name) ?? object.id, object.id, `${name} has two holders`);
        holders.set(name, object.id);
        assert.equal(store.state().holder(space, group, key), object.id, `holder of ${name}`);
      });
    }
    assertIndexes(store, table, expected);
  }
}

function assertIndexes(
  store: Store,
  table: TableKey,
  expected: ReadonlyMap<string, readonly string[]>,
): void {
  for (const object of store.view().each(table)) {
    for (const [name, { declaration, map }] of store.state().table(table).indexes) {
      declaration.keys(object, (key) => {
        const ids = [...map.ids(key)].sort();
        const wanted = [...(expected.get(`${name} ${keyText(key)}`) ?? [])].sort();
        assert.deepEqual(ids, wanted, `${table} by ${name} ${keyText(key)}`);
      });
    }
  }
}

function forEachKey(table: TableKey, object: AnyObject, see: (name: string) => void): void {
  const declared = indexDeclarations[table] as unknown as Record<
    string,
    IndexDeclaration<AnyObject>
  >;
  for (const [name, declaration] of Object.entries(declared)) {
    declaration.keys(object, (key) => see(`${name} ${keyText(key)}`));
  }
}

/** The whole snapshot of a store as bytes. */
export async function snapshotBytes(store: Store): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.snapshot(store.freeze())) chunks.push(chunk);
  return Buffer.concat(chunks);
}
