/**
 * Exits 0 when `node_modules` holds what `package-lock.json` asks for, 1 when `npm ci` is needed.
 *
 * Compares npm's own record of the last install with the lock file; packages for other platforms may be absent. A
 * `node_modules` that is a symbolic link was put there by a person on purpose and is left alone.
 */
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
process.exit(matches() ? 0 : 1);

function matches() {
  const folder = join(top, "node_modules");
  if (!existsSync(folder)) return false;
  if (lstatSync(folder).isSymbolicLink()) return true;
  const record = join(folder, ".package-lock.json");
  if (!existsSync(record)) return false;
  const wanted = packagesOf(join(top, "package-lock.json"));
  const present = packagesOf(record);
  for (const [path, entry] of wanted) {
    const there = present.get(path);
    if (there === undefined ? !entry.optional : !same(entry, there)) return false;
  }
  for (const path of present.keys()) {
    if (!wanted.has(path) || !existsSync(join(top, path))) return false;
  }
  return true;
}

function packagesOf(file) {
  const { packages } = JSON.parse(readFileSync(file, "utf8"));
  return new Map(Object.entries(packages).filter(([path]) => path !== ""));
}

function same(a, b) {
  return a.version === b.version && a.integrity === b.integrity;
}
