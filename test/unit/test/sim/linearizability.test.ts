/**
 * The check of registers against histories whose answer is known.
 */
import assert from "node:assert/strict";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { checkHistory, checkKey, type Operation } from "../../../sim/check/linearizability.ts";

const never = Number.POSITIVE_INFINITY;

describe("test/sim/check/linearizability", () => {
  it("takes operations one after the other", () => {
    assert.equal(checkKey([put(1, 0, 1), get(1, 2, 3), put(2, 4, 5), get(2, 6, 7)]), "ok");
  });

  it("refuses a stale read", () => {
    assert.equal(checkKey([put(1, 0, 1), put(2, 2, 3), get(1, 4, 5)]), "violation");
  });

  it("refuses a lost write", () => {
    assert.equal(checkKey([put(1, 0, 1), get(0, 2, 3)]), "violation");
  });

  it("takes either order of concurrent writes, but one order for all readers", () => {
    const writes = [put(1, 0, 10), put(2, 0, 10)];
    assert.equal(checkKey([...writes, get(1, 11, 12)]), "ok");
    assert.equal(checkKey([...writes, get(2, 11, 12)]), "ok");
    assert.equal(checkKey([...writes, get(1, 11, 12), get(2, 13, 14)]), "violation");
  });

  it("refuses two readers that saw a write come and go", () => {
    assert.equal(checkKey([put(1, 0, 10), get(1, 1, 2), get(0, 3, 4)]), "violation");
  });

  it("lets a write of unknown outcome take effect late, or never", () => {
    const unknown = put(1, 0, never);
    assert.equal(checkKey([unknown, get(0, 1, 2), get(1, 100, 101)]), "ok");
    assert.equal(checkKey([unknown, get(0, 1, 2), get(0, 100, 101)]), "ok");
    assert.equal(checkKey([unknown, get(1, 1, 2), get(0, 3, 4)]), "violation");
  });

  it("holds a conditional write to what it found", () => {
    assert.equal(checkKey([put(1, 0, 1), cas(1, 2, { at: 2, done: true }), get(2, 4, 5)]), "ok");
    assert.equal(checkKey([put(1, 0, 1), cas(9, 2, { at: 2, done: true })]), "violation");
    assert.equal(checkKey([put(1, 0, 1), cas(1, 2, { at: 2, done: false })]), "violation");
    assert.equal(checkKey([put(1, 0, 1), cas(9, 2, { at: 2, done: false }), get(1, 4, 5)]), "ok");
  });

  it("refuses a conditional write that succeeded twice", () => {
    const list = [put(1, 0, 1), cas(1, 2, { at: 2, done: true }), cas(1, 3, { at: 4, done: true })];
    assert.equal(checkKey(list), "violation");
  });

  it("keeps keys apart and names the one that is wrong", () => {
    const wrong = { ...get(7, 4, 5), key: 3 };
    assert.deepEqual(checkHistory([put(1, 0, 1), get(1, 2, 3), wrong]), {
      verdict: "violation",
      key: 3,
    });
  });

  it("gives up when told to", () => {
    assert.equal(checkKey([put(1, 0, 1), get(1, 2, 3)], 1), "undecided");
  });

  it("takes random histories of a real register, and refuses them with one answer changed", () => {
    const random = seededRandom(5);
    for (let round = 0; round < 50; round++) {
      const list = history(random);
      assert.equal(checkKey(list), "ok");
      const reads = list.filter(({ kind }) => kind === "get");
      const read = reads[random.int(reads.length)];
      assert(read !== undefined);
      read.result = 9_999;
      assert.equal(checkKey(list), "violation");
    }
  });
});

/** Operations of a register that takes effect at a moment within each. */
function history(random: ReturnType<typeof seededRandom>): Operation[] {
  let value = 0;
  const list: Operation[] = [get(0, 0, 0.5)];
  for (let moment = 1; moment < 60; moment++) {
    const start = moment - random.float() * 5;
    const end = moment + random.float() * 5;
    if (random.float() < 0.5) list.push(get(value, start, end));
    else {
      value = moment;
      list.push(put(moment, start, random.float() < 0.2 ? never : end));
    }
  }
  return list;
}

function put(value: number, start: number, end: number): Operation {
  return { key: 0, kind: "put", value, expected: 0, start, end, result: 1 };
}

function get(result: number, start: number, end: number): Operation {
  return { key: 0, kind: "get", value: 0, expected: 0, start, end, result };
}

function cas(
  expected: number,
  value: number,
  { at, done }: { readonly at: number; readonly done: boolean },
): Operation {
  return { key: 0, kind: "cas", value, expected, start: at, end: at + 1, result: done ? 1 : 0 };
}
