/** That what is called often is compiled sooner: counted by V8 itself, in processes of their own. */
import { equal, ok } from "node:assert/strict";
import { execFileSync } from "node:child_process";

const compileSoonUrl = new URL("../../../../../src/common/memory/compile-soon.js", import.meta.url)
  .href;

/** Begins of a process. */
const begins = {
  usual: "",
  soon: "compileSoon();",
  "soon, in the midst of work":
    "compileSoon(); void compileLaterDuring(() => new Promise(() => undefined));",
  "soon, work still going on":
    "compileSoon(); void compileLaterDuring(() => new Promise(() => undefined)); await compileLaterDuring(async () => undefined);",
  "soon, after work": "compileSoon(); await compileLaterDuring(async () => undefined);",
  "soon, after work that failed":
    "compileSoon(); await compileLaterDuring(() => Promise.reject(new Error('no'))).catch(() => undefined);",
  "usual, in the midst of work": "void compileLaterDuring(() => new Promise(() => undefined));",
};

/** Calls of a small function in a thread until V8 has optimized it, without the threads in which it would do so meanwhile. */
function callsUntilCompiled(options: {
  readonly begin: keyof typeof begins;
  readonly inWorker: boolean;
}) {
  const count = `
    let sum = 0;
    const work = () => { for (let i = 0; i < 20; i++) sum += i * 2; };
    let calls = 0;
    // Bit 6 says that it is optimized.
    while ((%GetOptimizationStatus(work) & 64) === 0 && calls < 100_000) { work(); calls++; }
    process.stdout.write(String(calls));`;
  const main = options.inWorker
    ? `const { Worker } = await import("node:worker_threads"); new Worker(${JSON.stringify(count)}, { eval: true });`
    : count;
  const imported = `const { compileSoon, compileLaterDuring } = await import(${JSON.stringify(compileSoonUrl)});`;
  const flags = ["--allow-natives-syntax", "--no-concurrent-recompilation", "--no-use-osr"];
  const text = `${imported}\n${begins[options.begin]}\n${main}`;
  const script = ["--input-type=module", "--eval", text];
  return Number(execFileSync(process.execPath, [...flags, ...script], { encoding: "utf8" }));
}

describe("src/common/memory/compile-soon", () => {
  for (const inWorker of [false, true]) {
    it(`has V8 optimize after a quarter of the calls, ${inWorker ? "in a worker thread" : "in the main thread"}`, () => {
      const usual = callsUntilCompiled({ begin: "usual", inWorker });
      const soon = callsUntilCompiled({ begin: "soon", inWorker });
      ok(soon <= usual / 4, `${soon} calls instead of ${usual}`);
    });

    it(`leaves V8 its time while work goes on, ${inWorker ? "in a worker thread" : "in the main thread"}`, () => {
      const calls = (begin: keyof typeof begins) => callsUntilCompiled({ begin, inWorker });
      const [usual, soon] = [calls("usual"), calls("soon")];
      equal(calls("soon, in the midst of work"), usual);
      equal(calls("soon, work still going on"), usual);
      equal(calls("soon, after work"), soon);
      equal(calls("soon, after work that failed"), soon);
      equal(calls("usual, in the midst of work"), usual);
    });
  }
});
