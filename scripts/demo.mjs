/**
 * `npm run demo`: plays the steps of `demo-steps.mjs` on a stage of five simulated hosts. Each command is printed before it
 * runs, with its output below, and each step ends with what it has proved. The first step that fails is the last: the exit
 * code is 1 then. Everything is removed in any case, also after an interruption.
 *
 *   --step          wait for Enter before each step
 *   --ci            for a run that nobody watches: ends after some minutes, prints of what works the proofs only
 *   --report FILE   write what `scripts/test.mjs` counts from
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { Stage } from "./demo-stage.mjs";
import { steps } from "./demo-steps.mjs";

/** Ten times what a machine of two cores needs that does nothing else. */
const ciLimitMs = 15 * 60_000;
/** What is under way when the demo is stopped has this long to end. */
const settleMs = 60_000;

const { values: options } = parseArgs({
  options: {
    step: { type: "boolean" },
    ci: { type: "boolean" },
    report: { type: "string" },
  },
});

/** Lines of the step that is played, which `--ci` shows only when it fails. */
let lines = [];
const report = [];
const stage = new Stage((text) => {
  lines.push(text);
  if (options.ci !== true || text.trimStart().startsWith("proved: ")) print(text);
});
const stopping = new Promise((resolve) => {
  const stop = (reason) => {
    stage.stopped ??= reason instanceof Error ? reason : new Error(`stopped by ${reason}`);
    resolve();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop(signal));
  for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, stop);
  // Nobody may be reading any more.
  process.stdout.on("error", stop);
  const isLate = () => stop(new Error(`not over after ${ciLimitMs / 60_000} minutes`));
  if (options.ci === true) setTimeout(isLate, ciLimitMs).unref();
});

const began = performance.now();
const isPlayed = await play();
const isCleared = await timed("Everything is removed again", clear);
if (options.report !== undefined) {
  mkdirSync(dirname(options.report), { recursive: true });
  writeFileSync(options.report, JSON.stringify({ tests: report }, null, 1));
}
const isFine = isPlayed && isCleared;
print(`\n${isFine ? "All of it was proved" : "The demo failed"}, after ${secondsSince(began)}`);
process.exit(isFine ? 0 : 1);

/** Whether all steps went well. */
async function play() {
  for (const [title, step] of Object.entries(steps)) {
    if (options.step === true) await enter(title);
    if (!(await timed(title, step))) return false;
  }
  return true;
}

/** Plays one step; resolves with whether it went well. */
async function timed(title, step) {
  print(`\n== ${title}`);
  lines = [];
  const start = performance.now();
  const played = outcome(step);
  const stopped = stopping.then(() => stage.stopped);
  const error = step === clear ? await played : await Promise.race([played, stopped]);
  // What it has begun comes to its end, so that nothing starts while everything is removed.
  if (error === stage.stopped) await Promise.race([played, pause(settleMs)]);
  if (error !== undefined && options.ci === true) print(lines.join("\n"));
  if (error === undefined) print(`  ${secondsSince(start)}`);
  else print(`  FAILED: ${error.message}${causeOf(error)}`);
  report.push({
    ...{ title: `demo: ${title}`, state: error === undefined ? "passed" : "failed" },
    ms: Math.round(performance.now() - start),
    ...(error === undefined ? {} : { error: error.stack }),
  });
  return error === undefined;
}

/** The error of a step; undefined when it has none. */
async function outcome(step) {
  try {
    await step(stage);
    return step === clear ? undefined : stage.stopped;
  } catch (error) {
    return error;
  }
}

function clear() {
  return stage.clear();
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function enter(title) {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const asked = terminal.question(`\nEnter goes on with: ${title} `);
  await Promise.race([asked.catch(() => {}), stopping]);
  terminal.close();
}

function causeOf({ cause }) {
  return cause instanceof Error ? ` (${cause.message})` : "";
}

function secondsSince(start) {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

function print(text) {
  console.log(text);
}
