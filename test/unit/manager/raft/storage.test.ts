/** Facts about the Raft log on disk: what survives, and that damage and loss show. */
import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entry } from "../../../../manager/raft/core/types.ts";
import { Floor } from "../../../../manager/raft/floor.ts";
import { openLogDatabase } from "../../../../manager/raft/log-database.ts";
import { holdsLog } from "../../../../manager/raft/log-swap.ts";
import { RaftStorage } from "../../../../manager/raft/storage.ts";
import type { StorageOptions } from "../../../../manager/raft/storage-load.ts";
import { RaftSnapshotMeta } from "../../../../src/common/api/generated/api.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import type { DataKeys } from "../../../../src/common/seal/data-keys.ts";

const keys: DataKeys = { currentId: 1, keys: new Map([[1, new Uint8Array(32).fill(7)]]) };
const config = RaftSnapshotMeta.create({ index: 1, term: 1 });

function entry(index: number, term = 1, text = `entry ${index}`): Entry {
  return { index, term, type: "normal", data: Buffer.from(text) };
}
function entries(from: number, to: number, term = 1): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term));
}
function texts(storage: RaftStorage): string[] {
  const { tail } = storage;
  const all = tail.entries(tail.firstIndex(), tail.lastIndex() + 1, Number.POSITIVE_INFINITY) ?? [];
  return all.map((e) => `${e.index}/${e.term} ${Buffer.from(e.data).toString()}`);
}

