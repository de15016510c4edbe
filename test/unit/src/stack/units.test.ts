/** Tests of src/stack/units.ts, scalar.ts and words.ts. */
import { deepEqual, equal } from "node:assert/strict";
import { numberOf } from "../../../../src/stack/scalar.ts";
import { bytesFrom, durationFrom, durationText } from "../../../../src/stack/units.ts";
import { wordsOf } from "../../../../src/stack/words.ts";

describe("src/stack/units", () => {
  for (const [text, bytes] of [
    ["1024", 1024],
    ["50M", 52_428_800],
    ["1gb", 2 ** 30],
    ["1.5g", 1.5 * 2 ** 30],
    ["2KiB", 2048],
    ["10 mb", 10 * 2 ** 20],
    ["0b", 0],
    ["", undefined],
    ["-1", undefined],
    ["1x", undefined],
  ] as const)
    it(`takes ${JSON.stringify(text)} for ${bytes} bytes`, () => equal(bytesFrom(text), bytes));

  for (const [text, ns, back] of [
    ["1m30s", 90e9, "1m30s"],
    ["90s", 90e9, "1m30s"],
    ["1h", 3600e9, "1h"],
    ["1h0m5s", 3605e9, "1h0m5s"],
    ["500ms", 5e8, "500ms"],
    ["1.5s", 1.5e9, "1.5s"],
    ["10us", 1e4, "10µs"],
    ["0", 0, "0s"],
    ["1d", 86_400e9, "24h"],
  ] as const)
    it(`takes ${text} for ${ns} ns, and writes ${back}`, () => {
      equal(durationFrom(text), ns);
      equal(durationText(ns), back);
    });

  for (const text of ["", "5", "s", "1x", "1m 30s", "--1s"])
    it(`knows no duration ${JSON.stringify(text)}`, () => equal(durationFrom(text), undefined));

  for (const [text, value] of [
    ["12", 12],
    ["-3", -3],
    ["0440", 288],
    ["0o17", 15],
    ["0x1F", 31],
    ["1_000", 1000],
    ["1e3", 1000],
    [".5", 0.5],
    ["08", 8],
    ["1.2.3", undefined],
    ["abc", undefined],
    ["", undefined],
  ] as const)
    it(`takes ${JSON.stringify(text)} for the number ${value}`, () => equal(numberOf(text), value));

  for (const [line, words] of [
    ["a  b\tc", ["a", "b", "c"]],
    ["sh -c 'echo \"$X\" y'", ["sh", "-c", 'echo "$X" y']],
    ['a "b \\" c" d\\ e', ["a", 'b " c', "d e"]],
    ["a '' b", ["a", "", "b"]],
    ["x=a'b c'd", ["x=ab cd"]],
    ["a # b", ["a"]],
    ["a#b", ["a#b"]],
    ["", []],
    ["'open", undefined],
  ] as const)
    it(`splits ${line}`, () => deepEqual(wordsOf(line), words));
});
