/**
 * A program that tries to take several data roots, each at its moment, as daemons that start at once would: run by the
 * test of the instance lock. Takes the moment of the first and the folders; prints those it got, and holds them until its
 * standard input ends.
 */
import { lockInstance } from "../../src/node/instance-lock.ts";

/** Pause between two folders: long enough for all to be done with one, milliseconds. */
const stepMs = 10;

const [first = "0", ...folders] = process.argv.slice(2);
const got = folders.filter((dataRoot, i) => {
  while (Date.now() < Number(first) + i * stepMs) {
    // Busy on purpose: a timer would not wake all of them at the same moment.
  }
  try {
    lockInstance({ dataRoot, pidFile: undefined });
    return true;
  } catch {
    // Another one was quicker.
    return false;
  }
});
process.stdout.write(`${JSON.stringify(got)}\n`);
process.stdin.resume();
