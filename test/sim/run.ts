/**
 * Runs histories of the simulator and reports: `run.js --seeds N [--first S] [--seed S] [--jobs J] [--report FILE]`.
 *
 * Without `--seed` the corpus (`test/sim/corpus.txt`) comes first, then N fresh seeds from `--first` on, which is drawn
 * from the time of day when it is not given. `--seed S` replays one history and shows everything about it. The exit code
 * tells whether all properties held.
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runHistory } from "./history.ts";
import { type HistoryReport, reportOf } from "./report.ts";
import { Summary } from "./summary.ts";

const here = dirname(fileURLToPath(import.meta.url));
const corpusFile = join(here, "..", "..", "..", "test", "sim", "corpus.txt");

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "0" },
    first: { type: "string" },
    seed: { type: "string" },
    jobs: { type: "string", default: "1" },
    report: { type: "string" },
    /** Stops at the first failure; for the mutation run. */
    "fail-fast": { type: "boolean", default: false },
    /** Leaves the corpus out. */
    fresh: { type: "boolean", default: false },
    /** Prints one line of JSON per history instead of a report; how workers talk to their parent. */
    worker: { type: "boolean", default: false },
  },
});

await main();

async function main(): Promise<void> {
  // Stacks are for a replay; making one for every refusal takes a tenth of the time.
  if (values.seed === undefined) Error.stackTraceLimit = 0;
  if (values.worker) await work();
  else if (values.seed !== undefined) await replay(Number(values.seed));
  else await runAll();
}

/** Runs the seeds that come in, one a line. */
async function work(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const result = await runHistory(Number(line));
    process.stdout.write(`${JSON.stringify(reportOf(result))}\n`);
  }
}

async function replay(seed: number): Promise<void> {
  const result = await runHistory(seed);
  const summary = new Summary();
  summary.add(reportOf(result));
  console.log(summary.text());
  if (result.violation === undefined) return;
  console.log(result.violation.stack);
  if (result.violation.cause !== undefined) console.log(result.violation.cause);
  console.log(result.group);
  process.exitCode = 1;
}

async function runAll(): Promise<void> {
  const first = values.first === undefined ? Math.floor(Date.now() / 1000) : Number(values.first);
  const fresh = Array.from({ length: Number(values.seeds) }, (_, at) => first + at);
  const seeds = values.fresh ? fresh : [...corpusSeeds(), ...fresh];
  const summary = new Summary();
  const jobs = Number(values.jobs);
  if (jobs > 1) await runInWorkers(seeds, jobs, summary);
  else await runHere(seeds, summary);
  console.log(summary.text());
  if (values.report !== undefined) writeFileSync(values.report, summary.json());
  if (summary.failures.length > 0) process.exitCode = 1;
}

async function runHere(seeds: readonly number[], summary: Summary): Promise<void> {
  for (const seed of seeds) {
    take(summary, reportOf(await runHistory(seed)));
    if (summary.failures.length > 0 && values["fail-fast"]) return;
  }
}

async function runInWorkers(
  seeds: readonly number[],
  jobs: number,
  summary: Summary,
): Promise<void> {
  const rest = [...seeds];
  const workers = Array.from({ length: jobs }, async () => {
    const script = fileURLToPath(import.meta.url);
    const child = spawn(process.execPath, ["--enable-source-maps", script, "--worker"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const next = () => {
      const stop = summary.failures.length > 0 && values["fail-fast"];
      const seed = stop ? undefined : rest.shift();
      if (seed === undefined) child.stdin.end();
      else child.stdin.write(`${seed}\n`);
    };
    next();
    for await (const line of createInterface({ input: child.stdout })) {
      take(summary, JSON.parse(line) as HistoryReport);
      next();
    }
  });
  await Promise.all(workers);
}

function take(summary: Summary, report: HistoryReport): void {
  summary.add(report);
  if (report.failure === undefined) return;
  console.log(`seed ${report.seed}: ${report.failure}`);
  console.log(`  replay: npm run test:sim -- --seed ${report.seed}`);
}

function corpusSeeds(): number[] {
  const lines = readFileSync(corpusFile, "utf8").split("\n");
  return lines.filter((line) => /^\d/.test(line)).map((line) => Number.parseInt(line, 10));
}
