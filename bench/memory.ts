/**
 * What a node's processes keep in memory (acceptance B7): a manager and a worker in a playground, ten containers made on the
 * worker by the docker command, and a minute of idleness. Resident is what the kernel counts for a process (Rss of
 * `/proc/PID/smaps_rollup`), own is its share of it (Pss: pages that several processes map are divided among them).
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { dockerClient, runDocker } from "../test/support/docker.ts";
import { busyboxArchive } from "../test/support/image-archive.ts";
import { LabCluster } from "../test/support/lab-cluster.ts";
import type { BenchOptions, BenchResult } from "./main.ts";

const containers = 10;
/** After this long without work the process has given back what it gives back by itself. */
const idleMs = 60_000;

/** Runs the benchmark; needs root for the playground. */
export async function run({ quick }: BenchOptions): Promise<BenchResult> {
  const cluster = await LabCluster.form({ managers: 1, workers: 1 });
  try {
    await startContainers(cluster.lab.node("w1").socket);
    await sleep(quick ? 5_000 : idleMs);
    return {
      ...measure(cluster, "m1", "memory_manager"),
      ...measure(cluster, "w1", "memory_worker"),
    };
  } finally {
    await cluster.down();
  }
}

async function startContainers(socket: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "skep-bench-"));
  const docker = async (...args: string[]) => {
    const { code, stderr } = await runDocker(dockerClient(), socket, args);
    if (code !== 0) throw new Error(`docker ${args.join(" ")}: ${stderr}`);
  };
  try {
    const archive = join(folder, "image.tar");
    await writeFile(archive, await busyboxArchive("busybox:1"));
    await docker("load", "--input", archive);
    for (let count = 0; count < containers; count += 1) {
      await docker("run", "--detach", "--network", "none", "busybox:1", "sleep", "100000");
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The daemon of a node, its containerd and the mean of its shims. */
function measure(cluster: LabCluster, name: string, key: string): BenchResult {
  const { daemonPid } = cluster.lab.node(name);
  if (daemonPid === undefined) throw new Error(`the daemon of ${name} has ended`);
  const pids = neighbours(daemonPid);
  const containerd = pids.filter((pid) => commandOf(pid) === "containerd");
  const shims = pids.filter((pid) => commandOf(pid).startsWith("containerd-shim"));
  return {
    ...memoryOf([daemonPid], `${key}_daemon`),
    ...memoryOf(containerd, `${key}_containerd`),
    ...(shims.length > 0 ? memoryOf(shims, `${key}_shim`) : {}),
  };
}

/** Processes in the same namespace of processes. */
function neighbours(pid: number): number[] {
  const namespace = readlinkSync(`/proc/${pid}/ns/pid`);
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((other) => {
      try {
        return readlinkSync(`/proc/${other}/ns/pid`) === namespace;
      } catch {
        // It has ended meanwhile.
        return false;
      }
    });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    // It has ended meanwhile.
    return "";
  }
}

/** Means over the processes. */
function memoryOf(pids: readonly number[], key: string): BenchResult {
  const texts = pids.map((pid) => readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  const mean = (field: string) => {
    const sizes = texts.map((text) =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]),
    );
    return sizes.reduce((sum, size) => sum + size, 0) / sizes.length / 1024;
  };
  return {
    [`${key}_rss_mb`]: mean("Rss"),
    [`${key}_own_mb`]: mean("Pss"),
    [`${key}_anon_mb`]: mean("Anonymous"),
  };
}
