/**
 * Our own scenarios for the Raft core, in `scenarios/*.txt` beside the source of this file, one fact or more each.
 *
 * With SKEP_SCENARIOS_REWRITE=1 the files get what came out as what is expected; read the difference before keeping it.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import {
  differences,
  rewriteFile,
  runFile,
  scenarioFiles,
} from "../../../../support/raft/runner.ts";

// Text files are not copied to build/, and tests run from the top of the repository.
const folder = join("test", "unit", "manager", "raft", "core", "scenarios");

describe("manager/raft/core scenarios", () => {
  for (const file of scenarioFiles(folder)) {
    it(`goes as written in ${basename(file)}`, () => {
      const results = runFile(file, "interaction");
      if (process.env["SKEP_SCENARIOS_REWRITE"] === "1") rewriteFile(file, results);
      else assert.equal(differences(file, results), "");
    });
  }
});
