/**
 * The tidy test: the tree keeps the import table, the pure files, the sizes and the docstrings that docs/architecture.md
 * and the house style promise. The rules are in test/support/tidy; that each of them is seen to fail is tested in
 * test/unit/test/support/tidy.test.ts.
 */
import { deepEqual, ok } from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cycleFaults, layerFaults } from "./support/tidy/layers.ts";
import { purityFaults } from "./support/tidy/purity.ts";
import { shapeFaults } from "./support/tidy/shape.ts";
import { type Fault, parse, type Source } from "./support/tidy/source.ts";
import { wordFaults } from "./support/tidy/words.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
const sourceFolders = ["src", "manager", "agent", "test", "bench"];
/** Written by scripts/proto.mjs at build time. */
const generated = /^src\/common\/(api|containerd)\/generated\//;
const skipped = new Set(["node_modules", "build", ".git"]);

describe("the tree", function () {
  // Reads every file there is, from a disk that others may be using.
  this.timeout(120_000);
  let files: string[];
  let sources: Source[];

  before(() => {
    files = filesBelow("");
    sources = files
      .filter((path) => path.endsWith(".ts") && !generated.test(path))
      .filter((path) => sourceFolders.includes(path.slice(0, path.indexOf("/"))))
      .map((path) => parse(path, readFileSync(join(top, path), "utf8")));
    ok(sources.length > 10, "the sources were found");
  });

  it("keeps the import table", () => none(sources.flatMap(layerFaults)));

  it("has no circles of imports", () => none(cycleFaults(sources)));

  it("keeps pure files pure", () => none(sources.flatMap(purityFaults)));

  it("keeps the form of the house style", () => none(sources.flatMap(shapeFaults)));

  it("names no registry and no path of one machine", () => {
    const texts = files.filter((path) => !generated.test(path));
    none(texts.flatMap((path) => wordFaults(path, readFileSync(join(top, path), "utf8"))));
  });
});

function none(faults: readonly Fault[]): void {
  deepEqual(
    faults.map((fault) => `${fault.path}:${fault.line} ${fault.message}`),
    [],
  );
}

function filesBelow(folder: string): string[] {
  return readdirSync(join(top, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (skipped.has(entry.name) || entry.isSymbolicLink()) return [];
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}
