/**
 * What an idle cluster costs (acceptance A8): three managers and a worker in a playground with nothing to do. Resident
 * memory of each daemon, and the bytes each has written to the disk, as the kernel counts them, over five minutes.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { LabCluster } from "../test/support/lab-cluster.ts";
import type { BenchOptions, BenchResult } from "./main.ts";

/** Time given to what the forming of the cluster left to be written. */
const settleMs = 20_000;
const hourMs = 3_600_000;

/** Runs the benchmark; needs root for the playground. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const cluster = await LabCluster.form({ managers: 3, workers: 1 });
  try {
    await sleep(settleMs);
    const before = writtenBytes(cluster);
    const start = performance.now();
    await sleep(options.quick ? 10_000 : 300_000);
    const perHour = hourMs / (performance.now() - start);
    const after = writtenBytes(cluster);
    const written = after.map((bytes, position) => (bytes - (before[position] ?? 0)) * perHour);
    const resident = daemons(cluster).map((pid) => number(pid, "status", /^VmRSS:\s+(\d+) kB$/m));
    const { length } = cluster.managers;
    return {
      idle_manager_rss_mb_max: Math.max(...resident.slice(0, length)) / 1024,
      idle_worker_rss_mb: Math.max(...resident.slice(length)) / 1024,
      idle_manager_written_bytes_per_h_max: Math.max(...written.slice(0, length)),
      idle_worker_written_bytes_per_h: Math.max(...written.slice(length)),
    };
  } finally {
    await cluster.down();
  }
}

function writtenBytes(cluster: LabCluster): number[] {
  return daemons(cluster).map((pid) => number(pid, "io", /^write_bytes: (\d+)$/m));
}

function daemons({ lab }: LabCluster): number[] {
  return lab.nodes().map(({ name, daemonPid }) => {
    if (daemonPid === undefined) throw new Error(`the daemon of ${name} has ended`);
    return daemonPid;
  });
}

function number(pid: number, file: string, pattern: RegExp): number {
  const found = pattern.exec(readFileSync(`/proc/${pid}/${file}`, "utf8"))?.[1];
  if (found === undefined) throw new Error(`/proc/${pid}/${file} does not say ${pattern}`);
  return Number(found);
}
