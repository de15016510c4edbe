/**
 * Ids of objects: the number their random bytes are, in base 36.
 */
import assert from "node:assert/strict";
import { isId, newId } from "../../../../../src/common/ids/ids.ts";
import { type Random, seededRandom } from "../../../../../src/common/random/random.ts";

function giving(bytes: Uint8Array): Random {
  return { ...seededRandom(1), bytes: () => bytes };
}

function inBase36(bytes: Uint8Array): string {
  const number = BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  return number.toString(36).padStart(25, "0");
}

describe("src/common/ids", () => {
  it("writes all of the bytes", () => {
    const random = seededRandom(7);
    const lists: Uint8Array[] = [
      new Uint8Array(16),
      new Uint8Array(16).fill(255),
      Uint8Array.of(...one(15)),
    ];
    for (let count = 0; count < 200; count++) lists.push(random.bytes(16));
    for (const bytes of lists) {
      const id = newId(giving(bytes));
      assert.equal(id, inBase36(bytes));
      assert.ok(isId(id));
    }
  });
});

function one(at: number): number[] {
  return Array.from({ length: 16 }, (_, i) => (i === at ? 1 : 0));
}
