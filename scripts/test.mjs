/**
 * Runs the suites and ends with one line: `N passed, N failed` (`, N skipped` when there were any).
 *
 *   node scripts/test.mjs check   build, lint, unit: the quick gate
 *   node scripts/test.mjs all     the whole gate: setup, build, lint, unit, simulator, mutants, integration, end to end, demo
 *   node scripts/test.mjs long    what takes longer: 500 tasks under random kills, 100 x stack rm and deploy, names over 200 steps, 24,000 connections, many
 *                                 seeds, all mutants
 *   node scripts/test.mjs SUITE…  single suites by name (see `suites`)
 *
 * Every step prints what it does and how long it took. A step that fails does not stop the others, except that nothing
 * runs after a failed build. Reports are left in build/reports. Around the suites that start processes, the whole
 * machine is compared (test/support/leaks.ts): what is left behind counts as a failure.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
process.chdir(top);
const reports = "build/reports";

const minute = 60_000;
const suites = {
  setup: () => command("setup", ["scripts/setup"], 10 * minute),
  build: () => command("build", [process.execPath, "scripts/build.mjs"], 5 * minute),
  lint: () => command("lint", ["node_modules/.bin/biome", "check", "."], 2 * minute),
  unit: () =>
    mocha("unit", ["build/test/unit/**/*.test.js", "build/test/tidy.test.js"], {
      timeoutMs: 5 * minute,
      testMs: 20_000,
    }),
  // For the quick gate, which has a minute.
  halves: () => sideBySide(["unit-others", "lint", "unit-manager"]),
  "unit-manager": () =>
    mocha("unit-manager", ["build/test/unit/manager/**/*.test.js"], {
      timeoutMs: 5 * minute,
      testMs: 60_000,
    }),
  "unit-others": () =>
    mocha("unit-others", ["build/test/unit/**/*.test.js", "build/test/tidy.test.js"], {
      timeoutMs: 5 * minute,
      testMs: 60_000,
      without: ["build/test/unit/manager/**"],
    }),
  integration: () =>
    mocha("integration", ["build/test/integration/**/*.test.js"], {
      timeoutMs: 40 * minute,
      testMs: 5 * minute,
    }),
  e2e: () =>
    mocha("e2e", ["build/test/e2e/**/*.test.js"], {
      timeoutMs: 40 * minute,
      testMs: 5 * minute,
      without: [alone, ...dataPath, ...dataPathFaults],
    }),
  "data-path": () => mocha("data-path", dataPath, { timeoutMs: 40 * minute, testMs: 5 * minute }),
  "data-path-faults": () =>
    mocha("data-path-faults", dataPathFaults, { timeoutMs: 40 * minute, testMs: 5 * minute }),
  alone: () => mocha("alone", [alone], { timeoutMs: 5 * minute, testMs: 2 * minute }),
  demo,
  quick: () => sideBySide(["sim", "unit", "lint", "mutants"]),
  beside: () => sideBySide(["e2e", "integration", "data-path", "data-path-faults", "demo"]),
  sim: () => program("sim", "build/test/sim/run.js", ["--seeds", "200"], 10 * minute),
  mutants: () => program("mutants", "build/test/sim/mutants.js", ["--only", "1,2,3"], 10 * minute),
  "sim-long": () =>
    program("sim-long", "build/test/sim/run.js", ["--seeds", "20000"], 240 * minute),
  "mutants-long": () => program("mutants-long", "build/test/sim/mutants.js", [], 240 * minute),
  "names-long": () => {
    Object.assign(process.env, { SKEP_NAME_STEPS: "200", SKEP_NAME_CUT_MS: "30000" });
    const limits = { timeoutMs: 80 * minute, testMs: 70 * minute };
    return mocha("names-long", ["build/test/e2e/names.test.js"], limits);
  },
  "load-long": () => {
    Object.assign(process.env, { SKEP_CONNECTIONS: "24000" });
    const limits = { timeoutMs: 15 * minute, testMs: 12 * minute };
    return mocha("load-long", ["build/test/e2e/network-load.test.js"], limits);
  },
  churn: () => program("churn", "build/test/churn/run.js", [], 30 * minute),
  stacks: () => program("stacks", "build/test/churn/stacks.js", [], 30 * minute),
};
/** Compares the whole machine around each of its tests: nothing else may run beside it. */
const alone = "build/test/e2e/playground.test.js";
/** The end-to-end tests of the data path, in two parts that are about as long as each other. */
const dataPath = ["names", "network", "network-load", "encrypted", "explain"].map(
  (name) => `build/test/e2e/${name}.test.js`,
);
const dataPathFaults = ["build/test/e2e/network-faults.test.js"];
const groups = {
  check: ["build", "halves"],
  // They wait for timers and processes most of the time, and share nothing but the machine.
  all: ["setup", "build", "quick", "beside", "alone"],
  long: ["build", "churn", "stacks", "names-long", "load-long", "sim-long", "mutants-long"],
};
/** Suites that start processes, namespaces and links: the machine is compared around them. */
const leaving = new Set([
  "integration",
  "e2e",
  "data-path",
  "data-path-faults",
  "demo",
  "beside",
  "alone",
  "names-long",
  "load-long",
]);

