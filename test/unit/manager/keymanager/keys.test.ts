/**
 * The keys file and what autolock asks of it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keysStep, unlockKeyOf, wantedUnlockKeys } from "../../../../manager/keymanager/decide.ts";
import {
  createKeyRing,
  type KeyRing,
  keysFileState,
  openKeyRing,
} from "../../../../manager/keymanager/keys.ts";
import { KeysFileLoop, UnlockKeyLoop } from "../../../../manager/keymanager/loop.ts";
import {
  Cluster,
  ClusterSpec,
  EncryptionConfig,
  UnlockKey,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError, hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import type { DataKeys } from "../../../../src/common/seal/data-keys.ts";
import { localStore } from "../../../support/local-log.ts";

const random = seededRandom(7);
const nodeKey = random.bytes(32);
const unlockKey = random.bytes(32);

describe("manager/keymanager/keys", () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
    path = join(folder, "keys");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const wrongKey = (error: unknown) =>
    hasCode(error, "invalid-argument") &&
    (error as Error).message === "swarm could not be unlocked: invalid key provided";

  it("keeps a data key that only the node key opens, in a file for its owner alone", () => {
    assert.equal(keysFileState(path), "absent");
    const ring = createKeyRing(path, { nodeKey }, random);
    assert.equal(keysFileState(path), "open");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(openKeyRing(path, { nodeKey }, random).dataKeys(), ring.dataKeys());
    const [key = new Uint8Array()] = ring.dataKeys().keys.values();
    const text = readFileSync(path, "utf8");
    assert(!text.includes(Buffer.from(key).toString("base64")));
    assert.throws(
      () => openKeyRing(path, { nodeKey: random.bytes(32) }, random),
      (error) => hasCode(error, "internal") && /not of this node/.test(String(error)),
    );
  });

  it("opens with the unlock key alone once it is locked", () => {
    const ring = createKeyRing(path, { nodeKey }, random);
    const before = ring.dataKeys();
    ring.setUnlockKey(unlockKey);
    assert.equal(keysFileState(path), "locked");
    assert.deepEqual(openKeyRing(path, { nodeKey, unlockKey }, random).dataKeys(), before);
    assert.throws(
      () => openKeyRing(path, { nodeKey }, random),
      (e) => hasCode(e, "failed-precondition"),
    );
    assert.throws(
      () => openKeyRing(path, { nodeKey, unlockKey: random.bytes(32) }, random),
      wrongKey,
    );
    assert.throws(() => openKeyRing(path, { nodeKey, unlockKey: nodeKey }, random), wrongKey);
  });

  it("takes the next unlock key and none of the old ones", () => {
    const ring = createKeyRing(path, { nodeKey, unlockKey }, random);
    const next = random.bytes(32);
    ring.setUnlockKey(next);
    assert(ring.isSealedBy(next));
    assert.throws(() => openKeyRing(path, { nodeKey, unlockKey }, random), wrongKey);
    openKeyRing(path, { nodeKey, unlockKey: next }, random).setUnlockKey(undefined);
    assert.equal(openKeyRing(path, { nodeKey }, random).isLocked(), false);
  });

  it("is not locked by an unlock key given for nothing", () => {
    createKeyRing(path, { nodeKey }, random);
    assert.equal(openKeyRing(path, { nodeKey, unlockKey }, random).isLocked(), false);
  });

  it("reads with every data key and seals with the newest", () => {
    const ring = createKeyRing(path, { nodeKey }, random);
    const first = ring.dataKeys();
    const second = ring.rotateDataKey();
    assert.equal(second.currentId, 2);
    assert.deepEqual(second.keys.get(1), first.keys.get(1));
    assert.deepEqual(openKeyRing(path, { nodeKey }, random).dataKeys(), second);
    const left = ring.dropDataKeys([1, 2]);
    assert.deepEqual([...left.keys.keys()], [2]);
    assert.equal(ring.rotateDataKey().currentId, 3);
  });

  it("tells a damaged file from a wrong key, and a newer format from both", () => {
    createKeyRing(path, { nodeKey, unlockKey }, random);
    const text = readFileSync(path, "utf8");
    const damaged = (error: unknown) => hasCode(error, "internal") && /damaged/.test(String(error));
    for (const content of [
      "",
      "{}",
      "null",
      text.slice(0, 60),
      text.replace(/"sealed":"..../, '"sealed":"AAAA'),
    ]) {
      writeFileSync(path, content);
      assert.throws(() => openKeyRing(path, { nodeKey, unlockKey }, random), damaged, content);
    }
    const body = { format: 2, locked: false, sealed: "" };
    const checksum = createHash("sha256").update("2 false ").digest("hex");
    writeFileSync(path, JSON.stringify({ ...body, checksum }));
    assert.throws(
      () => openKeyRing(path, { nodeKey }, random),
      (e) => hasCode(e, "unimplemented"),
    );
  });

  it("leaves file and memory as they were when it cannot be written", () => {
    const ring = createKeyRing(path, { nodeKey }, random);
    const before = ring.dataKeys();
    rmSync(folder, { recursive: true });
    assert.throws(
      () => ring.setUnlockKey(unlockKey),
      (e) => hasCode(e, "internal"),
    );
    assert.throws(
      () => ring.rotateDataKey(),
      (e) => hasCode(e, "internal"),
    );
    assert.equal(ring.isLocked(), false);
    assert.deepEqual(ring.dataKeys(), before);
    folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
  });
});

function cluster(autoLock: boolean, keys: readonly UnlockKey[] = []): Cluster {
  return Cluster.create({
    id: "c1",
    meta: { version: 42, createdAtMs: 0, updatedAtMs: 0 },
    spec: ClusterSpec.create({
      annotations: { name: "default", labels: {} },
      encryption: EncryptionConfig.create({ autoLockManagers: autoLock }),
    }),
    unlockKeys: keys,
  });
}
const managerKey = UnlockKey.create({ subsystem: "manager", key: unlockKey, version: 1 });
const otherKey = UnlockKey.create({ subsystem: "other", key: nodeKey, version: 1 });

describe("manager/keymanager/decide", () => {
  const newKey = () => Buffer.alloc(32, 9);

  it("makes a key when autolock is on without one, removes it when it is off, and else does nothing", () => {
    assert.equal(wantedUnlockKeys(cluster(false), newKey), undefined);
    assert.equal(wantedUnlockKeys(cluster(true, [managerKey]), newKey), undefined);
    assert.deepEqual(wantedUnlockKeys(cluster(false, [otherKey, managerKey]), newKey), [otherKey]);
    assert.deepEqual(wantedUnlockKeys(cluster(true, [otherKey]), newKey), [
      otherKey,
      { subsystem: "manager", key: newKey(), version: 42 },
    ]);
  });

  it("seals anew for another key, and changes the data key when locking begins", () => {
    const ring = (key: Uint8Array | undefined): Pick<KeyRing, "isLocked" | "isSealedBy"> => ({
      isLocked: () => key !== undefined,
      isSealedBy: (k) =>
        k === undefined ? key === undefined : key !== undefined && Buffer.from(key).equals(k),
    });
    assert.equal(keysStep(ring(undefined), undefined), "nothing");
    assert.equal(keysStep(ring(unlockKey), unlockKey), "nothing");
    assert.equal(keysStep(ring(undefined), unlockKey), "reseal-and-rotate");
    assert.equal(keysStep(ring(unlockKey), nodeKey), "reseal");
    assert.equal(keysStep(ring(unlockKey), undefined), "reseal");
    assert.equal(unlockKeyOf(cluster(true, [otherKey])), undefined);
  });
});

describe("manager/keymanager/loop", () => {
  const settle = async () => {
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  };

  it("follows autolock through on, rotate and off, in the cluster object and in the file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
    const stop = new AbortController();
    const clock = new FakeClock();
    try {
      const { store } = localStore();
      await store.update((tx) => tx.create("cluster", cluster(false)));
      const ring = createKeyRing(join(folder, "keys"), { nodeKey }, random);
      const used: DataKeys[] = [];
      let failures = 1;
      const rotate = async (keys: DataKeys) => {
        if (failures-- > 0) throw new ClusterError("unavailable", "not now");
        used.push(keys);
      };
      const tools = { clock, random, log: silentLog };
      const leader = new UnlockKeyLoop(store, 1, tools);
      const file = new KeysFileLoop(store, ring, rotate, tools);
      const runs = [leader.run(stop.signal), file.run(stop.signal, Promise.resolve())];
      const look = async () => {
        for (let i = 0; i < 3; i++) {
          leader.changed();
          await settle();
          file.changed();
          await settle();
        }
      };
      const change = (next: Partial<Cluster>) =>
        store.update((tx) =>
          tx.update("cluster", Cluster.create({ ...tx.get("cluster", "c1"), ...next })),
        );
      await look();
      assert.equal(ring.isLocked(), false);

      await change({ spec: cluster(true).spec });
      await look();
      const key = store.view().get("cluster", "c1")?.unlockKeys[0]?.key;
      assert.equal(key?.length, 32);
      assert(ring.isSealedBy(key));
      assert.equal(ring.dataKeys().currentId, 2);
      assert.equal(used.length, 0);
      assert.deepEqual([...ring.dataKeys().keys.keys()], [1, 2]);
      await clock.advance(10_000);
      await settle();
      // The old key goes once nothing is sealed with it any more, and not before.
      assert.deepEqual(
        used.map((keys) => [...keys.keys.keys()]),
        [[1, 2]],
      );
      assert.deepEqual([...ring.dataKeys().keys.keys()], [2]);

      await change({ unlockKeys: [managerKey] });
      await look();
      assert(ring.isSealedBy(unlockKey));
      assert.equal(ring.dataKeys().currentId, 2);

      await change({ spec: cluster(false).spec });
      await look();
      assert.deepEqual(store.view().get("cluster", "c1")?.unlockKeys, []);
      assert.equal(ring.isLocked(), false);
      stop.abort();
      await Promise.all(runs);
    } finally {
      stop.abort();
      rmSync(folder, { recursive: true });
    }
  });

  it("leaves the file alone while the store may be older than it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
    const stop = new AbortController();
    try {
      const { store } = localStore();
      await store.update((tx) => tx.create("cluster", cluster(false)));
      const ring = createKeyRing(join(folder, "keys"), { nodeKey, unlockKey }, random);
      const tools = { clock: new FakeClock(), random, log: silentLog };
      const file = new KeysFileLoop(store, ring, async () => {}, tools);
      let caughtUp = () => {};
      const upToDate = new Promise<void>((resolve) => {
        caughtUp = resolve;
      });
      const run = file.run(stop.signal, upToDate);
      file.changed();
      await settle();
      assert.ok(ring.isSealedBy(unlockKey));
      caughtUp();
      await settle();
      assert.equal(ring.isLocked(), false);
      stop.abort();
      await run;
    } finally {
      stop.abort();
      rmSync(folder, { recursive: true });
    }
  });
});
