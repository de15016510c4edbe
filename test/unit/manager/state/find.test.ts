/**
 * Finding what a user named, addresses as keys, sorting, index maps, feature levels.
 */
import assert from "node:assert/strict";
import { addressKey } from "../../../../manager/state/address.ts";
import {
  featureLevel,
  raiseFeatureLevel,
  requireFeature,
} from "../../../../manager/state/feature.ts";
import { findOne } from "../../../../manager/state/find.ts";
import { IndexMap } from "../../../../manager/state/index-map.ts";
import { sortedById } from "../../../../manager/state/sort.ts";
import { Cluster } from "../../../../src/common/api/generated/api.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { localStore } from "../../../support/local-log.ts";
import { config, node, service } from "../../../support/store-objects.ts";

describe("manager/state/find", () => {
  const { store } = localStore();
  before(() =>
    store.update((tx) => {
      tx.create("service", service({ id: "abc1", name: "web" }));
      tx.create("service", service({ id: "abc2", name: "abc1x" }));
      tx.create("service", service({ id: "web9", name: "db" }));
      tx.create("node", node("n1", 1, "host"));
      tx.create("node", node("n2", 2, "host"));
      tx.create("node", node("n3", 3, "n1"));
    }),
  );

  const found = [
    ["the id", "service", "abc1", "abc1"],
    ["the name before an id prefix", "service", "web", "abc1"],
    ["an id prefix", "service", "we", "web9"],
    ["the id before a name", "node", "n1", "n1"],
  ] as const;
  for (const [by, table, input, id] of found) {
    it(`finds by ${by}`, () => assert.equal(findOne(store.view(), table, input).id, id));
  }

  const refused = [
    ["service", "nope", "not-found", "service nope not found"],
    ["service", "Web", "not-found", "service Web not found"],
    ["service", "", "not-found", "service  not found"],
    ["service", "abc", "invalid-argument", "service abc is ambiguous (2 matches found)"],
    ["node", "host", "invalid-argument", "node host is ambiguous (2 matches found)"],
    ["secret", "abc1", "not-found", "secret abc1 not found"],
  ] as const;
  for (const [table, input, code, message] of refused) {
    it(`says "${message}"`, () => {
      assert.throws(() => findOne(store.view(), table, input), { code, message });
    });
  }
});

describe("manager/state/address", () => {
  const same = [
    ["10.0.0.1", "10.0.0.1/24"],
    ["255.255.255.255/32", "255.255.255.255"],
    ["fd00::1", "FD00:0:0:0:0:0:0:1/64"],
    ["::", "0:0:0:0:0:0:0:0"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ] as const;
  for (const [a, b] of same) {
    it(`takes ${a} and ${b} for one`, () => assert.equal(addressKey(a), addressKey(b)));
  }

  const different = [
    ["10.0.0.1", "10.0.0.2"],
    ["10.0.0.1", "10.0.1"],
    ["10.0.0.1", "10.0.0.257"],
    ["10.0.0.1", "1.0.0.0.1"],
    ["fd00::1", "fd00:1::"],
    ["fd00::1", "fd00:::1"],
    ["::1", "::1::"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7"],
  ] as const;
  for (const [a, b] of different) {
    it(`tells ${a} from ${b}`, () => assert.notEqual(addressKey(a), addressKey(b)));
  }
});

describe("manager/state/sort", () => {
  for (const count of [0, 1, 511, 8_192, 20_000]) {
    it(`sorts ${count} objects by id`, async () => {
      const random = seededRandom(count);
      const objects = Array.from({ length: count }, () =>
        config(Buffer.from(random.bytes(8)).toString("hex")),
      );
      const ids: string[] = [];
      for await (const slice of sortedById(objects, () => undefined)) {
        for (const object of slice) ids.push(object.id);
      }
      assert.deepEqual(ids, objects.map((object) => object.id).sort());
    });
  }
});

describe("manager/state/index-map", () => {
  for (const count of [1, 2, 8, 9, 100]) {
    it(`keeps ${count} ids of a key and gives each of them up`, () => {
      const map = new IndexMap();
      const ids = Array.from({ length: count }, (_, n) => `id${n}`);
      for (const key of ["plain", ["group", 1] as const]) {
        for (const id of [...ids, ...ids]) map.add(key, id);
        assert.deepEqual([...map.ids(key)].sort(), [...ids].sort());
        for (const id of ids) {
          map.remove(key, id);
          map.remove(key, id);
          assert.ok(!map.ids(key).includes(id));
        }
        assert.equal(map.count(key), 0);
      }
    });
  }
});

describe("manager/state/feature", () => {
  it("raises the level to what all managers have, and never lowers it", async () => {
    const { store } = localStore();
    assert.equal(featureLevel(store.view()), 0);
    await store.update((tx) => tx.create("cluster", Cluster.create({ id: "c", featureLevel: 1 })));
    assert.throws(() => requireFeature(store.view(), 2, "volumes"), {
      code: "failed-precondition",
      message: /volumes needs all managers at feature level 2, the cluster is at 1/,
    });
    await store.update((tx) => raiseFeatureLevel(tx, [3, 2, 4]));
    requireFeature(store.view(), 2, "volumes");
    await store.update((tx) => raiseFeatureLevel(tx, [1]));
    assert.equal(featureLevel(store.view()), 2);
  });
});
