/**
 * The time of `skep.drain` as users write it.
 */
import { deepEqual } from "node:assert/strict";
import { drainMsOf } from "../../../../../src/common/spec/drain-time.ts";

describe("src/common/spec/drain-time", () => {
  it("reads times", () => {
    const texts = ["500ms", "2s", "1m30s", "1.5s", "2h", "0", "", "5", "s", "1s x", "-1s"];
    deepEqual(texts.map(drainMsOf), [
      500,
      2000,
      90_000,
      1500,
      7_200_000,
      0,
      ...Array(5).fill(undefined),
    ]);
  });
});
