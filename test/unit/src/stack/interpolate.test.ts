/** Tests of src/stack/interpolate.ts. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, equal, match } from "node:assert/strict";
import { interpolate } from "../../../../src/stack/interpolate.ts";
import { refusalOf } from "../../../support/compose.ts";

const values: Readonly<Record<string, string>> = {
  SET: "yes",
  EMPTY: "",
  OTHER: "more",
  A_1: "a1",
};

function fill(text: string): { readonly text: string; readonly missing: readonly string[] } {
  const missing: string[] = [];
  const filled = interpolate(text, {
    lookup: (name) => values[name],
    missing: (name) => missing.push(name),
  });
  return { text: filled, missing };
}

describe("src/stack/interpolate", () => {
  for (const [text, expected] of [
    ["plain", "plain"],
    ["$SET", "yes"],
    ["${SET}", "yes"],
    ["x${SET}y$OTHER.z", "xyesymore.z"],
    ["$A_1", "a1"],
    ["$$SET", "$SET"],
    ["$${SET}", "${SET}"],
    ["${EMPTY-default}", ""],
    ["${EMPTY:-default}", "default"],
    ["${UNSET-default}", "default"],
    ["${UNSET:-default}", "default"],
    ["${SET:-default}", "yes"],
    ["${UNSET:-}", ""],
    ["${SET:+other}", "other"],
    ["${EMPTY:+other}", ""],
    ["${EMPTY+other}", "other"],
    ["${UNSET+other}", ""],
    ["${SET:?needed}", "yes"],
    ["${EMPTY?needed}", ""],
    ["${UNSET:-${SET}}", "yes"],
    ["${UNSET:-${EMPTY:-${OTHER}}}", "more"],
    ["${UNSET:-a$OTHER-b}", "amore-b"],
    ["${SET:+${OTHER:+deep}}", "deep"],
    ["${UNSET:-http://x:80/?a=b}", "http://x:80/?a=b"],
    ["${UNSET:-$$literal}", "$literal"],
    ["${SET:-${UNSET:?never asked}}", "yes"],
  ] as const)
    it(`makes ${JSON.stringify(expected)} of ${text}`, () => {
      deepEqual(fill(text), { text: expected, missing: [] });
    });

  it("tells of a variable without value and default, which stands for nothing", () => {
    deepEqual(fill("a${UNSET}b$GONE"), { text: "ab", missing: ["UNSET", "GONE"] });
  });

  for (const text of ["$", "${", "${}", "${SET", "${SET:", "${SET:=x}", "a $ b", "${1}", "${A B}"])
    it(`refuses ${text}`, () => {
      match(
        refusalOf(() => fill(text)),
        /^invalid interpolation format: .*; you may need to escape any \$ with another \$$/,
      );
    });

  it("refuses a variable that is required, with the message of the file", () => {
    equal(
      refusalOf(() => fill("${UNSET:?set it, ${SET}}")),
      "required variable UNSET is missing a value: set it, yes",
    );
    equal(
      refusalOf(() => fill("${EMPTY:?}")),
      "required variable EMPTY is missing a value",
    );
  });

  it("refuses variables nested without end", () => {
    match(
      refusalOf(() => fill(`${"${UNSET:-".repeat(5000)}x${"}".repeat(5000)}`)),
      /^invalid/,
    );
  });
});
