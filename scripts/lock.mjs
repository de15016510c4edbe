/**
 * Completes `package-lock.json` after dependencies changed: `node scripts/lock.mjs`.
 *
 * Tools with native parts have one optional package per platform. npm leaves those out of the lock file that the registry
 * in use does not offer, and then `npm ci` refuses the file it wrote itself. So each such package gets an entry with the
 * version its parent asks for, and the platform in its name, which makes `npm ci` pass over it elsewhere.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const file = join(dirname(fileURLToPath(import.meta.url)), "../package-lock.json");
const systems = ["android", "darwin", "freebsd", "linux", "openharmony", "win32", "aix", "sunos"];
const processors = [
  "arm64",
  "arm",
  "x64",
  "ia32",
  "ppc64",
  "riscv64",
  "s390x",
  "loong64",
  "mips64el",
];

const lock = JSON.parse(readFileSync(file, "utf8"));
const added = {};
for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    if (lock.packages[path] !== undefined) continue;
    added[path] = entry(name, version, parent.dev === true);
  }
}
const paths = [...Object.keys(lock.packages), ...Object.keys(added)].sort();
lock.packages = Object.fromEntries(paths.map((path) => [path, lock.packages[path] ?? added[path]]));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);

function entry(name, version, dev) {
  const words = name.split("/").pop().split("-");
  const os = systems.find((system) => words.includes(system));
  const cpu = processors.find((processor) => words.includes(processor));
  if (os === undefined || cpu === undefined || !/^\d+\.\d+\.\d+/.test(version)) {
    throw new Error(`${name}@${version} is missing from the lock file and names no platform`);
  }
  const libc = name.includes("musl") ? ["musl"] : name.includes("gnu") ? ["glibc"] : undefined;
  return {
    version,
    cpu: [cpu],
    ...(dev ? { dev } : {}),
    ...(libc === undefined || os !== "linux" ? {} : { libc }),
    optional: true,
    os: [os],
  };
}
