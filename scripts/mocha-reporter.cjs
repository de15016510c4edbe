/**
 * Mocha reporter of the suites: prints failures at once and one line per file, and writes what `scripts/test.mjs`
 * counts from to the file named by the option `output`.
 */
"use strict";
const { mkdirSync, writeFileSync } = require("node:fs");
const { dirname, relative } = require("node:path");

/** One report: `{ tests: [{ title, state, ms, reason?, error? }] }`, states passed, failed and skipped. */
class Reporter {
  constructor(runner, options) {
    const output = options.reporterOption?.output ?? options.reporterOptions?.output;
    const tests = [];
    const files = new Map();
    const count = (test, state) => {
      const file = relative(process.cwd(), test.file ?? "?").replace(/^build\//, "");
      const of = files.get(file) ?? { passed: 0, failed: 0, skipped: 0, ms: 0 };
      of[state] += 1;
      of.ms += test.duration ?? 0;
      files.set(file, of);
    };
    const add = (test, state, more = {}) => {
      tests.push({ title: test.fullTitle(), state, ms: test.duration ?? 0, ...more });
      count(test, state);
    };
    runner.on("pass", (test) => add(test, "passed"));
    runner.on("pending", (test) => add(test, "skipped"));
    runner.on("fail", (test, error) => {
      const text = error?.stack ?? String(error);
      add(test, "failed", { error: text });
      console.log(`  FAILED ${test.fullTitle()}\n${text.replace(/^/gm, "    ")}`);
    });
    runner.once("end", () => {
      for (const [file, of] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const more = `${of.failed ? `, ${of.failed} failed` : ""}${of.skipped ? `, ${of.skipped} skipped` : ""}`;
        console.log(`  ${file}: ${of.passed} passed${more} (${(of.ms / 1000).toFixed(1)} s)`);
      }
      if (output !== undefined) {
        mkdirSync(dirname(output), { recursive: true });
        writeFileSync(output, JSON.stringify({ tests }, null, 1));
      }
    });
  }
}

module.exports = Reporter;