describe("manager/raft/storage", () => {
  let dir: string;
  let options: StorageOptions;
  const opened: RaftStorage[] = [];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "skep-storage-"));
    options = { dir, clusterId: "c1", keys, random: systemRandom, onStalled: () => {} };
  });
  afterEach(async () => {
    for (const storage of opened.splice(0)) await storage.close();
    await rm(dir, { recursive: true });
  });

  async function open(change: Partial<StorageOptions> = {}): Promise<RaftStorage> {
    const storage = await RaftStorage.open({ ...options, ...change });
    opened.push(storage);
    return storage;
  }
  async function close(storage: RaftStorage): Promise<void> {
    opened.splice(opened.indexOf(storage), 1);
    await storage.close();
  }
  async function begun(): Promise<RaftStorage> {
    const storage = await open();
    await storage.begin({
      raftId: 5,
      replaces: 0,
      anchor: { index: 1, term: 1 },
      hardState: { term: 1, vote: 0, commit: 1 },
      config,
    });
    return storage;
  }
  const logFiles = async () =>
    (await readdir(join(dir, "log")))
      .filter((f) => f.endsWith(".log"))
      .map((f) => join(dir, "log", f));

  it("is new at first and then belongs to a member", async () => {
    const storage = await open();
    assert.equal(storage.isNew, true);
    assert.equal(storage.loss, undefined);
    await close(storage);
    await close(await begun());
    const again = await open();
    assert.equal(again.isNew, false);
    assert.equal(again.loss, undefined);
    assert.equal(again.raftId, 5);
  });

  it("gives back entries, hard state and configuration", async () => {
    const storage = await begun();
    const change: Entry = { index: 4, term: 2, type: "conf-change", data: Buffer.from("x") };
    await storage.write({ entries: entries(2, 3), hardState: { term: 2, vote: 5, commit: 2 } });
    await storage.write({ entries: [change], config: { ...config, index: 3 } });
    await close(storage);
    const again = await open();
    assert.equal(again.loss, undefined);
    assert.deepEqual(texts(again), ["2/1 entry 2", "3/1 entry 3", "4/2 x"]);
    assert.equal(again.tail.entry(4)?.type, "conf-change");
    assert.deepEqual(again.hardState, { term: 2, vote: 5, commit: 2 });
    assert.equal(again.config.index, 3);
    assert.equal(again.tail.term(1), 1);
    assert.equal(again.tail.term(0), undefined);
  });

  it("replaces a tail in the middle of a record", async () => {
    const storage = await begun();
    await storage.write({ entries: entries(2, 6) });
    await storage.write({ entries: entries(7, 9) });
    await storage.settle();
    await storage.write({
      entries: [entry(5, 2, "new")],
      hardState: { term: 2, vote: 0, commit: 1 },
    });
    await storage.write({ entries: [entry(6, 2, "newer")] });
    const expected = ["2/1 entry 2", "3/1 entry 3", "4/1 entry 4", "5/2 new", "6/2 newer"];
    assert.deepEqual(texts(storage), expected);
    await close(storage);
    const again = await open();
    assert.equal(again.loss, undefined);
    assert.deepEqual(texts(again), expected);
  });

  it("compacts whole records and keeps the rest verifiable", async () => {
    const storage = await begun();
    for (let i = 0; i < 40; i++)
      await storage.write({ entries: entries(2 + i * 100, 101 + i * 100) });
    await storage.compact(3_950, { ...config, index: 4_001 });
    assert.equal(storage.tail.firstIndex(), 1_902);
    assert.equal(storage.tail.term(1_901), 1);
    assert.equal(storage.tail.entries(1_901, 1_903, 1), undefined);
    await close(storage);
    const again = await open();
    assert.equal(again.loss, undefined);
    assert.equal(again.tail.firstIndex(), 1_902);
    assert.equal(again.tail.lastIndex(), 4_001);
    assert.equal(again.config.index, 4_001);
  });

  it("lets a snapshot replace the log", async () => {
    const storage = await begun();
    await storage.write({ entries: entries(2, 9) });
    await storage.settle();
    await storage.write({
      entries: entries(51, 52, 3),
      snapshot: { index: 50, term: 3 },
      hardState: { term: 3, vote: 0, commit: 50 },
      config: { ...config, index: 50 },
    });
    await close(storage);
    const again = await open();
    assert.equal(again.loss, undefined);
    assert.deepEqual(texts(again), ["51/3 entry 51", "52/3 entry 52"]);
    assert.equal(again.tail.term(50), 3);
  });

  it("writes nothing older over a write that failed and may be on the disk", async () => {
    await close(await begun());
    const storage = await open({
      openDatabase: async (path, onStalled) => {
        const database = await openLogDatabase(path, onStalled);
        let writes = 0;
        return {
          get: (key) => database.get(key),
          range: (from, to) => database.range(from, to),
          close: () => database.close(),
          batch: async (operations, sync) => {
            await database.batch(operations, sync);
            if (++writes === 2) throw new Error("the sync failed");
          },
        };
      },
    });
    await storage.write({ entries: entries(2, 2), hardState: { term: 1, vote: 0, commit: 1 } });
    await storage.write({ entries: [], hardState: { term: 1, vote: 0, commit: 2 } });
    const write = storage.write({ entries: [], hardState: { term: 2, vote: 9, commit: 2 } });
    const settled = storage.settle();
    await assert.rejects(write, /sync failed/);
    await settled;
    await close(storage);
    assert.deepEqual((await open()).hardState, { term: 2, vote: 9, commit: 2 });
  });

  it("writes how far is committed once a period, not with every entry", async () => {
    const storage = await begun();
    const hardState = (commit: number) => ({ term: 1, vote: 0, commit });
    await storage.write({ entries: entries(2, 2), hardState: hardState(2) });
    await storage.settle();
    await storage.write({ entries: entries(3, 3), hardState: hardState(3) });
    assert.deepEqual(storage.hardState, hardState(3));
    await mkdir(join(dir, "crashed"));
    for (const name of ["log", "floor"]) {
      await cp(join(dir, name), join(dir, "crashed", name), { recursive: true });
    }
    const again = await open({ dir: join(dir, "crashed") });
    assert.equal(again.loss, undefined);
    assert.deepEqual(again.hardState, hardState(2));
    assert.deepEqual(texts(again), ["2/1 entry 2", "3/1 entry 3"]);
  });

  it("reseals everything under a new key", async () => {
    const storage = await begun();
    await storage.write({ entries: entries(2, 9) });
    const both = new Map([...keys.keys, [2, new Uint8Array(32).fill(9)] as const]);
    await storage.rotateKeys({ currentId: 2, keys: both });
    await storage.write({ entries: entries(10, 10) });
    await close(storage);
    const only: DataKeys = { currentId: 2, keys: new Map([[2, new Uint8Array(32).fill(9)]]) };
    const again = await open({ keys: only });
    assert.equal(again.loss, undefined);
    assert.equal(again.tail.lastIndex(), 10);
    await close(again);
    await assert.rejects(
      RaftStorage.open(options),
      (e) => hasCode(e, "failed-precondition"),
      "the old key alone opens nothing",
    );
  });

  it("refuses the log of another cluster", async () => {
    await close(await begun());
    await assert.rejects(RaftStorage.open({ ...options, clusterId: "c2" }), (e) =>
      hasCode(e, "failed-precondition"),
    );
  });

  it("refuses the LevelDB of an earlier version, and the log of a member that runs", async () => {
    await mkdir(join(dir, "log"));
    await writeFile(join(dir, "log", "CURRENT"), "MANIFEST-000001\n");
    await assert.rejects(RaftStorage.open(options), (error) => {
      assert.ok(hasCode(error, "failed-precondition"));
      assert.match(String(error), /LevelDB of format 1, this version knows 2/);
      return true;
    });
    await rm(join(dir, "log"), { recursive: true });
    await begun();
    await assert.rejects(RaftStorage.open(options), (error) => {
      assert.ok(hasCode(error, "unavailable"));
      assert.match(String(error), /in use by this process/);
      return true;
    });
  });

  it("keeps no entry in plain text", async () => {
    const storage = await begun();
    await storage.write({ entries: [entry(2, 1, "the quick brown fox")] });
    await close(storage);
    const files = await logFiles();
    assert.ok(files.length > 0);
    for (const file of files) {
      assert.equal((await readFile(file)).includes("quick brown"), false);
    }
  });

  describe("with a damaged database", () => {
    beforeEach(async () => {
      const storage = await begun();
      for (let i = 2; i <= 40; i++) await storage.write({ entries: [entry(i)] });
      await close(storage);
    });

    it("finds that the tail was cut off", async () => {
      const [wal = ""] = await logFiles();
      const { length } = await readFile(wal);
      await truncate(wal, length - 300);
      const storage = await open();
      assert.match(storage.loss ?? "", /ends at index \d+, but reached 40/);
    });

    it("finds every damaged spot, or has lost nothing", async () => {
      const log = join(dir, "log");
      await cp(log, `${log}.good`, { recursive: true });
      const [wal = ""] = await logFiles();
      const good = await readFile(wal);
      let losses = 0;
      for (let at = 50; at < good.length; at += 997) {
        await rm(log, { recursive: true });
        await cp(`${log}.good`, log, { recursive: true });
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ 0xff;
        await writeFile(wal, bad);
        const storage = await open();
        if (storage.loss === undefined) assert.equal(storage.tail.lastIndex(), 40, `byte ${at}`);
        else losses++;
        await close(storage);
      }
      assert.ok(losses > 5);
    });

    it("finds a record that is gone from the middle", async () => {
      const database = await openLogDatabase(join(dir, "log"), () => {});
      await database.batch([{ type: "del", key: `e${(20).toString(16).padStart(14, "0")}` }], true);
      await database.close();
      const storage = await open();
      assert.match(storage.loss ?? "", /hole after index 19/);
    });

    it("finds that the whole database is gone", async () => {
      await rm(join(dir, "log"), { recursive: true });
      const storage = await open();
      assert.match(storage.loss ?? "", /empty, but reached index 40/);
    });

    it("finds a forgotten vote", async () => {
      const floor = await Floor.open(join(dir, "floor"));
      assert.ok(floor.state);
      await floor.write({ ...floor.state, term: 9, vote: 5 });
      await floor.close();
      const storage = await open();
      assert.match(storage.loss ?? "", /forgot its vote in term 9/);
    });

    it("survives a torn floor page and finds a floor that is gone", async () => {
      const path = join(dir, "floor");
      const bytes = await readFile(path);
      const floor = await Floor.open(path);
      assert.equal(floor.state?.index, 40);
      await floor.close();
      for (const slot of [0, 1]) {
        const torn = Buffer.from(bytes);
        torn.fill(0xaa, slot * 4096 + 40, slot * 4096 + 60);
        await writeFile(path, torn);
        const storage = await open();
        assert.equal(storage.loss, undefined);
        await close(storage);
      }
      await rm(path);
      const storage = await open();
      assert.match(storage.loss ?? "", /floor file/);
    });

    describe("and a beginning that is cut off", () => {
      const beginning = {
        raftId: 6,
        replaces: 0,
        anchor: { index: 10, term: 1 },
        hardState: { term: 3, vote: 6, commit: 12 },
        config,
        entries: entries(11, 12),
      };
      const isOld = (storage: RaftStorage) => {
        assert.match(storage.loss ?? "", /hole after index 19/);
        assert.equal(texts(storage).length, 18);
      };
      const isNew = (storage: RaftStorage) => {
        assert.equal(storage.loss, undefined);
        assert.equal(storage.raftId, 6);
        assert.deepEqual(texts(storage), ["11/1 entry 11", "12/1 entry 12"]);
        assert.deepEqual(storage.hardState, beginning.hardState);
      };

      /** Begins until `cut`, which is told of every step on a database, says that the process ends here. */
      async function beginUntil(cut: (step: string) => boolean): Promise<void> {
        const database = await openLogDatabase(join(dir, "log"), () => {});
        const key = `e${(20).toString(16).padStart(14, "0")}`;
        await database.batch([{ type: "del", key }], true);
        await database.close();
        let isOver = false;
        const storage = await open({
          openDatabase: async (path, onStalled) => {
            const name = path.slice(dir.length + 1);
            const step = (what: string) => {
              if (isOver || !cut(`${what} ${name}`)) return;
              isOver = true;
              throw new Error("cut off");
            };
            const under = await openLogDatabase(path, onStalled);
            return {
              get: (k) => under.get(k),
              range: (from, to) => under.range(from, to),
              batch: async (operations, sync) => {
                step("write");
                await under.batch(operations, sync);
                step("written");
              },
              close: async () => {
                await under.close();
                step("closed");
              },
            };
          },
        });
        await assert.rejects(storage.begin(beginning), /cut off/);
        await close(storage);
      }

      it("before the new log is written", async () => {
        await beginUntil((step) => step === "write log.new");
        isOld(await open());
        assert.equal((await readdir(dir)).includes("log.new"), false);
      });

      it("before the floor names the new log", async () => {
        await beginUntil((step) => step === "written log.new");
        isOld(await open());
        assert.equal((await readdir(dir)).includes("log.new"), false);
      });

      it("once the floor names the new log", async () => {
        await beginUntil((step) => step === "closed log");
        isNew(await open());
        assert.ok((await readdir(dir)).includes("log.lost"));
      });

      it("once the floor names the new log, which somebody else has open for a while", async () => {
        await beginUntil((step) => step === "closed log");
        const other = openSync(join(dir, "log.new", "lock"), "r+");
        try {
          await assert.rejects(RaftStorage.open(options), (e) => hasCode(e, "unavailable"));
        } finally {
          closeSync(other);
        }
        isNew(await open());
      });

      it("between the old log and the new one", async () => {
        await beginUntil((step) => step === "closed log");
        await rename(join(dir, "log"), join(dir, "log.lost"));
        assert.ok(holdsLog(dir));
        isNew(await open());
      });
    });

    it("gives back what was readable of the log that was set aside, also after a second beginning", async () => {
      const database = await openLogDatabase(join(dir, "log"), () => {});
      await database.batch([{ type: "del", key: `e${(20).toString(16).padStart(14, "0")}` }], true);
      await database.close();
      const empty = {
        replaces: 5,
        anchor: { index: 0, term: 0 },
        hardState: { term: 0, vote: 0, commit: 0 },
        config: RaftSnapshotMeta.create({}),
      };
      const storage = await open();
      await storage.begin({ ...empty, raftId: 6 });
      await storage.begin({ ...empty, raftId: 7 });
      const lost = await storage.readLost();
      assert.equal(lost.firstIndex(), 2);
      assert.equal(lost.lastIndex(), 19);
    });

    it("begins anew and keeps the old database aside", async () => {
      const [segment = ""] = await logFiles();
      await writeFile(segment, "nonsense");
      const storage = await open();
      assert.match(storage.loss ?? "", /segment 1 of the raft log has a damaged header/);
      await storage.begin({
        raftId: 6,
        replaces: 5,
        anchor: { index: 0, term: 0 },
        hardState: { term: 0, vote: 0, commit: 0 },
        config: RaftSnapshotMeta.create({}),
      });
      await close(storage);
      const again = await open();
      assert.equal(again.loss, undefined);
      assert.equal(again.raftId, 6);
      assert.equal(again.replaces, 5);
      assert.ok((await readdir(dir)).includes("log.lost"));
    });
  });
});
