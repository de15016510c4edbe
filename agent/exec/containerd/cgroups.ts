/**
 * Which cgroups this machine has: version, the controllers that can be used, and what crun does not get along with.
 */
import { readFileSync } from "node:fs";

/** The machine's cgroups. */
export interface CgroupFacts {
  readonly version: 1 | 2;
  /** Controllers that can hold a container: cpu, cpuset, memory, pids, blkio (io under version 2), … */
  readonly controllers: ReadonlySet<string>;
  /** Where each controller's tree is mounted; under version 2 the same place for all. */
  readonly mountOf: ReadonlyMap<string, string>;
  /** Mount points of all trees, also of those without a controller: containers have cgroups in each. */
  readonly trees: readonly string[];
  /** Whether swap can be limited too. */
  readonly swapLimit: boolean;
  /**
   * Mount point of a version 2 tree beside version 1 that has controllers of its own: crun 1.8 refuses such a machine unless
   * it does not see that tree.
   */
  readonly hybridMount: string | undefined;
}

/** Reads a file; undefined when it is absent or unreadable. */
export type ReadText = (path: string) => string | undefined;

/** The machine's cgroups, as the kernel lists them. */
export function readCgroups(read: ReadText = readText): CgroupFacts {
  const mounts = (read("/proc/self/mounts") ?? "").split("\n").map((line) => line.split(" "));
  const trees = mounts
    .filter(([, , type]) => type === "cgroup" || type === "cgroup2")
    .map(([, path = ""]) => path);
  const unified = mounts.find(([, , type]) => type === "cgroup2")?.[1];
  const mountOf = new Map<string, string>();
  for (const [, path = "", type, options = ""] of mounts) {
    if (type !== "cgroup") continue;
    for (const option of options.split(",")) {
      if (knownControllers.has(option)) mountOf.set(option, path);
    }
  }
  const unifiedControllers = wordsOf(unified && read(`${unified}/cgroup.controllers`));
  if (mountOf.size === 0 && unified !== undefined) {
    for (const name of unifiedControllers) mountOf.set(name, unified);
    return {
      version: 2,
      controllers: new Set(unifiedControllers),
      mountOf,
      trees,
      // The file is in every cgroup but the root.
      swapLimit: unifiedControllers.includes("memory") && (read("/proc/swaps") ?? "") !== "",
      hybridMount: undefined,
    };
  }
  const memory = mountOf.get("memory");
  return {
    version: 1,
    controllers: new Set(mountOf.keys()),
    mountOf,
    trees,
    swapLimit: memory !== undefined && read(`${memory}/memory.memsw.limit_in_bytes`) !== undefined,
    hybridMount: unifiedControllers.length > 0 ? unified : undefined,
  };
}

/** How many processes of a cgroup the kernel ended for want of memory. @param path Of the cgroup, in the tree. */
export function oomKills(
  cgroups: Pick<CgroupFacts, "version" | "mountOf">,
  path: string,
  read: ReadText = readText,
): number {
  const folder = `${cgroups.mountOf.get("memory")}${path}`;
  const file = cgroups.version === 1 ? "memory.oom_control" : "memory.events";
  return Number(/^oom_kill (\d+)$/m.exec(read(`${folder}/${file}`) ?? "")?.[1] ?? 0);
}

/** Version 1 mounts have other options besides, such as `rw` and `name=systemd`. */
const knownControllers: ReadonlySet<string> = new Set([
  "blkio",
  "cpu",
  "cpuacct",
  "cpuset",
  "devices",
  "freezer",
  "hugetlb",
  "memory",
  "net_cls",
  "net_prio",
  "perf_event",
  "pids",
  "rdma",
]);

function wordsOf(text: string | undefined): string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent, or not for us: the feature is not there.
    return undefined;
  }
}
