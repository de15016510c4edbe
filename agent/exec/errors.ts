/**
 * How the end of a task's container is told. Pure.
 */
import type { TaskExit } from "./controller.ts";

/** Docker's text for a task that ended by itself; empty when it ended well. */
export function exitText(exit: TaskExit): string {
  if (exit.lost) return exit.error === "" ? "the container ended with its node" : exit.error;
  if (exit.exitCode === 0 && exit.error === "") return "";
  const code = `task: non-zero exit (${exit.exitCode})`;
  return exit.error === "" ? code : `${code}: ${exit.error}`;
}
