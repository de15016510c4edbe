/**
 * Runs whole scenario files and says which cases gave something else than they should.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Case, readCases } from "./case-file.ts";
import { Interaction } from "./interaction.ts";
import { ConfChangeRun, runQuorumCase } from "./tables.ts";

/** What the cases of a file are about. */
export type CaseSet = "quorum" | "confchange" | "interaction";

/** One case with both outputs, log lines taken out. */
export interface CaseResult {
  readonly case: Case;
  readonly expected: string;
  readonly actual: string;
}

/** The scenario files in a folder, by name. */
export function scenarioFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".txt"))
    .sort()
    .map((name) => join(folder, name));
}

/** Runs every case of the file, also after one that differs. */
export function runFile(path: string, set: CaseSet): CaseResult[] {
  const run = runnerOf(set);
  return readCases(path).map((one) => ({
    case: one,
    expected: withoutLogLines(one.expected),
    actual: withoutLogLines(run(one)),
  }));
}

/** The cases that differ, in words; empty when all are as they should be. */
export function differences(path: string, results: readonly CaseResult[]): string {
  return results
    .filter(({ expected, actual }) => expected !== actual)
    .map(
      ({ case: one, expected, actual }) =>
        `${path}:${one.line} ${one.command}\nexpected:\n${expected}actual:\n${actual}`,
    )
    .join("\n");
}

/** Writes what came out into the file as what is expected; for new scenarios, to be read before they are kept. */
export function rewriteFile(path: string, results: readonly CaseResult[]): void {
  const lines = readFileSync(path, "utf8").split("\n");
  for (const { case: one, actual } of [...results].reverse()) {
    const [from, to] = one.expectedRange;
    lines.splice(from, to - from, ...actual.trimEnd().split("\n"));
  }
  writeFileSync(path, `${lines.join("\n").trimEnd()}\n`);
}

function runnerOf(set: CaseSet): (one: Case) => string {
  switch (set) {
    case "quorum":
      return runQuorumCase;
    case "confchange": {
      const run = new ConfChangeRun();
      return (one) => run.run(one);
    }
    case "interaction": {
      const run = new Interaction();
      return (one) => run.run(one);
    }
  }
}

/** A case whose output was nothing but log lines had, without them, nothing to say. */
function withoutLogLines(text: string): string {
  const lines = text.split("\n").filter((line) => !/^\s*(INFO|DEBUG|WARN|ERROR|FATAL) /.test(line));
  const rest = lines.join("\n");
  return rest === "" ? "ok\n" : rest;
}
