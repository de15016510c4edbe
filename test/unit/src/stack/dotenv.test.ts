/** Tests of src/stack/dotenv.ts: files of variables, their quotes, and what is refused with its line. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, equal } from "node:assert/strict";
import { readDotenv, readRawEnv } from "../../../../src/stack/dotenv.ts";
import { refusalOf } from "../../../support/compose.ts";

const outer: Readonly<Record<string, string>> = { HOST: "caller", OWN: "outer" };
const read = (text: string) =>
  Object.fromEntries(readDotenv(text, { name: ".env", outer: (name) => outer[name] }));

describe("src/stack/dotenv", () => {
  for (const [text, expected] of [
    ["A=1", { A: "1" }],
    ["export A=1\r\nB=2", { A: "1", B: "2" }],
    ["# comment\n\n  A = 1 ", { A: "1" }],
    ["A=x # comment", { A: "x" }],
    ["A=x#y", { A: "x#y" }],
    ["A=", { A: "" }],
    ["A='$HOST \\n'", { A: "$HOST \\n" }],
    ['A="$HOST\\n\\$B" # c', { A: "caller\n$B" }],
    ['A="one\ntwo"\nB=3', { A: "one\ntwo", B: "3" }],
    ["A=1\nB=${A}2\nC=${B:-x}", { A: "1", B: "12", C: "12" }],
    ["OWN=file\nB=$OWN", { OWN: "file", B: "outer" }],
    ["HOST\nGONE", { HOST: "caller", GONE: undefined }],
    ["A: 1", { A: "1" }],
    ["\uFEFFA=1", { A: "1" }],
  ] as const)
    it(`reads ${JSON.stringify(text)}`, () => {
      deepEqual(read(text), expected);
    });

  for (const [text, message] of [
    ["A=1\n?=2", ".env:2: a line must have the form NAME=value"],
    ['A=1\nB="open', ".env:2: the value of B has no closing quote"],
    ["A=${B:?needed}", ".env:1: A: required variable B is missing a value: needed"],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () => {
      equal(
        refusalOf(() => read(text)),
        message,
      );
    });

  it("takes raw files as they stand", () => {
    deepEqual(Object.fromEntries(readRawEnv("A='$x' # y\n#B=1\nC\n")), { A: "'$x' # y" });
  });
});
