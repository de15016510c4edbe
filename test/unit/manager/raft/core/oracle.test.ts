/**
 * The scenario files of etcd-io/raft, run against our core: 41 files with 743 cases.
 *
 * They are not part of this repository; the folder is named by SKEP_RAFT_ORACLE or lies beside the checkout.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type CaseSet,
  differences,
  runFile,
  scenarioFiles,
} from "../../../../support/raft/runner.ts";

const folder = process.env["SKEP_RAFT_ORACLE"] ?? join("..", "shared", "testdata", "etcd-raft");
const sets: readonly { name: CaseSet; files: number; cases: number }[] = [
  { name: "quorum", files: 4, cases: 127 },
  { name: "confchange", files: 9, cases: 58 },
  { name: "interaction", files: 28, cases: 558 },
];

describe("manager/raft/core oracle", () => {
  let passed = 0;

  if (!existsSync(folder)) {
    it("runs the scenario files of etcd-io/raft: skipped, raft oracle folder is absent", function () {
      this.skip();
    });
    return;
  }

  for (const set of sets) {
    let cases = 0;
    const files = scenarioFiles(join(folder, set.name));
    for (const file of files) {
      it(`agrees with ${set.name}/${basename(file)}`, () => {
        const results = runFile(file, set.name);
        cases += results.length;
        assert.equal(differences(file, results), "");
        passed += results.length;
      });
    }
    it(`ran ${set.cases} cases in ${set.files} files of ${set.name}`, () => {
      assert.deepEqual([files.length, cases], [set.files, set.cases]);
    });
  }

  it("passed 743 of 743 cases", () => {
    assert.equal(passed, 743);
  });
});
