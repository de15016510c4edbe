/**
 * How the end of a task's container is told. Pure.
 */
import type { TaskExit } from "./controller.ts";

/** What is said of a container that ran when its node went down: nobody saw its code, Docker calls it 255. */
export const wentDownWithNode = {
  exitCode: 255,
  error: "the node went down while the container ran",
};

/** Docker's text for a task that was not stopped; empty when it ended well. */
export function exitText(exit: TaskExit): string {
  // Nothing is left that could have a code.
  if (exit.lost && exit.exitCode === 0) return exit.error;
  if (exit.exitCode === 0 && exit.error === "") return "";
  const code = `task: non-zero exit (${exit.exitCode})`;
  return exit.error === "" ? code : `${code}: ${exit.error}`;
}
