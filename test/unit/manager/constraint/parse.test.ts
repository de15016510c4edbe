/**
 * Placement constraints from text.
 */
import assert from "node:assert/strict";
import { parseConstraints } from "../../../../manager/constraint/parse.ts";

describe("manager/constraint/parse", () => {
  it("reads key, operator and value, with or without space", () => {
    const cases = [
      ["node.role==worker", ["node.role", "==", "worker"]],
      ["node.labels.zone != a b", ["node.labels.zone", "!=", "a b"]],
      ["  node.ip == 10.0.0.0/8 ", ["node.ip", "==", "10.0.0.0/8"]],
      ["node.id==a!=b", undefined],
      ["node.platform.arch==x86_64", ["node.platform.arch", "==", "x86_64"]],
    ] as const;
    for (const [text, expected] of cases) {
      if (expected === undefined) {
        assert.throws(() => parseConstraints([text]), /value 'a!=b' is invalid/);
        continue;
      }
      const [parsed] = parseConstraints([text]);
      assert.deepEqual([parsed?.key, parsed?.operator, parsed?.value], expected);
    }
  });

  it("refuses the rest with Docker's text and code", () => {
    const cases = [
      ["node.role", /constraint expected one operator from ==, !=/],
      ["node.role=worker", /constraint expected one operator from ==, !=/],
      ["", /constraint expected one operator from/],
      ["1abc==x", /key '1abc' is invalid/],
      ["==x", /key '' is invalid/],
      ["node.role==", /value '' is invalid/],
      ["node.role==a,b", /value 'a,b' is invalid/],
      ["node.role==~x", /value '~x' is invalid/],
    ] as const;
    for (const [text, message] of cases)
      assert.throws(() => parseConstraints([text]), { code: "unknown", message }, text);
  });
});
