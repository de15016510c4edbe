/**
 * The texts of all tables against golden files. After a wanted change run with SKEP_GOLDEN=write and read the difference.
 */
import { strict as assert } from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { wholeTable } from "../../../../../agent/network/nft/table.ts";
import { cases } from "./cases.ts";

// The compiled test is below build/, the files are not.
const folder = fileURLToPath(import.meta.url).replace("/build/test/", "/test/");

describe("agent/network/nft: texts", () => {
  for (const [name, table] of cases) {
    it(`has ${name} as before`, () => {
      const file = new URL(`golden/${name}.nft`, `file://${folder}`);
      const text = wholeTable(table);
      if (process.env["SKEP_GOLDEN"] === "write") writeFileSync(file, text);
      assert.equal(text, readFileSync(file, "utf8"));
    });
  }
});
