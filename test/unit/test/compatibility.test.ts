/**
 * Holds docs/compatibility.md to what is there: the tests it names, and the tables by which Compose files are read.
 */
import { deepEqual, ok } from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { composeKeys } from "../../../src/stack/schema.ts";

const root = process.cwd();
const page = readFileSync(join(root, "docs/compatibility.md"), "utf8");
const rows = page
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .map((line) =>
    line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );

/** Key, what becomes of it, and how. */
const keys = rows
  .filter(([, fate = ""]) => ["used", "label", "client", "warned"].includes(fate))
  .map(([key = "", fate = "", how = ""]) => ({ key: key.slice(1, -1), fate, how }));

/** All sources of what acts on keys. */
const sources = [
  ...readdirSync(join(root, "src/stack/translate")).map((name) => `src/stack/translate/${name}`),
  ...["extends", "include", "load", "project", "references", "schema"].map(
    (name) => `src/stack/${name}.ts`,
  ),
]
  .map((path) => readFileSync(join(root, path), "utf8"))
  .join("\n");

describe("docs/compatibility.md", () => {
  it("names tests that are there", () => {
    const named = [...page.matchAll(/`(test\/[\w./-]+\.ts)` "([^"]+)"/g)];
    ok(named.length > 30);
    const absent = named.filter(
      ([, path = "", title = ""]) => !readFileSync(join(root, path), "utf8").includes(title),
    );
    deepEqual(
      absent.map(([text]) => text),
      [],
    );
    const withoutTest = rows.filter(
      (row) => row.length === 4 && !/`|shown by|---/.test(row[3] ?? ""),
    );
    deepEqual(withoutTest, []);
  });

  it("has every key of Compose files, once", () => {
    const known = Object.entries(composeKeys).flatMap(([at, table]) =>
      Object.keys(table).map((key) => `${at}${key}`),
    );
    // Taken by the loader, before the tables.
    known.push("include", "services.*.extends");
    deepEqual(keys.map(({ key }) => key).sort(), known.sort());
  });

  it("says of each whether it is warned about, with the reason that users are told", () => {
    for (const [at, table] of Object.entries(composeKeys))
      for (const [key, { ignored }] of Object.entries(table)) {
        const row = keys.find((one) => one.key === `${at}${key}`);
        if (row?.fate === "client") continue;
        deepEqual(row, {
          key: `${at}${key}`,
          fate: ignored === undefined ? (row?.fate === "label" ? "label" : "used") : "warned",
          how: ignored ?? row?.how ?? "",
        });
      }
  });

  it("names labels and keys that the translation knows", () => {
    for (const { key, fate, how } of keys) {
      const name = key.split(".").at(-1) ?? "";
      if (fate === "label")
        for (const [, label = ""] of how.matchAll(/`(skep\.[\w.-]+)`/g))
          ok(sources.includes(label), `${key}: ${label}`);
      if (fate !== "warned") ok(new RegExp(`\\b${name}\\b`).test(sources), key);
    }
  });
});
