/**
 * Random histories on several replicas: one applies everything, one comes from a snapshot on the way; both must end
 * with the same bytes, agree on every outcome, and keep every rule of the store.
 */
import assert from "node:assert/strict";
import type { CommittedEntry } from "../../../../manager/state/proposer.ts";
import { Store } from "../../../../manager/state/store.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { assertConsistent, HistoryMaker, snapshotBytes } from "../../../support/store-history.ts";

function newStore(seed: number): Store {
  return new Store({ clock: new FakeClock(), random: seededRandom(seed), log: silentLog });
}

async function* chunked(bytes: Buffer, size: number): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe("manager/state", () => {
  for (let seed = 1; seed <= 20; seed++) {
    it(`gives the same state everywhere, history ${seed}`, async () => {
      const random = seededRandom(seed);
      const leader = newStore(1);
      const maker = new HistoryMaker(random, leader);
      const entries: CommittedEntry[] = [];
      let late = newStore(2);
      for (let n = 0; n < 300; n++) {
        const entry = maker.next();
        entries.push(entry);
        leader.applyBatch([entry]);
        if (random.int(60) === 0) {
          assertConsistent(leader);
          late = newStore(3);
          const bytes = await snapshotBytes(leader);
          const size = 1 + random.int(5_000);
          await late.restore(chunked(bytes, size), leader.appliedIndex(), leader.appliedTerm());
          assertConsistent(late);
        } else if (n > 0 && random.int(3) === 0) {
          late.applyBatch(entries.slice(late.appliedIndex()));
        }
      }
      late.applyBatch(entries.slice(late.appliedIndex()));
      const replayed = newStore(4);
      replayed.applyBatch(entries);
      const bytes = await snapshotBytes(leader);
      assert.ok(bytes.equals(await snapshotBytes(late)), "after a snapshot");
      assert.ok(bytes.equals(await snapshotBytes(replayed)), "after a replay");
      assertConsistent(leader);
      assertConsistent(late);
      assert.ok(leader.view().count("task") > 5);
    });
  }
});

describe("manager/state/snapshot", () => {
  async function filled(): Promise<{ store: Store; bytes: Buffer }> {
    const store = newStore(1);
    const maker = new HistoryMaker(seededRandom(5), store);
    for (let n = 0; n < 100; n++) store.applyBatch([maker.next()]);
    return { store, bytes: await snapshotBytes(store) };
  }

  it("refuses every cut and changed stream and leaves the state as it was", async () => {
    const { store, bytes } = await filled();
    const { index, term } = store.freeze();
    const target = newStore(2);
    const attempt = (stream: Buffer) => target.restore(chunked(stream, 1_000), index, term);
    const step = Math.ceil(bytes.length / 200);
    for (let at = 0; at < bytes.length; at += step) {
      await assert.rejects(attempt(bytes.subarray(0, at)), { code: "internal" }, `cut at ${at}`);
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 16;
      await assert.rejects(attempt(changed), `changed at ${at}`);
    }
    await assert.rejects(attempt(Buffer.concat([bytes, bytes])), /goes on after its end/);
    assert.equal(target.appliedIndex(), 0);
    assert.equal(target.view().count("task"), 0);
    await attempt(bytes);
    assert.equal(target.appliedIndex(), index);
  });

  it("refuses a snapshot of another place than was said", async () => {
    const { bytes } = await filled();
    const target = newStore(2);
    await assert.rejects(target.restore(chunked(bytes, 1_000), 7, 1), /not 7 in term 1/);
  });

  it("is of the moment it was frozen, whatever is applied while it is written", async () => {
    const { store, bytes } = await filled();
    const chunks: Uint8Array[] = [];
    const maker = new HistoryMaker(seededRandom(6), store);
    const stream = store.snapshot(store.freeze());
    store.applyBatch([maker.next()]);
    for await (const chunk of stream) {
      chunks.push(chunk);
      store.applyBatch([maker.next()]);
    }
    assert.ok(Buffer.concat(chunks).equals(bytes));
  });
});
