/**
 * Starts the long-lived processes of a playground: they outlive the command that started them, and say `ready` on their
 * standard output once they are.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { idVariable, partVariable } from "./processes.ts";

/** Who the process is and where its messages go. */
export interface DetachedOptions {
  readonly id: string;
  readonly part: string;
  readonly logFile: string;
}

/**
 * Resolves with the pid once the process has said `ready`.
 *
 * @throws ClusterError `internal` with its messages when it ends before.
 */
export function startDetached(words: readonly string[], options: DetachedOptions): Promise<number> {
  const [command = "", ...args] = words;
  const log = openSync(options.logFile, "a");
  const child = spawn(command, args, {
    env: { ...process.env, [idVariable]: options.id, [partVariable]: options.part },
    stdio: ["ignore", "pipe", log],
    detached: true,
    cwd: "/",
  });
  closeSync(log);
  const { stdout } = child;
  return new Promise((resolve, reject) => {
    stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (!text.includes("ready") || child.pid === undefined) return;
      stdout.destroy();
      child.unref();
      resolve(child.pid);
    });
    child.once("error", (error) => reject(failure(options, error.message, error)));
    child.once("exit", () => reject(failure(options, lastLines(options.logFile))));
  });
}

/** The end of a log file, for messages. */
export function lastLines(file: string, count = 15): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-count).join("\n");
  } catch {
    // Nothing was logged.
    return "";
  }
}

function failure(options: DetachedOptions, message: string, cause?: unknown): ClusterError {
  return new ClusterError(
    "internal",
    `${options.part} of the playground did not start: ${message}`,
    {
      cause,
    },
  );
}
