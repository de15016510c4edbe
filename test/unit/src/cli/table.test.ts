/**
 * Tables for people: what stands in a cell of `skep stack ps` and the like.
 */
import { equal } from "node:assert/strict";
import { quotedText } from "../../../../src/cli/table.ts";

describe("src/cli/table", () => {
  it("quotes an error on one line, as it is", () => {
    equal(quotedText('Get "https://r/v2/": no\n  answer'), '"Get "https://r/v2/": no answer"');
  });
});
