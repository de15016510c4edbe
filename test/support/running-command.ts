/**
 * A command that goes on while a test does, and what it has printed by now.
 */
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { until } from "./wait.ts";

/** A command that goes on. */
export interface RunningCommand {
  readonly child: ChildProcessWithoutNullStreams;
  /** Everything it has printed, of both kinds. */
  output(): string;
  /** Resolves when it has printed this. */
  printed(text: string | RegExp, withinMs?: number): Promise<void>;
  /** Its exit code. */
  readonly code: Promise<number>;
}

/** Keeps what a command prints from now on. */
export function follow(child: ChildProcessWithoutNullStreams): RunningCommand {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  // A command that ends early does not read its input to the end.
  child.stdin.on("error", () => {});
  return {
    child,
    output: () => output,
    code: new Promise((resolve) => child.once("close", (code) => resolve(code ?? 255))),
    printed: async (text, withinMs = 60_000) => {
      const isThere = () => (typeof text === "string" ? output.includes(text) : text.test(output));
      await until(isThere, {
        withinMs,
        everyMs: 20,
        get what() {
          return `${text} in: ${output}`;
        },
      });
    },
  };
}
