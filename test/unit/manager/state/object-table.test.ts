/**
 * The table of objects against a plain map, and frozen tables against the moment they were taken.
 */
import assert from "node:assert/strict";
import { type FrozenObjects, ObjectTable } from "../../../../manager/state/object-table.ts";
import type { AnyObject } from "../../../../manager/state/tables.ts";
import { Config } from "../../../../src/common/api/generated/api.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";

describe("manager/state/object-table", () => {
  it("does what a map does, and what was frozen stays as it was", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const table = new ObjectTable();
      const model = new Map<string, AnyObject>();
      const frozen: { readonly of: FrozenObjects; readonly expected: readonly AnyObject[] }[] = [];
      for (let step = 0; step < 4_000; step++) {
        const id = `c${random.int(1_500)}`;
        if (random.int(400) === 0)
          frozen.push({ of: table.freeze(), expected: [...model.values()] });
        else if (random.int(3) === 0) {
          table.delete(id);
          model.delete(id);
        } else {
          const object = Config.create({ id });
          table.set(object);
          model.set(id, object);
        }
        assert.equal(table.get(id), model.get(id));
        assert.equal(table.size, model.size);
      }
      assert.ok(frozen.length > 2);
      frozen.push({ of: table.freeze(), expected: [...model.values()] });
      for (const { of, expected } of frozen) {
        assert.equal(of.size, expected.length);
        assert.deepEqual(new Set(of), new Set(expected), `seed ${seed}`);
        assert.equal([...of].length, expected.length);
      }
      assert.deepEqual(new Set(table.values()), new Set(model.values()));
    }
  });
});
