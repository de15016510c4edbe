/** Builds the project: the schema's static module first, then TypeScript into `build/`. Incremental and quiet. */
import { spawnSync } from "node:child_process";
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