/** Name of the suite whose step runs here, while several run side by side. */
const lane = new AsyncLocalStorage();
const total = { passed: 0, failed: 0, skipped: 0 };
const running = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => interrupted(signal));

const asked = process.argv.slice(2);
const wanted = (asked.length === 0 ? ["all"] : asked).flatMap((name) => groups[name] ?? [name]);
for (const name of wanted) {
  if (!(name in suites)) {
    console.error(
      `no suite is called ${name}; there are ${Object.keys({ ...groups, ...suites }).join(", ")}`,
    );
    process.exit(2);
  }
}
await run();
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed === 0 ? 0 : 1);

async function run() {
  let before;
  for (const name of wanted) {
    if (leaving.has(name) && before === undefined) before = await machineNow();
    const start = performance.now();
    const failedBefore = total.failed;
    console.log(`== ${name}`);
    await suites[name]();
    console.log(`   ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
    if ((name === "setup" || name === "build") && total.failed > failedBefore) return;
  }
  if (before !== undefined) await compareMachine(before);
}

/** A step that passes or fails as a whole and is no test: it counts only when it fails. */
async function command(name, words, timeoutMs) {
  const result = await start(words, timeoutMs);
  if (result !== "") fail(`${name}: ${result}`);
}

/** Two suites at a time, in this order, each line of theirs with the name of its suite before it. */
async function sideBySide(names) {
  const waiting = [...names];
  await Promise.all([inTurn(waiting), inTurn(waiting)]);
}

async function inTurn(waiting) {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const start = performance.now();
    await lane.run(name, suites[name]);
    console.log(`   ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }
}

/** The mocha suite over `globs` but the files `without`, counted from its report. */
async function mocha(name, globs, { timeoutMs, testMs, without = [] }) {
  const found = globs.filter((glob) => hasFiles(glob));
  if (found.length === 0) {
    console.log(`  no tests yet`);
    return;
  }
  const report = join(reports, `${name}.json`);
  rmSync(report, { force: true });
  const words = [process.execPath, "--enable-source-maps", "node_modules/mocha/bin/mocha.js"];
  words.push("--no-config", "--timeout", String(testMs), "--exit");
  words.push("--reporter", "scripts/mocha-reporter.cjs", "--reporter-option", `output=${report}`);
  for (const file of without) words.push("--ignore", file);
  const result = await start([...words, ...found], timeoutMs);
  await countReport(name, report, result);
}

/** The demo, of which every step counts. */
async function demo() {
  const report = join(reports, "demo.json");
  rmSync(report, { force: true });
  const words = [process.execPath, "scripts/demo.mjs", "--ci", "--report", report];
  await countReport("demo", report, await start(words, 20 * minute));
}

/** Counts the tests of a report; `result` is what went wrong with the run as a whole. */
async function countReport(name, report, result) {
  if (!existsSync(report)) {
    fail(`${name}: ended without a report (${result || "exit 0"})`);
    return;
  }
  const { tests } = JSON.parse(readFileSync(report, "utf8"));
  const { allowedSkips } = await import(join(top, "build/test/support/skips.js"));
  let failed = 0;
  for (const test of tests) {
    if (test.state === "passed") total.passed += 1;
    else if (test.state === "failed") failed += 1;
    else {
      const allowed = allowedSkips.find((skip) => skip.title.test(test.title));
      if (allowed !== undefined) {
        total.skipped += 1;
        console.log(`  skipped ${test.title}: ${allowed.reason}`);
      } else {
        failed += 1;
        console.log(`  FAILED ${test.title}: skipped, and test/support/skips.ts does not allow it`);
      }
    }
  }
  total.failed += failed;
  if (tests.length === 0) fail(`${name}: no test ran`);
  else if (result !== "" && failed === 0) fail(`${name}: ${result}`);
}

/** A program of our own that passes or fails as one check, e.g. the simulator over its seeds. */
async function program(name, file, args, timeoutMs) {
  if (!existsSync(file)) {
    console.log(`  not there yet`);
    return;
  }
  const result = await start([process.execPath, "--enable-source-maps", file, ...args], timeoutMs);
  if (result === "") total.passed += 1;
  else fail(`${name}: ${result}`);
}

function fail(message) {
  total.failed += 1;
  console.log(`  FAILED ${message}`);
}

/** Runs a command in a process group of its own; "" when it exited with 0, else what went wrong. */
function start(words, timeoutMs) {
  return new Promise((resolve) => {
    const name = lane.getStore();
    const output = name === undefined ? "inherit" : "pipe";
    const child = spawn(words[0], words.slice(1), {
      stdio: ["ignore", output, output],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => console.log(`${name}: ${line}`));
    }
    running.add(child.pid);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      killGroup(child.pid, "SIGTERM");
      setTimeout(() => killGroup(child.pid, "SIGKILL"), 10_000).unref();
    }, timeoutMs);
    child.once("error", (error) => finish(`cannot start: ${error.message}`));
    child.once("exit", (code, signal) => {
      const result = late
        ? `stopped after ${timeoutMs / 1000} s`
        : code === 0
          ? ""
          : `exit ${code ?? signal}`;
      // Its last lines are read first; a process it left behind must not hold this up.
      child.once("close", () => finish(result));
      setTimeout(() => finish(result), 2_000).unref();
    });
    function finish(result) {
      clearTimeout(timer);
      running.delete(child.pid);
      resolve(result);
    }
  });
}

function killGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group has ended by itself in the meantime.
  }
}

function interrupted(signal) {
  for (const pid of running) killGroup(pid, "SIGTERM");
  console.log(`interrupted by ${signal}`);
  process.exitCode = 1;
}

function hasFiles(glob) {
  const [folder, pattern] = glob.includes("**")
    ? glob.split("/**/*")
    : [dirname(glob), `/${glob.split("/").pop()}`];
  if (!existsSync(folder)) return false;
  return readdirSync(folder, { recursive: true }).some((path) => `/${path}`.endsWith(pattern));
}

async function machineNow() {
  const { machineState } = await import(join(top, "build/test/support/leaks.js"));
  return machineState();
}

/** What the suites left on the machine; namespaces and links go a moment after their processes, hence the wait. */
async function compareMachine(before) {
  console.log("== leaks");
  const { leftBehind } = await import(join(top, "build/test/support/leaks.js"));
  const left = await leftBehind(before, { waitMs: 10_000 });
  if (left.length === 0) {
    total.passed += 1;
    console.log("  nothing left behind");
    return;
  }
  fail("left behind on the machine:");
  for (const line of left) console.log(`    ${line}`);
}
