/**
 * At which numbers of taken addresses a network is warned of.
 */
import { equal } from "node:assert/strict";
import { levelOf } from "../../../../manager/allocator/fullness.ts";

describe("manager/allocator/fullness", () => {
  // Taken of 100, the level before, the level.
  for (const [taken, before, level] of [
    [74, 0, 0],
    [75, 0, 75],
    [90, 0, 90],
    [100, 75, 100],
    [96, 100, 100],
    [94, 100, 90],
    [71, 75, 75],
    [69, 75, 0],
    [10, 100, 0],
  ] as const) {
    it(`is ${level} with ${taken} of 100 after ${before}`, () => {
      equal(levelOf({ taken, size: 100 }, before), level);
    });
  }

  it("is none in a network without IPv4 addresses", () => {
    equal(levelOf({ taken: 0, size: 0 }, 75), 0);
  });
});
