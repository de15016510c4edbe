/**
 * Builds the project into `build/`: the schema's static module first, then TypeScript, then drops outputs whose source
 * is gone (a removed test must not go on running), and lets the program be run by its name. Quiet unless something is wrong.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
for (const [command, ...args] of [
  [process.execPath, "scripts/proto.mjs"],
  [process.execPath, "node_modules/typescript/bin/tsc", ...process.argv.slice(2)],
]) {
  const { status } = spawnSync(command, args, { cwd: top, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
for (const folder of ["src", "manager", "agent", "test", "bench"]) dropStale(folder);
chmodSync(join(top, "build/src/bin/skep.js"), 0o755);

function dropStale(folder) {
  const outputs = join(top, "build", folder);
  if (!existsSync(outputs)) return;
  for (const entry of readdirSync(outputs, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) dropStale(path);
    else if (!existsSync(join(top, path.replace(/\.js(\.map)?$/, ".ts"))))
      rmSync(join(top, "build", path));
  }
  if (!existsSync(join(top, folder)) && readdirSync(outputs).length === 0)
    rmSync(outputs, { recursive: true });
}
