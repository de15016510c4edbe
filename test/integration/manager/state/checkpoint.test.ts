/**
 * The checkpoint on a real LevelDB: reload, crash, damage of files, failing writes, rewriting.
 */
import assert from "node:assert/strict";
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  type Checkpointer,
  type Found,
  openCheckpointer,
} from "../../../../manager/state/checkpoint.ts";
import { openDatabase } from "../../../../manager/state/checkpoint-files.ts";
import { objectKey } from "../../../../manager/state/checkpoint-records.ts";
import type { CommittedEntry } from "../../../../manager/state/proposer.ts";
import { Store } from "../../../../manager/state/store.ts";
import { FakeClock, systemClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom, systemRandom } from "../../../../src/common/random/random.ts";
import { newSealer, type Sealer } from "../../../../src/common/seal/sealer.ts";
import { HistoryMaker, snapshotBytes } from "../../../support/store-history.ts";

const dataKeys = { currentId: 1, keys: new Map([[1, systemRandom.bytes(32)]]) };

function newStore(): Store {
  return new Store({ clock: systemClock, random: systemRandom, log: silentLog });
}

interface Opened {
  readonly store: Store;
  readonly checkpointer: Checkpointer;
  readonly found: Found;
  readonly durable: number[];
}

async function open(dir: string, sealer?: Sealer): Promise<Opened> {
  const store = newStore();
  const durable: number[] = [];
  const { checkpointer, found } = await openCheckpointer({
    dir,
    sealer: sealer ?? newSealer({ keys: dataKeys, label: "checkpoint", random: systemRandom }),
    store,
    clock: systemClock,
    log: silentLog,
    onDurable: (index) => durable.push(index),
  });
  return { store, checkpointer, found, durable };
}

/** A history of entries, made with a store of its own. */
function history(seed: number, length: number): CommittedEntry[] {
  const store = newStore();
  const maker = new HistoryMaker(seededRandom(seed), store);
  return Array.from({ length }, () => {
    const entry = maker.next();
    store.applyBatch([entry]);
    return entry;
  });
}

async function replayed(entries: readonly CommittedEntry[]): Promise<Buffer> {
  const store = newStore();
  store.applyBatch(entries);
  return snapshotBytes(store);
}

/**
 * What a crash leaves: the files as they are, without closing the database. That is at work meanwhile: a copy during which files
 * came or went is none of one moment, and made again.
 */
