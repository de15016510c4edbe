/**
 * Programs of the machine in a network namespace.
 */
import { spawn } from "node:child_process";
import { errorText } from "../../../src/common/errors/cluster-error.ts";

/** What came of it: the standard output, or the error's text. */
export interface ProgramAnswer {
  readonly ok: boolean;
  readonly output: string;
}

/** Runs a program; failures are answers. @param namespace File that keeps it; undefined for the daemon's own. */
export function runIn(
  namespace: string | undefined,
  program: readonly string[],
  input = "",
): Promise<ProgramAnswer> {
  const enter = namespace === undefined ? [] : ["nsenter", `--net=${namespace}`, "--"];
  const [command = "", ...args] = [...enter, ...program];
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on("data", (data: Buffer) => output.push(data));
    child.stderr.on("data", (data: Buffer) => errors.push(data));
    child.on("error", (error) => resolve({ ok: false, output: errorText(error) }));
    child.on("close", (code) => {
      const ok = code === 0;
      resolve({ ok, output: Buffer.concat(ok ? output : errors).toString() });
    });
    // The process may end before it has read all; its exit code says so.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}
