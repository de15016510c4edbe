/**
 * Runs other programs to their end and collects what they print. The playground is made of `ip`, `unshare` and
 * `nsenter` calls; all of them go through here.
 */
import { spawn } from "node:child_process";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** What a program printed and how it ended. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit code; 255 when a signal ended the program. */
  readonly code: number;
}

/** How to run a program. */
export interface RunOptions {
  /** The whole environment; that of this process when not given. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Standard input; empty when not given. */
  readonly input?: string | Uint8Array;
  /** Milliseconds after which the program is killed; 60,000 when not given. */
  readonly timeoutMs?: number;
  /** Receives nothing and gives its terminal to the program instead: for commands a person runs. */
  readonly terminal?: boolean;
}

/**
 * Runs `words` to the end. A failing program is no error of this function: look at `code`.
 *
 * @throws ClusterError `failed-precondition` when the program cannot be started.
 */
export function run(words: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [command = "", ...args] = words;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: options.env ?? process.env,
      stdio: options.terminal === true ? "inherit" : "pipe",
    });
    const timer =
      options.terminal === true ? undefined : setTimeout(stop, options.timeoutMs ?? 60_000);
    // What the program left behind may hold its output open for ever, so that is closed here too.
    function stop() {
      child.kill("SIGKILL");
      child.stdout?.destroy();
      child.stderr?.destroy();
    }
    const out = { stdout: "", stderr: "" };
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      out.stdout += chunk;
    });
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      out.stderr += chunk;
    });
    // A program that ends early closes its input before it has read it all; its exit code tells the rest.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(
        new ClusterError("failed-precondition", `cannot run ${command}: ${error.message}`, {
          cause: error,
        }),
      );
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ ...out, code: code ?? 255 });
    });
  });
}

/**
 * Runs `words` and expects it to succeed; resolves with what it printed.
 *
 * @throws ClusterError `internal` with the program's own message when it fails.
 */
export async function runWell(words: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(words, options);
  if (result.code !== 0) {
    const message = result.stderr.trim() || result.stdout.trim() || `exit ${result.code}`;
    throw new ClusterError("internal", `${words.join(" ")}: ${message}`);
  }
  return result.stdout;
}
