/** Facts about the files of the Raft log: what is durable, what a crash leaves, and that damage shows. */
import assert from "node:assert/strict";
import {
  appendFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import {
  type LogDatabase,
  type LogDatabaseOptions,
  type LogOperation,
  openLogDatabase,
} from "../../../../manager/raft/log-database.ts";
import { lockFolder } from "../../../../manager/raft/log-lock.ts";
import { segmentHeaderBytes } from "../../../../manager/raft/log-segment.ts";
import { recordKey } from "../../../../manager/raft/storage-load.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { TestDisk } from "../../../support/raft/crashing-files.ts";
import {
  contents,
  logTestBase,
  put,
  record,
  remove,
  type State,
} from "../../../support/raft/log-contents.ts";
import { until } from "../../../support/wait.ts";

describe("manager/raft/log-database", function () {
  this.timeout(20_000);
  let folder: string;
  let path: string;
  const opened = new Set<LogDatabase>();

  beforeEach(async () => {
    folder = await mkdtemp(join(logTestBase, "skep-log-"));
    path = join(folder, "log");
  });
  afterEach(async () => {
    for (const database of opened) await database.close();
    opened.clear();
    await rm(folder, { recursive: true });
  });

  async function open(options: LogDatabaseOptions = {}): Promise<LogDatabase> {
    const database = await openLogDatabase(path, () => {}, options);
    opened.add(database);
    return database;
  }
  async function close(database: LogDatabase): Promise<void> {
    opened.delete(database);
    await database.close();
  }
  /** What a start finds. */
  async function found(): Promise<State> {
    const database = await open();
    assert.equal(database.damage, undefined);
    const state = await contents(database);
    await close(database);
    return state;
  }
  async function segments(): Promise<string[]> {
    return (await readdir(path)).filter((name) => name !== "lock").sort();
  }
  async function diskBytes(): Promise<number> {
    const sizes = (await segments()).map((name) =>
      stat(join(path, name)).then(
        ({ size }) => size,
        // Removed in the meantime.
        () => 0,
      ),
    );
    return (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
  }
  /** Segments are removed beside the writes, a moment after they have become useless. */
  async function diskBytesBelow(most: number): Promise<void> {
    const what = `at most ${most} bytes on the disk`;
    await until(async () => (await diskBytes()) < most, { withinMs: 10_000, everyMs: 1, what });
  }
  /** Writes a batch for each list, synced; gives the ends of the file after each. */
  async function written(...batches: readonly (readonly LogOperation[])[]): Promise<number[]> {
    const database = await open();
    const ends: number[] = [];
    for (const batch of batches) {
      await database.batch(batch, true);
      ends.push(await diskBytes());
    }
    await close(database);
    return ends;
  }
  /** Opens a log that must be damaged; gives what can be read of it. */
  async function foundDamaged(what: RegExp): Promise<State> {
    const database = await open();
    assert.match(database.damage ?? "whole", what);
    const names = await segments();
    const state = await contents(database);
    await assert.rejects(database.batch([put("hard", "x")], true), what);
    await close(database);
    assert.deepEqual(await segments(), names);
    return state;
  }
  const failedAs = (what: RegExp) => (error: unknown) => {
    assert.ok(hasCode(error, "internal"), String(error));
    assert.match(String(error), what);
    return true;
  };

  it("gives back what was written, in the order of the keys", async () => {
    await written(
      [put("hard", "1"), record(2, "b"), record(1, "a")],
      [put("hard", "2"), remove(recordKey(1)), record(300, ""), put("config", "c")],
    );
    const expected = { config: "c", [recordKey(2)]: "b", [recordKey(300)]: "", hard: "2" };
    assert.deepEqual(await found(), expected);
    const database = await open();
    const keys: string[] = [];
    for await (const [key] of database.range("e", "f")) keys.push(key);
    assert.deepEqual(keys, [recordKey(2), recordKey(300)]);
    assert.equal(await database.get("nothing"), undefined);
    assert.equal(await database.get(recordKey(1)), undefined);
  });

  it("writes nothing for batches without sync until one with it, or the end", async () => {
    await written([record(1, "a"), put("hard", "1")]);
    const database = await open();
    const before = await diskBytes();
    await database.batch([put("hard", "2"), remove(recordKey(1))], false);
    await database.batch([put("anchor", "1")], false);
    assert.equal(await diskBytes(), before);
    assert.deepEqual(await contents(database), { anchor: "1", hard: "2" });
    await cp(path, join(folder, "crashed"), { recursive: true });
    await database.batch([record(2, "b")], true);
    await cp(path, join(folder, "synced"), { recursive: true });
    await database.batch([put("hard", "3")], false);
    await close(database);
    assert.deepEqual(await found(), { anchor: "1", [recordKey(2)]: "b", hard: "3" });
    path = join(folder, "crashed");
    assert.deepEqual(await found(), { [recordKey(1)]: "a", hard: "1" });
    path = join(folder, "synced");
    assert.deepEqual(await found(), { anchor: "1", [recordKey(2)]: "b", hard: "2" });
  });

  it("syncs a batch with a record, whatever it asks for", async () => {
    const database = await open();
    await database.batch([record(1, "a")], false);
    await cp(path, join(folder, "crashed"), { recursive: true });
    path = join(folder, "crashed");
    assert.deepEqual(await found(), { [recordKey(1)]: "a" });
  });

  describe("cut and damaged", () => {
    const states: State[] = [
      { hard: "one", [recordKey(1)]: "first" },
      { hard: "two", [recordKey(1)]: "first", [recordKey(2)]: "second" },
      { hard: "three", [recordKey(2)]: "second", config: "c" },
    ];
    let ends: number[];
    let file: string;
    let good: Buffer;

    beforeEach(async () => {
      ends = await written(
        [put("hard", "one"), record(1, "first")],
        [put("hard", "two"), record(2, "second")],
        [put("hard", "three"), remove(recordKey(1)), put("config", "c")],
      );
      file = join(path, "000000000001.log");
      good = await readFile(file);
    });

    it("has the state before or after when cut at any byte, and is written on", async () => {
      const [first = 0] = ends;
      for (let length = good.length; length >= first; length--) {
        await writeFile(file, good.subarray(0, length));
        const whole = ends.findLastIndex((end) => end <= length);
        const database = await open();
        assert.deepEqual(await contents(database), states[whole], `${length} bytes`);
        assert.equal(await diskBytes(), ends[whole]);
        await database.batch([put("more", "m")], true);
        await close(database);
        assert.deepEqual(await found(), { ...states[whole], more: "m" });
      }
    });

    it("drops what a cut-off write left in parts, or as zeros", async () => {
      const [, second = 0, third = 0] = ends;
      for (let from = second + 1; from <= third; from++) {
        // The beginning of the last write is missing, or its end.
        for (const torn of [
          Buffer.from(good).fill(0, second, from),
          Buffer.from(good).fill(0, from - 1),
        ]) {
          await writeFile(file, torn);
          assert.deepEqual(await found(), states[torn.equals(good) ? 2 : 1], `byte ${from}`);
        }
      }
      await writeFile(file, good);
      await appendFile(file, Buffer.alloc(5_000, 0));
      assert.deepEqual(await found(), states[2]);
    });

    it("reports a changed byte anywhere before the last write, and drops a changed last write", async () => {
      const [, second = 0] = ends;
      for (let at = 0; at < good.length; at++) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
        await writeFile(file, bad);
        if (at >= second) assert.deepEqual(await found(), states[1], `byte ${at}`);
        else {
          const whole = ends.findLastIndex((end) => end <= at);
          assert.deepEqual(await foundDamaged(/segment 1 .*damaged/), states[whole] ?? {});
        }
      }
    });

    it("reports a write that is gone, doubled, or from elsewhere", async () => {
      const [first = 0, second = 0] = ends;
      const frame = good.subarray(first, second);
      const rest = good.subarray(second);
      for (const bytes of [
        Buffer.concat([good.subarray(0, first), Buffer.alloc(frame.length), rest]),
        Buffer.concat([good.subarray(0, second), Buffer.alloc(frame.length), rest]),
      ]) {
        await writeFile(file, bytes);
        // Moved, the last frame fits no place: it is no sign of anything.
        if (bytes.length > good.length) assert.deepEqual(await found(), states[1]);
        else await foundDamaged(/damaged at byte/);
      }
      await writeFile(file, Buffer.concat([good.subarray(0, second), frame, rest]));
      assert.deepEqual(await found(), states[1]);
    });

    it("takes no write that followed another one than it does now", async () => {
      const [, second = 0] = ends;
      await truncate(file, second - Buffer.from("second").length - 30);
      assert.deepEqual(await found(), states[0]);
      // As long as the one that was cut off.
      await written([put("hard", "two"), record(2, "SECOND")]);
      await appendFile(file, good.subarray(second));
      await foundDamaged(/damaged at byte/);
    });

    it("does not take the segment of another log for its own", async () => {
      const here = path;
      path = join(folder, "other");
      await written([put("hard", "one"), record(1, "first")]);
      const other = await readFile(join(path, "000000000001.log"));
      path = here;
      const [first = 0] = ends;
      await writeFile(file, Buffer.concat([good.subarray(0, first), other.subarray(first)]));
      assert.deepEqual(await found(), states[0]);
      await writeFile(
        file,
        Buffer.concat([other.subarray(0, segmentHeaderBytes), good.subarray(segmentHeaderBytes)]),
      );
      await foundDamaged(/damaged first frame/);
    });

    it("refuses files of a newer version", async () => {
      const { crc32 } = await import("node:zlib");
      const newer = Buffer.from(good);
      newer.writeUInt32BE(2, 8);
      newer.writeUInt32BE(crc32(newer.subarray(0, 36)), 36);
      await writeFile(file, newer);
      await assert.rejects(open(), (error) => hasCode(error, "failed-precondition"));
    });
  });

  describe("over several segments", () => {
    const small = { segmentBytesMax: 1_000 };
    const text = "x".repeat(300);

    /** Writes records `from` to `to`, each in a batch of its own. */
    async function fill(database: LogDatabase, from: number, to: number): Promise<void> {
      for (let i = from; i <= to; i++) {
        await database.batch([put("hard", `at ${i}`), record(i, `${i} ${text}`)], true);
      }
    }

    it("keeps small values and records over the change", async () => {
      const database = await open(small);
      await database.batch([put("format", "f"), put("pending", "p")], true);
      await database.batch([remove("pending")], true);
      await fill(database, 1, 20);
      const state = await contents(database);
      assert.ok((await segments()).length > 3);
      await close(database);
      assert.deepEqual(await found(), state);
      assert.deepEqual(Object.keys(state).length, 22);
    });

    it("removes the oldest segments once nothing in them is in force and that is durable", async () => {
      const database = await open(small);
      await fill(database, 1, 20);
      const before = await segments();
      await database.batch(
        Array.from({ length: 18 }, (_, i) => remove(recordKey(i + 1))),
        false,
      );
      assert.deepEqual(await segments(), before);
      await fill(database, 21, 28);
      const state = await contents(database);
      await close(database);
      const names = await segments();
      assert.ok(names.length <= 5 && (names[0] ?? "") > "000000000005.log", names.join());
      assert.deepEqual(await found(), state);
    });

    it("keeps the disk bounded under compaction", async () => {
      const database = await open(small);
      for (let i = 1; i <= 400; i++) {
        await fill(database, i, i);
        if (i > 10) await database.batch([remove(recordKey(i - 10))], false);
        await diskBytesBelow(10 * 400 + 5_000);
      }
      await close(database);
      assert.equal(Object.keys(await found()).length, 11);
    });

    it("keeps the disk bounded when a record stays for good and others are replaced", async () => {
      const database = await open(small);
      await fill(database, 1, 5);
      for (let i = 0; i < 300; i++) {
        await database.batch([put("hard", `term ${i} ${text}`), record(6, `${i}`)], true);
        await diskBytesBelow(12_000);
      }
      const state = await contents(database);
      assert.equal(state[recordKey(1)], `1 ${text}`);
      await close(database);
      assert.deepEqual(await found(), state);
    });

    it("takes one batch that is larger than a segment", async () => {
      const database = await open(small);
      const large = Array.from({ length: 20 }, (_, i) => record(i + 1, `${i + 1} ${text}`));
      await database.batch(large, true);
      await fill(database, 21, 23);
      const state = await contents(database);
      await close(database);
      assert.deepEqual(await found(), state);
    });

    it("reports a segment that is missing, cut or damaged", async () => {
      const database = await open(small);
      await fill(database, 1, 12);
      await close(database);
      const names = await segments();
      assert.ok(names.length >= 3);
      const cases = names.slice(0, -1).flatMap((name) => [
        { name, harm: () => rm(join(path, name)), says: /is missing/ },
        {
          name,
          harm: async () => truncate(join(path, name), (await stat(join(path, name))).size - 1),
          says: /is damaged at byte/,
        },
        {
          name,
          harm: async () => truncate(join(path, name), 0),
          says: /damaged header/,
        },
      ]);
      await cp(path, `${path}.good`, { recursive: true });
      for (const { harm, says } of cases) {
        await rm(path, { recursive: true });
        await cp(`${path}.good`, path, { recursive: true });
        await harm();
        await foundDamaged(says);
      }
      await rm(path, { recursive: true });
      await rename(`${path}.good`, path);
      await truncate(join(path, names.at(-1) ?? ""), segmentHeaderBytes + 5);
      await foundDamaged(/damaged first frame/);
    });

    it("reports a segment that was cut where a write ended", async () => {
      const [end = 0] = await written([put("hard", "1")]);
      const database = await open(small);
      await fill(database, 1, 8);
      await close(database);
      await truncate(join(path, "000000000001.log"), end);
      await foundDamaged(/segment 2 .*does not follow/);
    });
  });

  describe("on a full disk", () => {
    async function openOn(
      disk: TestDisk,
    ): Promise<{ database: LogDatabase; told: (string | undefined)[]; stalled: Promise<void> }> {
      const told: (string | undefined)[] = [];
      let tell: () => void = () => {};
      const stalled = new Promise<void>((resolve) => {
        tell = resolve;
      });
      const onStalled = (reason: string | undefined) => {
        told.push(reason);
        if (told.length === 3) tell();
      };
      const options = { openFiles: disk.openFiles, segmentBytesMax: 500, retryMs: 1 };
      const database = await openLogDatabase(path, onStalled, options);
      opened.add(database);
      return { database, told, stalled };
    }
    const fullAfter = (reasons: readonly (string | undefined)[]) => {
      assert.ok(reasons.length > 2);
      for (const reason of reasons) assert.match(reason ?? "", /no space left on device/);
    };

    for (const [title, texts] of [
      ["a write that stops half-way", ["a"]],
      ["the change to another segment", ["z".repeat(600), "b"]],
    ] as const) {
      it(`waits for room and goes on: ${title}`, async () => {
        const disk = new TestDisk();
        const { database, told, stalled } = await openOn(disk);
        await database.batch([put("hard", "1")], true);
        let index = 1;
        for (const text of texts.slice(0, -1)) await database.batch([record(index++, text)], true);
        const before = await contents(database);
        disk.room = 20;
        const waiting = database.batch([record(index, "last"), put("hard", "2")], true);
        await stalled;
        assert.deepEqual(await contents(database), before);
        disk.room = 10_000;
        await waiting;
        assert.equal(told.at(-1), undefined);
        fullAfter(told.slice(0, -1));
        const state = await contents(database);
        assert.deepEqual(state, { ...before, [recordKey(index)]: "last", hard: "2" });
        await close(database);
        assert.deepEqual(await found(), state);
      });
    }

    it("refuses the batch that waits when it is closed, and forgets it", async () => {
      const disk = new TestDisk();
      const { database, stalled } = await openOn(disk);
      await database.batch([put("hard", "1")], true);
      disk.room = 20;
      const waiting = database.batch([put("hard", "2")], true);
      const refused = assert.rejects(waiting, (error) => hasCode(error, "unavailable"));
      await stalled;
      await close(database);
      await refused;
      assert.deepEqual(await found(), { hard: "1" });
    });

    it("gives up what need not be durable when it is closed", async () => {
      const disk = new TestDisk();
      const { database, told } = await openOn(disk);
      await database.batch([put("hard", "1")], true);
      await database.batch([put("hard", "2")], false);
      disk.room = 0;
      await close(database);
      assert.deepEqual(told, []);
      assert.deepEqual(await found(), { hard: "1" });
    });

    it("says so when there is no room to begin", async () => {
      const disk = new TestDisk();
      disk.room = 10;
      await assert.rejects(openOn(disk), (error) => hasCode(error, "resource-exhausted"));
      disk.room = 1_000;
      await (await openOn(disk)).database.batch([put("hard", "1")], true);
    });
  });

  it("takes nothing more after a write that failed", async () => {
    const disk = new TestDisk();
    const database = await open({ openFiles: disk.openFiles });
    await database.batch([put("hard", "1")], true);
    disk.failure = Object.assign(new Error("EIO: i/o error, write"), { code: "EIO" });
    const failed = failedAs(/cannot be written: .*i\/o error/);
    await assert.rejects(database.batch([put("hard", "2")], true), failed);
    await assert.rejects(database.batch([put("hard", "3")], true), failed);
    await assert.rejects(database.batch([put("hard", "3")], false), failed);
    await close(database);
    assert.deepEqual(await found(), { hard: "1" });
  });

  it("says what the system says when it may not be opened, and does not call it damage", async () => {
    for (const [code, as] of [
      ["EACCES", "failed-precondition"],
      ["EMFILE", "resource-exhausted"],
      ["EIO", "internal"],
    ] as const) {
      const openFiles = () => Promise.reject(Object.assign(new Error(code), { code }));
      await assert.rejects(open({ openFiles }), (error) => hasCode(error, as));
    }
  });

  describe("opened twice", () => {
    it("refuses the second one until the first is closed", async () => {
      const database = await open();
      const inUse = (error: unknown) =>
        hasCode(error, "unavailable") && /in use by this process/.test(String(error));
      await assert.rejects(open(), inUse);
      await assert.rejects(open(), inUse, "and the refusal frees nothing");
      await close(database);
      await open();
    });

    it("is another process's, but no child's that is about to become a program", async () => {
      await close(await open());
      // The number of a holder that is gone, given to somebody else since.
      const other = 4242;
      const lock = join(path, "lock");
      await writeFile(lock, String(other).padStart(10));
      const proc = await mkdtemp(join(tmpdir(), "skep-proc-"));
      try {
        const aProcess = async (pid: number, parent: number, words: string) => {
          await mkdir(join(proc, String(pid), "fd"), { recursive: true });
          await writeFile(join(proc, String(pid), "stat"), `${pid} (node) S ${parent} 0 0`);
          await writeFile(join(proc, String(pid), "cmdline"), words);
        };
        await aProcess(process.pid, 1, "skep\0daemon\0");
        await aProcess(other, 1, "skep\0daemon\0");
        await symlink(lock, join(proc, String(other), "fd", "20"));
        await assert.rejects(lockFolder(path, proc), /is in use by process 4242/);
        await aProcess(other, process.pid, "another\0");
        await assert.rejects(lockFolder(path, proc), /is in use by process 4242/);
        await aProcess(other, process.pid, "skep\0daemon\0");
        await (await lockFolder(path, proc)).release();
      } finally {
        await rm(proc, { recursive: true });
      }
    });

    it("is free again when the thread that had it was ended", async () => {
      await close(await open());
      const script = `
        const { openSync } = require("node:fs");
        openSync(${JSON.stringify(join(path, "lock"))}, "r+");
        require("node:worker_threads").parentPort.postMessage("open");
        setInterval(() => {}, 1_000);`;
      const worker = new Worker(script, { eval: true });
      await new Promise((resolve) => worker.once("message", resolve));
      await assert.rejects(open(), (error) => hasCode(error, "unavailable"));
      await worker.terminate();
      await open();
    });
  });
});
