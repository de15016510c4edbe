/**
 * The benchmarks: `npm run bench -- raft|store|ca|api|failover|idle|memory|schedule|dispatch|containers|rollout|network … [--quick] [--json]`; all of them when none is named.
 *
 * Every benchmark is a file beside this one that exports `run`, and gives numbers under stable keys which carry their unit
 * (`raft_n3_c100_commits_per_s`). With `--json` one object with all of them is the only thing on standard output.
 */
import { parseArgs } from "node:util";

/** How a benchmark is run. */
export interface BenchOptions {
  /** A short run that shows that it works; its numbers mean little. */
  readonly quick: boolean;
}

/** Numbers by key. */
export type BenchResult = Readonly<Record<string, number>>;

type Bench = (options: BenchOptions) => Promise<BenchResult>;

const names = [
  "raft",
  "store",
  "ca",
  "api",
  "failover",
  "idle",
  "memory",
  "schedule",
  "containers",
  "rollout",
  "dispatch",
  "network",
] as const;

/** Files of a benchmark, where they are not the one of its name. */
const parts: Readonly<Record<string, readonly string[]>> = {
  raft: ["raft", "etcd"],
  containers: ["containers", "service"],
  network: ["network", "network-change", "network-plan", "network-rules"],
};

const { values, positionals } = parseArgs({
  options: { json: { type: "boolean" }, quick: { type: "boolean" } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !names.some((known) => known === name));
if (unknown !== undefined) {
  process.stderr.write(`no benchmark is called ${unknown}; there are ${names.join(", ")}\n`);
  process.exit(2);
}
const results: Record<string, number> = {};
const wanted: readonly string[] = positionals.length > 0 ? positionals : names;
for (const name of wanted.flatMap((one) => parts[one] ?? [one])) {
  const run = await load(name);
  if (run === undefined) {
    process.stderr.write(`bench ${name}: not there yet\n`);
    continue;
  }
  const numbers = await run({ quick: values.quick === true });
  for (const [key, value] of Object.entries(numbers)) {
    results[key] = Math.round(value * 1000) / 1000;
    if (values.json !== true) process.stdout.write(`${key.padEnd(40)} ${results[key]}\n`);
  }
}
if (values.json === true) process.stdout.write(`${JSON.stringify(results)}\n`);
process.exit(0);

async function load(name: string): Promise<Bench | undefined> {
  const file = new URL(`./${name}.js`, import.meta.url);
  try {
    return ((await import(file.href)) as { run: Bench }).run;
  } catch (error) {
    // Only the benchmark itself may be missing, not something it needs.
    const missing = (error as NodeJS.ErrnoException & { url?: string }).url === file.href;
    if (missing) return undefined;
    throw error;
  }
}
