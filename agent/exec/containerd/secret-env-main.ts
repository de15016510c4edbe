/**
 * Stands in for runc or crun with containers that have secret variables: see `secret-env.ts`. A program of its own, started
 * by the script, with the name of the program it stands in for and all words of the call.
 *
 * Its standard streams are those of the container, and are not to be touched but to say why a call failed.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { secretEnvFiles, standInCall, withVariables, withVariablesInBundle } from "./secret-env.ts";

process.exitCode = run(process.argv.slice(2));

function run([program = "", ...args]: readonly string[]): number {
  let made: string | undefined;
  try {
    const words = [...args];
    const call = standInCall(args);
    if (call !== undefined) {
      const given = words[call.at] ?? "";
      const variables = readJson(join(call.memory, secretEnvFiles.variables));
      if (call.kind === "bundle") {
        const folder = join(call.memory, secretEnvFiles.bundle);
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        const text = readFileSync(join(given, "config.json"), "utf8");
        const spec = withVariablesInBundle(text, given, variables);
        writeFileSync(join(folder, "config.json"), spec, { mode: 0o600 });
        words[call.at] = folder;
      } else {
        made = join(call.memory, `process-${randomBytes(8).toString("hex")}.json`);
        const spec = withVariables(readJson(given), variables);
        writeFileSync(made, JSON.stringify(spec), { mode: 0o600 });
        words[call.at] = made;
      }
    }
    const { status, error } = spawnSync(program, words, { stdio: "inherit" });
    if (error !== undefined) throw error;
    return status ?? 1;
  } catch (error) {
    writeSync(2, `skep: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    if (made !== undefined) rmSync(made, { force: true });
  }
}

function readJson(path: string): Record<string, string> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
}
