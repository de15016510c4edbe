/**
 * Generic resources as operators write them.
 */
import { deepEqual, throws } from "node:assert/strict";
import { parseGenericResources } from "../../../../src/node/generic-resources.ts";

describe("src/node/generic-resources", () => {
  it("reads counted and named ones, in one text or several", () => {
    const list = parseGenericResources(["ssd=3", "gpu=u1,gpu=u2"]);
    deepEqual(
      list.map(({ kind, named, count }) => `${kind} ${named} ${count}`),
      ["ssd  3", "gpu u1 0", "gpu u2 0"],
    );
    deepEqual(parseGenericResources([]), []);
  });

  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [["gpu"], /form is KIND=COUNT/],
    [["=3"], /form is/],
    [["ssd=1", "ssd=2"], /counted once or named/],
    [["gpu=u1", "gpu=2"], /counted once or named/],
    [["gpu=u1", "gpu=u1"], /said twice/],
  ];
  for (const [list, why] of refused) {
    it(`refuses ${list.join()}`, () => {
      throws(() => parseGenericResources(list), why);
    });
  }
});
