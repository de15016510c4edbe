/**
 * The part of Go's template language that placeholders are written in.
 */
import { equal, throws } from "node:assert/strict";
import { expand, type PlaceholderContext } from "../../../../../src/common/task/placeholders.ts";

const context: PlaceholderContext = {
  values: { Task: { Slot: "3" }, Service: { Labels: { a: "1", "b.c": "2" } } },
  functions: { env: (name = "") => `env of ${name}` },
};

const rows: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["{{.Task.Slot}}", "3"],
  ["a {{ .Task.Slot }} b {{.Service.Labels.a}}", "a 3 b 1"],
  ['{{index .Service.Labels "b.c"}}', "2"],
  ["{{index .Service.Labels `b.c`}}", "2"],
  ['{{index .Service.Labels "absent"}}', ""],
  ["a  {{- .Task.Slot -}}  b", "a3b"],
  ["a{{/* why */}}b", "ab"],
  ['{{env "X"}}', "env of X"],
  ["{{env .Task.Slot}}", "env of 3"],
  ['{{"}"}}', "}"],
];

const refused: readonly (readonly [string, RegExp])[] = [
  ["a {{.Task.Slot", /: placeholder {{\.Task\.Slot cannot be filled in: it is not closed by }}$/],
  ["{{}}", /empty/],
  ["{{.Task}}", /name a field/],
  ["{{.Task.Colour}}", /there is no \.Task\.Colour/],
  ["{{.Task.Slot.More}}", /there is no/],
  ["{{.toString}}", /there is no/],
  ["{{range .Task}}", /only fields and index/],
  ["{{secret}}", /secret is not known/],
  ["{{.Task.Slot | upper}}", /only fields and index/],
];

describe("src/common/task/placeholders", () => {
  for (const [text, expected] of rows) {
    it(`${text} becomes ${JSON.stringify(expected)}`, () => {
      equal(expand(text, context), expected);
    });
  }
  for (const [text, why] of refused) {
    it(`${text} is refused: ${why.source}`, () => {
      throws(() => expand(text, context), why);
    });
  }
});
