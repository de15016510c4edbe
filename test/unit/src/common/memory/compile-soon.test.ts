/** That what is called often is compiled sooner: counted by V8 itself, in processes of their own. */
import { ok } from "node:assert/strict";
import { execFileSync } from "node:child_process";

const compileSoonUrl = new URL("../../../../../src/common/memory/compile-soon.js", import.meta.url)
  .href;

/** Calls of a small function in a thread until V8 has optimized it, without the threads in which it would do so meanwhile. */
function callsUntilCompiled(options: { readonly soon: boolean; readonly inWorker: boolean }) {
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
  const begin = options.soon
    ? `(await import(${JSON.stringify(compileSoonUrl)})).compileSoon();`
    : "";
  const flags = ["--allow-natives-syntax", "--no-concurrent-recompilation", "--no-use-osr"];
  const script = ["--input-type=module", "--eval", `${begin}\n${main}`];
  return Number(execFileSync(process.execPath, [...flags, ...script], { encoding: "utf8" }));
}

describe("compileSoon", () => {
  for (const inWorker of [false, true]) {
    it(`has V8 optimize after a quarter of the calls, ${inWorker ? "in a worker thread" : "in the main thread"}`, () => {
      const usual = callsUntilCompiled({ soon: false, inWorker });
      const soon = callsUntilCompiled({ soon: true, inWorker });
      ok(soon <= usual / 4, `${soon} calls instead of ${usual}`);
    });
  }
});
