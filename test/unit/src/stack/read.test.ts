/** Tests of src/stack/read.ts: YAML to nodes with places, merge keys, tags, and what is too much. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Node } from "../../../../src/stack/node.ts";
import { readYaml } from "../../../../src/stack/read.ts";
import { refusalOf } from "../../../support/compose.ts";

const source = { name: "c.yaml", folder: "/p" };
const read = (text: string) => readYaml(text, source);

function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.text;
  if (node.kind === "list") return node.items.map(plain);
  return Object.fromEntries([...node.entries].map(([key, { value }]) => [key, plain(value)]));
}

describe("src/stack/read", () => {
  for (const [text, expected] of [
    ["a: 1\nb: [x, {c: d}]", { a: "1", b: ["x", { c: "d" }] }],
    ["a: &x {k: 1}\nb: *x", { a: { k: "1" }, b: { k: "1" } }],
    ["a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3", { a: { k: "1", l: "2" }, b: { l: "3", k: "1" } }],
    [
      "a: &x {k: 1}\nb: &y {k: 2, m: 4}\nc:\n  <<: [*x, *y]",
      { a: { k: "1" }, b: { k: "2", m: "4" }, c: { k: "1", m: "4" } },
    ],
    ["a: |\n  x\n  y\n", { a: "x\ny\n" }],
    ["a: no\nb:\nc: ~", { a: "no", b: "", c: "~" }],
  ] as const)
    it(`reads ${JSON.stringify(text)}`, () => {
      deepEqual(read(text).map(plain), [expected]);
    });

  it("knows where every value and key stands", () => {
    const [root] = read("a:\n  - b\n  - c: d\n");
    const entry = root?.entries.get("a");
    deepEqual([entry?.place.line, entry?.place.column], [1, 1]);
    const list = entry?.value;
    ok(list?.kind === "list");
    deepEqual([list.items[1]?.place.line, list.items[1]?.place.column], [3, 5]);
  });

  it("reads several documents of a file", () => {
    deepEqual(read("a: 1\n---\nb: 2").map(plain), [{ a: "1" }, { b: "2" }]);
  });

  it("reads nothing out of an empty file", () => deepEqual(read("# nothing\n"), []));

  for (const [text, message] of [
    ["a: [1", /^c\.yaml:1:6: Flow sequence/],
    ["a: 1\na: 2", /^c\.yaml:2:1: Map keys must be unique/],
    ["- a", /^c\.yaml:1:1: top-level object must be a mapping$/],
    ["a: *gone", /^c\.yaml:1:4: .*gone/],
    ["a: &x [*x]", /^c\.yaml:1:8: anchor 'x' value contains itself$/],
    ["a: !x 1", /^c\.yaml:1:7: tag !x is not known here: Compose has !reset and !override$/],
    ["a:\n  <<: [x]", /^c\.yaml:2:8: map merge requires map or sequence of maps as the value$/],
    ["? [a]\n: b", /a key must be a text$/],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () =>
      match(
        refusalOf(() => read(text)),
        message,
      ));

  it("refuses aliases that stand for more values than there is memory, at once", () => {
    const levels = Array.from({ length: 30 }, (_, i) => {
      const from = i === 0 ? "x" : `*l${i - 1}`;
      return `l${i}: &l${i} [${Array.from({ length: 10 }, () => from).join(",")}]`;
    });
    match(
      refusalOf(() => read(levels.join("\n"))),
      /^c\.yaml:6:\d+: aliases and values come to more than 200000 values$/,
    );
  });

  it("refuses a file of 5 MB, and lists nested without end", () => {
    match(
      refusalOf(() => read(`a: ${"x".repeat(5_000_000)}`)),
      /^c\.yaml:1:1: the file is larger than/,
    );
    match(
      refusalOf(() => read(`a: ${"[".repeat(20_000)}${"]".repeat(20_000)}`)),
      /nested deeper than 64 levels$/,
    );
    match(
      refusalOf(() => read(`a: ${"[".repeat(80)}${"]".repeat(80)}`)),
      /nested deeper than 64 levels$/,
    );
  });

  it("shares what aliases stand for", () => {
    const [root] = read("a: &x {k: 1}\nb: *x");
    equal(root?.entries.get("a")?.value, root?.entries.get("b")?.value);
  });
});
