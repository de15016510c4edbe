/**
 * The store as its users see it: decisions, versions, conflicts, limits, group commit, outcomes.
 */
import assert from "node:assert/strict";
import { Config, ConfigSpec } from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError, hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { maySafelyRetry, noLeaderText, untried } from "../../../../src/common/errors/no-leader.ts";
import {
  entriesInFlightMax,
  entryGatherBytesMax,
  entryGatherMs,
  outcomeSweepMs,
} from "../../../../src/common/limits/store.ts";
import { localStore } from "../../../support/local-log.ts";

function config(id: string, name = id, data = ""): Config {
  const annotations = { name, labels: {} };
  return Config.create({
    id,
    spec: ConfigSpec.create({ annotations, data: Buffer.from(data) }),
  });
}

describe("manager/state/store", () => {
  it("shows a change once it is applied, with the index as version", async () => {
    const { store, log } = localStore();
    const result = await store.update((tx) => {
      tx.create("config", config("a"));
      return "done";
    });
    assert.equal(result, "done");
    assert.equal(store.view().get("config", "a")?.meta?.version, 1);
    assert.equal(log.entries.length, 1);
  });

  it("proposes nothing for a decision without changes", async () => {
    const { store, log } = localStore();
    assert.equal(await store.update((tx) => tx.count("config")), 0);
    assert.equal(log.entries.length, 0);
  });

  it("puts the transactions of one turn into one entry", async () => {
    const { store, log } = localStore();
    const ids = ["a", "b", "c"];
    await Promise.all(ids.map((id) => store.update((tx) => tx.create("config", config(id)))));
    assert.equal(log.entries.length, 1);
    assert.equal(store.view().count("config"), 3);
  });

  it("gathers what comes while an entry is under way, until that is applied", async () => {
    const { store, log } = localStore({ clock: new FakeClock() });
    log.automatic = false;
    const updates: Promise<void>[] = [];
    for (const id of ["a", "b", "c"]) {
      updates.push(store.update((tx) => tx.create("config", config(id))));
      await turn();
    }
    assert.equal(log.entries.length, 1);
    log.commit();
    await turn();
    assert.equal(log.entries.length, 2);
    log.commit();
    await Promise.all(updates);
  });

  it("gathers for a moment only, and not what is large", async () => {
    const clock = new FakeClock();
    const { store, log } = localStore({ clock });
    log.automatic = false;
    const create = (id: string, data = "") =>
      store.update((tx) => tx.create("config", config(id, id, data)));
    const updates = [create("a")];
    await turn();
    updates.push(create("b"));
    await turn();
    assert.equal(log.entries.length, 1);
    await clock.advance(entryGatherMs);
    await turn();
    assert.equal(log.entries.length, 2);
    updates.push(create("c", "x".repeat(entryGatherBytesMax)));
    await turn();
    assert.equal(log.entries.length, 3);
    log.commit();
    await Promise.all(updates);
  });

  it("sees its own staged changes", async () => {
    const { store } = localStore();
    await store.update((tx) => {
      tx.create("config", config("a", "Name"));
      assert.equal(tx.find("config", "name", "name").length, 1);
      tx.remove("config", "a");
      assert.equal(tx.get("config", "a"), undefined);
      assert.equal(tx.count("config"), 0);
    });
    assert.equal(store.view().count("config"), 0);
  });

  it("refuses a stale version with Docker's text", async () => {
    const { store } = localStore();
    await store.update((tx) => tx.create("config", config("a")));
    const stale = store.update((tx) => tx.update("config", config("a"), 7));
    await assert.rejects(stale, { code: "unknown", message: "update out of sequence" });
    await store.update((tx) => tx.update("config", config("a", "a", "new"), 1));
    assert.equal(store.view().get("config", "a")?.meta?.version, 2);
  });

  it("runs a decision again that lost a race", async () => {
    const { store } = localStore();
    await store.update((tx) => tx.create("config", config("a", "a", "")));
    let runs = 0;
    const append = () =>
      store.update((tx) => {
        runs++;
        const old = tx.get("config", "a");
        const data = `${Buffer.from(old?.spec?.data ?? [])}x`;
        tx.update("config", config("a", "a", data));
      });
    await Promise.all([append(), append(), append()]);
    assert.equal(Buffer.from(store.view().get("config", "a")?.spec?.data ?? []).toString(), "xxx");
    assert.equal(runs, 6);
  });

  it("turns a lost race with a user's version into update out of sequence", async () => {
    const { store } = localStore();
    await store.update((tx) => tx.create("config", config("a")));
    const set = (data: string) =>
      store.update((tx) => tx.update("config", config("a", "a", data), 1));
    const results = await Promise.allSettled([set("x"), set("y")]);
    assert.equal(results[0]?.status, "fulfilled");
    assert.ok(results[1]?.status === "rejected" && hasCode(results[1].reason, "unknown"));
  });

  it("refuses a change that relied on something that changed", async () => {
    const { store } = localStore();
    await store.update((tx) => tx.create("config", config("a")));
    let runs = 0;
    const dependent = store.update((tx) => {
      runs++;
      if (tx.get("config", "a") === undefined) return;
      tx.require("config", "a");
      tx.create("config", config("b"));
    });
    const removal = store.update((tx) => tx.remove("config", "a"));
    await Promise.all([dependent, removal]);
    assert.equal(runs, 1);
    assert.equal(store.view().count("config"), 1);
    await Promise.all([
      store.update((tx) => tx.remove("config", "b")),
      store.update((tx) => {
        if (tx.get("config", "b") === undefined) return;
        tx.require("config", "b");
        tx.create("config", config("c"));
      }),
    ]);
    assert.equal(store.view().count("config"), 0);
  });

  it("says when a transaction is too large or has too many changes", async () => {
    const { store } = localStore();
    const large = store.update((tx) => {
      tx.create("config", config("a", "a", "x".repeat(900_000)));
      tx.create("config", config("b", "b", "x".repeat(900_000)));
    });
    await assert.rejects(large, { code: "invalid-argument", message: /too large/ });
    const many = store.update((tx) => {
      for (let i = 0; i < 201; i++) tx.create("config", config(`id${i}`));
    });
    await assert.rejects(many, { code: "invalid-argument", message: /at most 200 changes/ });
  });

  it("batches items into transactions within the limits", async () => {
    const { store, log } = localStore();
    const items = Array.from({ length: 450 }, (_, i) => `id${i}`);
    await store.batch(items, (tx, id) => tx.create("config", config(id)));
    assert.equal(store.view().count("config"), 450);
    assert.ok(log.entries.length >= 1);
    const large = ["l1", "l2", "l3"];
    await store.batch(large, (tx, id) => tx.create("config", config(id, id, "x".repeat(400_000))));
    assert.equal(store.view().count("config"), 453);
  });

  it("gives others a turn in a batch that changes nothing", async () => {
    const { store } = localStore();
    let turns = 0;
    let decided = 0;
    const tick = () => {
      turns += 1;
      if (decided < 10_000) setImmediate(tick);
    };
    setImmediate(tick);
    await store.batch(Array.from({ length: 10_000 }), () => {
      decided += 1;
    });
    assert.equal(decided, 10_000);
    assert.ok(turns >= 9, `${turns} turns`);
  });

  it("ends a batch with the first failure", async () => {
    const { store } = localStore();
    const batch = store.batch(["a", "a"], (tx, id) => tx.create("config", config(id)));
    await assert.rejects(batch, { code: "already-exists" });
  });

  it("retries what another leader's entry displaced, and only that", async () => {
    const { store, log } = localStore();
    log.automatic = false;
    const update = store.update((tx) => tx.create("config", config("a")));
    await turn();
    assert.equal(log.entries.length, 1);
    log.overwrite();
    log.commit();
    log.automatic = true;
    await update;
    assert.equal(store.view().get("config", "a")?.meta?.version, 2);
  });

  it("reports a lost change as aborted when it no longer leads", async () => {
    const { store, log } = localStore();
    log.automatic = false;
    const update = store.update((tx) => tx.create("config", config("a")));
    await turn();
    log.overwrite();
    log.leader = false;
    log.commit();
    await assert.rejects(update, { code: "aborted", message: /not made/ });
  });

  it("applies a decision of an earlier term under no other", async () => {
    const { store, log } = localStore();
    await assert.rejects(
      store.update((tx) => tx.create("config", config("a")), { term: 4 }),
      { code: "aborted" },
    );
    log.automatic = false;
    const update = store.update((tx) => tx.create("config", config("a")), { term: 1 });
    await turn();
    const [entry] = log.entries;
    log.overwrite(entry?.data);
    log.commit();
    await assert.rejects(update, { code: "aborted", message: /earlier term/ });
    assert.equal(store.view().count("config"), 0);
  });

  it("says that the outcome is unknown after 20 seconds without word", async () => {
    const clock = new FakeClock();
    const { store, log } = localStore({ clock });
    log.automatic = false;
    const update = store.update((tx) => tx.create("config", config("a")));
    await turn();
    const rejection = assert.rejects(update, { code: "unavailable", message: /outcome unknown/ });
    await clock.advance(21_000);
    await rejection;
  });

  it("says that the disk is full when that is why nothing was heard", async () => {
    const clock = new FakeClock();
    const { store, log } = localStore({ clock });
    log.automatic = false;
    const update = store.update((tx) => tx.create("config", config("a")));
    await turn();
    log.trouble = "ENOSPC";
    const rejection = assert.rejects(
      update,
      /outcome unknown: no space left on the manager's disk/,
    );
    await clock.advance(21_000);
    await rejection;
  });

  it("hands back what was not proposed before leadership was lost, to be tried elsewhere", async () => {
    const clock = new FakeClock();
    const { store, log } = localStore({ clock });
    log.automatic = false;
    const proposed: Promise<void>[] = [];
    for (let i = 0; i < entriesInFlightMax; i++) {
      proposed.push(store.update((tx) => tx.create("config", config(`p${i}`))));
      await turn();
      await clock.advance(entryGatherMs);
    }
    const queued = store.update((tx) => tx.create("config", config("q")));
    await turn();
    assert.equal(log.entries.length, entriesInFlightMax);
    const rejection = assert.rejects(queued, (error) => {
      assert.ok(maySafelyRetry(error));
      return hasCode(error, "unavailable");
    });
    log.leader = false;
    await clock.advance(outcomeSweepMs);
    await rejection;
    log.commit();
    await Promise.all(proposed);
    assert.equal(store.view().get("config", "q"), undefined);
  });

  it("hands back what the log did not take because leadership had just gone, to be tried elsewhere", async () => {
    const { store, log } = localStore();
    log.refusal = untried("this member does not lead the group");
    await assert.rejects(
      store.update((tx) => tx.create("config", config("a"))),
      (error) => maySafelyRetry(error) && error instanceof Error && error.message === noLeaderText,
    );
    log.refusal = new ClusterError("unavailable", "the manager has stopped");
    await assert.rejects(
      store.update((tx) => tx.create("config", config("a"))),
      (error) => !maySafelyRetry(error) && hasCode(error, "unavailable"),
    );
  });

  it("cancels what was not proposed yet, and leaves the rest unknown", async () => {
    const { store, log } = localStore();
    log.automatic = false;
    const early = new AbortController();
    const queued = store.update((tx) => tx.create("config", config("a")), early);
    early.abort();
    await assert.rejects(queued, { code: "cancelled" });
    const late = new AbortController();
    const proposed = store.update((tx) => tx.create("config", config("b")), late);
    await turn();
    late.abort();
    await assert.rejects(proposed, { code: "unavailable", message: /outcome unknown/ });
    assert.equal(log.entries.length, 1);
  });

  it("refuses writes on a manager that does not lead", async () => {
    const { store, log } = localStore();
    log.leader = false;
    await assert.rejects(
      store.update((tx) => tx.create("config", config("a"))),
      { code: "unavailable" },
    );
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
