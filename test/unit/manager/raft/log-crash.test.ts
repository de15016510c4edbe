/** Facts about the files of the Raft log when the power goes: what was synced is there, and nothing in parts. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  type LogDatabase,
  type LogDatabaseOptions,
  type LogOperation,
  openLogDatabase,
} from "../../../../manager/raft/log-database.ts";
import { recordKey } from "../../../../manager/raft/storage-load.ts";
import { type Random, seededRandom } from "../../../../src/common/random/random.ts";
import { TestDisk } from "../../../support/raft/crashing-files.ts";
import {
  applied,
  contents,
  logTestBase,
  put,
  record,
  remove,
  type State,
} from "../../../support/raft/log-contents.ts";

describe("manager/raft/log-database (power cuts)", () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(logTestBase, "skep-log-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const open = (options: LogDatabaseOptions = {}): Promise<LogDatabase> =>
    openLogDatabase(path, () => {}, options);
  /** What a start finds. */
  async function found(): Promise<State> {
    const database = await open();
    assert.equal(database.damage, undefined);
    const state = await contents(database);
    await database.close();
    return state;
  }

  const text = "y".repeat(100);

  it("has the state before or after, whichever call on the disk it meets", async () => {
    const batches = Array.from({ length: 9 }, (_, i) => [
      put("hard", `${i}`),
      record(i + 1, `${i} ${text}`),
      ...(i >= 3 ? [remove(recordKey(i - 2))] : []),
    ]);
    const torn = [
      () => ({ from: 0, to: 0 }),
      (length: number) => ({ from: 0, to: Math.floor(length / 2) }),
      (length: number) => ({ from: Math.floor(length / 2), to: length }),
      (length: number) => ({ from: 0, to: length }),
    ];
    const seen = new Set<string>();
    for (const kind of torn) {
      for (let cutAt = 1; ; cutAt++) {
        path = join(folder, `log ${seen.size} ${cutAt} ${torn.indexOf(kind)}`);
        const disk = new TestDisk();
        disk.cutAt = cutAt;
        disk.torn = kind;
        const states = await untilItFails(disk, batches);
        for (const name of disk.done) seen.add(name.replace(/\d+/, "N"));
        const state = await found();
        assert.ok(
          states.some((s) => JSON.stringify(s) === JSON.stringify(state)),
          `${disk.done.at(-1)}: ${JSON.stringify(state)}`,
        );
        assert.deepEqual(
          (await readdir(path)).filter((name) => name.endsWith(".new")),
          [],
        );
        if (disk.calls < cutAt) break;
      }
    }
    for (const name of ["write N.log.new", "rename N.log.new", "write N.log", "remove N.log"]) {
      assert.ok(seen.has(`${name} (cut)`), name);
    }
  });

  /** Writes until something fails; gives the states that may be found then, in the order of their keys. */
  async function untilItFails(
    disk: TestDisk,
    batches: readonly (readonly LogOperation[])[],
  ): Promise<State[]> {
    let state: State = {};
    const options = { openFiles: disk.openFiles, segmentBytesMax: 250 };
    const database = await open(options).catch(() => undefined);
    if (database === undefined) return [state];
    try {
      for (const batch of batches) {
        const next = sorted(applied(state, batch));
        try {
          await database.batch(batch, true);
        } catch (error) {
          assert.match(String(error), /power is off/);
          return [state, next];
        }
        state = next;
      }
      return [state];
    } finally {
      await database.close();
    }
  }

  it("keeps what was synced, as a map would (from seeds)", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      path = join(folder, `seed ${seed}`);
      await history(seededRandom(seed)).catch((error: unknown) => {
        throw new Error(`seed ${seed}`, { cause: error });
      });
    }
  });

  async function history(random: Random): Promise<void> {
    let state: State = {};
    for (let life = 0; life < 6; life++) {
      const disk = new TestDisk();
      disk.cutAt = 1 + random.int(30);
      const from = random.float();
      const to = random.float();
      disk.torn = (length) => ({
        from: from < 0.5 ? 0 : Math.floor((from - 0.5) * 2 * length),
        to: Math.floor(to * (length + 1)),
      });
      const openFiles = disk.openFiles;
      const database = await open({ openFiles, segmentBytesMax: 400 }).catch(() => undefined);
      // What is found is one of these, in their order: nothing newer without all that is older.
      const possible: State[] = [sorted(state)];
      while (database !== undefined) {
        const batch = randomBatch(random);
        const sync = random.int(3) > 0;
        possible.push(sorted(applied(possible.at(-1) ?? {}, batch)));
        try {
          await database.batch(batch, sync);
        } catch {
          break;
        }
        assert.deepEqual(sorted(await contents(database)), possible.at(-1));
        if (sync) possible.splice(0, possible.length - 1);
      }
      if (database !== undefined) await database.close();
      const now = sorted(await found());
      assert.ok(
        possible.some((s) => JSON.stringify(s) === JSON.stringify(now)),
        `life ${life}: ${disk.done.at(-1)}`,
      );
      state = now;
    }
  }

  function randomBatch(random: Random): LogOperation[] {
    return Array.from({ length: 1 + random.int(4) }, () => {
      const isRecord = random.int(2) === 0;
      const key = isRecord ? recordKey(random.int(12)) : `small${random.int(4)}`;
      if (random.int(3) === 0) return remove(key);
      return put(key, String(random.int(1e9)).repeat(random.int(12)));
    });
  }

  function sorted(state: State): State {
    return Object.fromEntries(Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1)));
  }
});