async function crashCopy(from: string, to: string): Promise<void> {
  for (;;) {
    const before = await filesBelow(from);
    try {
      for (const name of before) {
        await mkdir(dirname(join(to, name)), { recursive: true });
        if (basename(name) !== "LOCK") await copyFile(join(from, name), join(to, name));
      }
    } catch (error) {
      if (!(error instanceof Error) || !("code" in error) || error.code !== "ENOENT") throw error;
    }
    if (isDeepStrictEqual(await filesBelow(from), before)) return;
    await rm(to, { recursive: true, force: true });
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const all = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = all.filter((entry) => entry.isFile());
  return files.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort();
}

describe("manager/state/checkpoint", () => {
  let top: string;
  let dir: string;

  beforeEach(async () => {
    top = await mkdtemp(join(tmpdir(), "skep-checkpoint-"));
    dir = join(top, "state");
  });
  afterEach(() => rm(top, { recursive: true, force: true }));

  for (const seed of [1, 2, 3, 4, 5]) {
    it(`gives the same state after crashes, history ${seed}`, async () => {
      const entries = history(seed, 250);
      const random = seededRandom(seed + 100);
      let at = dir;
      let opened = await open(at);
      assert.equal(opened.found.state, "empty");
      for (let crash = 0; crash < 6; crash++) {
        const end = Math.min(entries.length, opened.store.appliedIndex() + random.int(60));
        while (opened.store.appliedIndex() < end) {
          const from = opened.store.appliedIndex();
          opened.store.applyBatch(entries.slice(from, from + 1 + random.int(20)));
          if (random.int(2) === 0) await opened.checkpointer.flush();
        }
        const durable = opened.checkpointer.durableIndex;
        const next = join(top, `crash${crash}`);
        await crashCopy(at, next);
        await opened.checkpointer.close();
        at = next;
        opened = await open(at);
        assert.equal(opened.found.state, durable === 0 ? "empty" : "loaded");
        assert.equal(opened.store.appliedIndex(), durable);
        const bytes = await snapshotBytes(opened.store);
        assert.ok(bytes.equals(await replayed(entries.slice(0, durable))), `crash ${crash}`);
      }
      opened.store.applyBatch(entries.slice(opened.store.appliedIndex()));
      assert.ok((await snapshotBytes(opened.store)).equals(await replayed(entries)));
      await opened.checkpointer.close();
    });
  }

  async function written(length: number): Promise<CommittedEntry[]> {
    const entries = history(9, length);
    const { store, checkpointer } = await open(dir);
    for (let at = 0; at < entries.length; at += 40) {
      store.applyBatch(entries.slice(at, at + 40));
      await checkpointer.flush();
    }
    await checkpointer.close();
    return entries;
  }

  it("says nothing is durable before it is, and each index once", async () => {
    const entries = history(1, 60);
    const { store, checkpointer, durable } = await open(dir);
    await checkpointer.flush();
    assert.deepEqual(durable, []);
    store.applyBatch(entries.slice(0, 30));
    await checkpointer.flush();
    await checkpointer.flush();
    store.applyBatch(entries.slice(30));
    await checkpointer.flush();
    assert.deepEqual(durable, [30, 60]);
    await checkpointer.close();
  });

  it("writes on its own, and a last time when it ends", async () => {
    const clock = new FakeClock();
    const store = newStore();
    const { checkpointer } = await openCheckpointer({
      dir,
      sealer: newSealer({ keys: dataKeys, label: "checkpoint", random: systemRandom }),
      store,
      clock,
      log: silentLog,
      onDurable: () => {},
    });
    const entries = history(1, 60);
    const controller = new AbortController();
    store.applyBatch(entries.slice(0, 30));
    const running = checkpointer.run(controller.signal);
    await clock.advance(6_000);
    store.applyBatch(entries.slice(30));
    controller.abort();
    await running;
    const again = await open(dir);
    assert.equal(again.store.appliedIndex(), 60);
    await again.checkpointer.close();
  });

  it("loses nothing or says that it is damaged, whichever file is cut or changed", async () => {
    const entries = await written(200);
    const whole = await replayed(entries);
    const files = await readdir(join(dir, "g1"));
    let damagedCount = 0;
    for (const name of files.filter((file) => file !== "LOCK" && file !== "LOG")) {
      const bytes = await readFile(join(dir, "g1", name));
      const places = [0, 0.2, 0.5, 0.8, 0.99].map((part) => Math.floor(part * bytes.length));
      for (const [how, at] of places.flatMap((at) => [
        ["cut", at] as const,
        ["change", at] as const,
      ])) {
        const copy = join(top, "copy");
        await rm(copy, { recursive: true, force: true });
        await crashCopy(dir, copy);
        const file = join(copy, "g1", name);
        if (how === "cut") await truncate(file, at);
        else
          await writeFile(file, Buffer.from(bytes).fill(0xa5, at, Math.min(at + 20, bytes.length)));
        const { store, checkpointer, found } = await open(copy);
        if (found.state === "loaded") {
          const expected =
            found.index === entries.length ? whole : await replayed(entries.slice(0, found.index));
          assert.ok((await snapshotBytes(store)).equals(expected), `${name} ${how} at ${at}`);
        } else {
          damagedCount++;
          assert.equal(store.appliedIndex(), 0);
          if (found.state === "damaged") assert.match(found.error.message, /rebuilds its state/);
        }
        await checkpointer.close();
      }
    }
    assert.ok(damagedCount > 3, `${damagedCount} found`);
  });

  it("finds a record that is gone, and one that is of another time", async () => {
    for (const attack of ["remove", "revive"] as const) {
      await rm(dir, { recursive: true, force: true });
      const { store, checkpointer } = await open(dir);
      store.applyBatch(history(12, 40));
      await checkpointer.flush();
      const [first] = store.view().each("task");
      assert.ok(first);
      const key = objectKey("task", first.id);
      await checkpointer.close();
      const database = await openDatabase(dir, "g1");
      const old = await database.get(key);
      assert.ok(old);
      if (attack === "remove") await database.del(key);
      await database.close();
      if (attack === "revive") {
        const again = await open(dir);
        again.store.applyBatch(history(12, 300).slice(40));
        await again.checkpointer.flush();
        await again.checkpointer.close();
        const later = await openDatabase(dir, "g1");
        await later.put(key, old);
        await later.close();
      }
      const reopened = await open(dir);
      assert.equal(reopened.found.state, "damaged", attack);
      await reopened.checkpointer.close();
    }
  });

  it("goes on from a snapshot after damage, with a checkpoint of its own", async () => {
    const entries = await written(120);
    await rm(join(dir, "g1"), { recursive: true });
    const { store, checkpointer, found, durable } = await open(dir);
    assert.equal(found.state, "damaged");
    const source = newStore();
    source.applyBatch(entries);
    const bytes = await snapshotBytes(source);
    async function* chunks() {
      yield bytes;
    }
    await store.restore(chunks(), source.appliedIndex(), source.appliedTerm());
    await checkpointer.flush();
    assert.deepEqual(durable, [120]);
    await checkpointer.close();
    const again = await open(dir);
    assert.deepEqual([again.found.state, again.store.appliedIndex()], ["loaded", 120]);
    assert.deepEqual((await readdir(dir)).sort(), ["current", "g2"]);
    await again.checkpointer.close();
  });

  it("keeps the old checkpoint whole while a new one is unfinished", async () => {
    await written(80);
    await mkdir(join(dir, "g2"));
    await writeFile(join(dir, "current.new"), "g2");
    const { found, checkpointer } = await open(dir);
    assert.equal(found.state, "loaded");
    assert.deepEqual((await readdir(dir)).sort(), ["current", "g1"]);
    await checkpointer.close();
  });

  it("fails a write without losing a change, and writes all of it later", async () => {
    const inner = newSealer({ keys: dataKeys, label: "checkpoint", random: systemRandom });
    let failing = false;
    const sealer: Sealer = {
      seal: (plain, aad) => {
        if (failing) throw new Error("no space left on device");
        return inner.seal(plain, aad);
      },
      sealInto: (to, at, plain, aad) => inner.sealInto(to, at, plain, aad),
      open: (sealed, aad) => inner.open(sealed, aad),
    };
    const entries = history(3, 120);
    const { store, checkpointer, durable } = await open(dir, sealer);
    store.applyBatch(entries.slice(0, 40));
    await checkpointer.flush();
    failing = true;
    store.applyBatch(entries.slice(40, 80));
    await assert.rejects(checkpointer.flush(), /no space/);
    store.applyBatch(entries.slice(80));
    await assert.rejects(checkpointer.flush(), /no space/);
    failing = false;
    await checkpointer.flush();
    assert.deepEqual(durable, [40, 120]);
    await checkpointer.close();
    const again = await open(dir);
    assert.equal(again.found.state, "loaded");
    assert.ok((await snapshotBytes(again.store)).equals(await replayed(entries)));
    await again.checkpointer.close();
  });

  it("refuses a checkpoint that is open elsewhere", async () => {
    await written(40);
    const first = await open(dir);
    await assert.rejects(open(dir), { code: "unavailable", message: /in use by another process/ });
    await first.checkpointer.close();
  });

  it("cannot be opened with another data key", async () => {
    await written(40);
    const keys = { currentId: 2, keys: new Map([[2, systemRandom.bytes(32)]]) };
    const sealer = newSealer({ keys, label: "checkpoint", random: systemRandom });
    await assert.rejects(open(dir, sealer), { code: "failed-precondition" });
  });

  it("is sealed anew by a rewrite, so that the old data key can go", async () => {
    const entries = await written(80);
    const ring = newSealer({ keys: dataKeys, label: "checkpoint", random: systemRandom });
    const { checkpointer } = await open(dir, ring);
    const keys = { currentId: 2, keys: new Map([...dataKeys.keys, [2, systemRandom.bytes(32)]]) };
    ring.rotate(keys);
    await checkpointer.rewrite();
    await checkpointer.close();
    keys.keys.delete(1);
    const only = newSealer({ keys, label: "checkpoint", random: systemRandom });
    const again = await open(dir, only);
    assert.equal(again.found.state, "loaded");
    assert.ok((await snapshotBytes(again.store)).equals(await replayed(entries)));
    await again.checkpointer.close();
  });

  it("keeps no object in plain text", async () => {
    const { store, checkpointer } = await open(dir);
    store.applyBatch(history(3, 200));
    assert.ok(store.view().count("config") > 0);
    await checkpointer.flush();
    await checkpointer.close();
    for (const name of await readdir(join(dir, "g1"))) {
      const text = (await readFile(join(dir, "g1", name))).toString("latin1");
      assert.ok(!text.includes("xxxxxxxx") && !text.includes("image1"), name);
    }
  });
});
