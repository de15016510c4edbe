/**
 * The mutation run: plants each known bug in a copy of the compiled program and runs a few histories of the simulator,
 * the scenario suites, then the rest of the histories, until something notices:
 * `mutants.js [--only 1,2,3] [--histories N] [--report FILE]`.
 *
 * A full run passes when all but `survivorsMax` mutants are killed; one with `--only` when all are.
 */
import { spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { edited, type Mutation, mutations } from "./mutations.ts";
import type { HistoryReport } from "./report.ts";

const top = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
/** etcd's scenario files where they are beside the checkout: the copy has another neighbourhood. */
const oracle =
  process.env["SKEP_RAFT_ORACLE"] ?? join(top, "..", "shared", "testdata", "etcd-raft");
/** Mutants that may live on in a full run. */
const survivorsMax = 2;
/** Histories before the scenario suites, which take less time than more of them. */
const historiesFirst = 40;
/** Longest run of one mutant; one that runs longer hangs, which is noticed as well. */
const mutantTimeoutMs = 15 * 60_000;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    histories: { type: "string", default: "400" },
    report: { type: "string" },
  },
});

/** How a mutant ended. */
interface Outcome {
  readonly killedBy: string | undefined;
  readonly histories: number;
}

await main();

async function main(): Promise<void> {
  const only = values.only?.split(",").map(Number);
  const chosen = mutations.filter(({ id }) => only === undefined || only.includes(id));
  const copy = copyProgram();
  const unchanged = await runScenarios(copy);
  if (unchanged !== undefined) throw new Error(`without a mutation: ${unchanged} fail`);
  let killed = 0;
  const survivors: Mutation[] = [];
  try {
    for (const mutation of chosen) {
      const outcome = await runMutant(copy, mutation);
      const { killedBy, histories } = outcome;
      const name = `${String(mutation.id).padStart(2)} ${mutation.title}`;
      if (killedBy === undefined) {
        survivors.push(mutation);
        console.log(`survived ${name} (${histories} histories)`);
      } else {
        killed++;
        console.log(`killed   ${name}: ${killedBy}, after ${histories} histories`);
      }
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  const allowed = only === undefined ? survivorsMax : 0;
  const failed = Math.max(0, survivors.length - allowed);
  console.log(`${killed} of ${chosen.length} mutants killed`);
  if (values.report !== undefined) {
    writeFileSync(values.report, JSON.stringify({ passed: killed, failed, skipped: 0 }));
  }
  if (failed > 0) process.exitCode = 1;
}

/** A copy of what the simulator and the scenario suites consist of, in a place of its own. */
function copyProgram(): string {
  const copy = mkdtempSync(join(tmpdir(), "skep-mutants-"));
  for (const folder of [
    "manager",
    "src/common",
    "test/sim",
    "test/support",
    "test/unit/manager/raft",
  ]) {
    const from = join(top, "build", folder);
    if (existsSync(from)) cpSync(from, join(copy, "build", folder), { recursive: true });
  }
  for (const name of ["node_modules", "package.json", "test"]) {
    symlinkSync(join(top, name), join(copy, name));
  }
  return copy;
}

async function runMutant(copy: string, mutation: Mutation): Promise<Outcome> {
  const originals = new Map<string, string>();
  try {
    for (const edit of mutation.edits) {
      const path = join(copy, "build", edit.file);
      const text = readFileSync(path, "utf8");
      if (!originals.has(path)) originals.set(path, text);
      writeFileSync(path, edited(text, edit));
    }
    const all = Number(values.histories);
    const first = Math.min(historiesFirst, all);
    const begun = await simulate(copy, 1, first);
    if (begun.killedBy !== undefined) return begun;
    const killedBy = await runScenarios(copy);
    if (killedBy !== undefined || all === first) return { ...begun, killedBy };
    const rest = await simulate(copy, first + 1, all - first);
    return { ...rest, histories: begun.histories + rest.histories };
  } finally {
    for (const [path, text] of originals) writeFileSync(path, text);
  }
}

async function simulate(copy: string, from: number, count: number): Promise<Outcome> {
  const report = join(copy, "report.json");
  rmSync(report, { force: true });
  const script = join(copy, "build", "test", "sim", "run.js");
  const seeds = ["--seeds", String(count), "--first", String(from), "--fresh"];
  const code = await run([script, ...seeds, "--fail-fast", "--report", report], copy);
  if (!existsSync(report)) {
    return { killedBy: code === undefined ? "it hangs" : `it ends with ${code}`, histories: 0 };
  }
  const { passed, failures } = JSON.parse(readFileSync(report, "utf8")) as {
    readonly passed: number;
    readonly failures: readonly HistoryReport[];
  };
  const [first] = failures;
  if (first === undefined) return { killedBy: undefined, histories: passed };
  const text = first.failure?.split("\n")[0] ?? "";
  return { killedBy: `simulator, ${text} (seed ${first.seed})`, histories: passed + 1 };
}

/** Runs the scenario suites of Raft; says that they noticed, or nothing. */
async function runScenarios(copy: string): Promise<string | undefined> {
  const mocha = join(top, "node_modules", "mocha", "bin", "mocha.js");
  const suites = "build/test/unit/manager/raft/core/**/*.test.js";
  const code = await run([mocha, "--no-config", "--bail", "--timeout", "60000", suites], copy);
  if (code === 0) return undefined;
  return code === undefined ? "scenario suites hang" : "scenario suites";
}

/** Runs a program of Node's; its exit code, or nothing when it had to be stopped. */
function run(args: readonly string[], cwd: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const env = { ...process.env, SKEP_RAFT_ORACLE: oracle };
    const child = spawn(process.execPath, args, { cwd, env, stdio: "ignore" });
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
    }, mutantTimeoutMs);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve(code ?? undefined);
    });
  });
}
