/**
 * What this node can do for containers: cgroups, capabilities, kernel, init, folders in memory.
 */
import { accessSync, constants, mkdirSync, readFileSync, statfsSync } from "node:fs";
import { arch, hostname, release } from "node:os";
import { join } from "node:path";
import { capabilitiesOfMask } from "./capabilities.ts";
import { type CgroupFacts, readCgroups } from "./cgroups.ts";

/** Facts of the node that go into specs. */
export interface NodeFacts {
  readonly cgroups: CgroupFacts;
  readonly capabilities: ReadonlySet<string>;
  /** As Node names it. */
  readonly arch: string;
  readonly kernel: readonly [number, number];
  /** Static init for containers; undefined where none is installed. */
  readonly initPath: string | undefined;
}

/** Reads the facts. */
export function readNodeFacts(): NodeFacts {
  const [major = 0, minor = 0] = release().split(/[.-]/).map(Number);
  return {
    cgroups: readCgroups(),
    capabilities: capabilitiesOfMask(
      /^CapBnd:\s*([0-9a-f]+)/m.exec(readText("/proc/self/status"))?.[1] ?? "0",
    ),
    arch: arch(),
    kernel: [major, minor],
    initPath: findProgram(["docker-init", "tini-static", "catatonit"]),
  };
}

/** The machine's name, which containers in its namespaces have too. */
export function nodeHostname(): string {
  return hostname();
}

/** Path of the first of these programs that is installed. */
export function findProgram(names: readonly string[]): string | undefined {
  const folders = [
    "/usr/libexec/docker",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
    "/sbin",
    "/bin",
  ];
  for (const name of names) {
    for (const folder of [...(process.env["PATH"] ?? "").split(":"), ...folders]) {
      if (!folder.startsWith("/")) continue;
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  return undefined;
}

/** Number of tmpfs in `statfs`. */
const tmpfsType = 0x01021994;

/**
 * A folder whose content never reaches a disk, below the first of the given ones that is in memory; undefined when none is.
 */
export function memoryFolder(candidates: readonly string[], name: string): string | undefined {
  for (const folder of candidates) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o711 });
      if (statfsSync(folder).type !== tmpfsType) continue;
      const path = join(folder, name);
      mkdirSync(path, { recursive: true, mode: 0o700 });
      return path;
    } catch {
      // Not there and not to be made: the next.
    }
  }
  return undefined;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent on this kernel.
    return "";
  }
}
