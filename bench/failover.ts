/**
 * How long writes stand still when the leader's host loses its power, under clients that write all the while (acceptance
 * A5): three managers in a playground, one client per manager and one that follows the leader, together 100 writes/s.
 *
 * The time runs from SIGKILL of the host's first process to the first write acknowledged after the longest silence that
 * follows. The killed manager is started again and has to be back before the next round. At the end every manager's list
 * is compared with what was acknowledged; a lost or doubled write fails the run.
 */
import { LabCluster } from "../test/support/lab-cluster.ts";
import { until } from "../test/support/wait.ts";
import { Writers } from "../test/support/writers.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";

const rounds = 10;
const perSecond = 25;
/** Acknowledged writes to see after a power cut before a round counts as over. */
const settledWrites = 100;

/** Runs the benchmark; needs root for the playground. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const cluster = await LabCluster.form({ managers: 3, workers: 0 });
  try {
    const writers = await Writers.start(cluster, { perSecond });
    const outages: number[] = [];
    const start = performance.now();
    for (let round = 0; round < (options.quick ? 2 : rounds); round++) {
      const tookMs = await failover(cluster, writers);
      process.stderr.write(`failover ${round + 1}: ${Math.round(tookMs)} ms\n`);
      outages.push(tookMs);
    }
    const seconds = (performance.now() - start) / 1000;
    await writers.stop();
    for (const [answer, times] of writers.answers) process.stderr.write(`${times} x ${answer}\n`);
    let faults = 0;
    for (const manager of cluster.managers) {
      const found = writers.faults(await cluster.secrets(manager));
      for (const fault of found) process.stderr.write(`${manager}: ${fault}\n`);
      faults += found.length;
    }
    if (faults > 0) throw new Error(`${faults} writes lost or doubled`);
    return {
      failover_write_ms_median: median(outages),
      failover_write_ms_min: Math.min(...outages),
      failover_write_ms_max: Math.max(...outages),
      failover_rounds: outages.length,
      failover_acked_writes: writers.acked.size,
      failover_acked_writes_per_s: writers.acked.size / seconds,
      failover_lost_or_doubled_writes: faults,
    };
  } finally {
    await cluster.down();
  }
}

async function failover(cluster: LabCluster, writers: Writers): Promise<number> {
  const leader = await cluster.leader();
  writers.follow(leader);
  await acknowledged(writers, performance.now());
  const { hostPid } = cluster.lab.node(leader);
  if (hostPid === undefined) throw new Error(`${leader} is off already`);
  const killed = performance.now();
  process.kill(hostPid, "SIGKILL");
  await cluster.lab.killNode(leader);
  const others = cluster.managers.filter((name) => name !== leader);
  writers.follow(await cluster.leader(others));
  await acknowledged(writers, killed);
  const tookMs = writers.outageMs(killed);
  await cluster.lab.startNode(leader);
  await cluster.ready();
  return tookMs;
}

async function acknowledged(writers: Writers, since: number): Promise<void> {
  await until(
    () => [...writers.acked.values()].filter((time) => time > since).length >= settledWrites,
    { withinMs: 120_000, what: `${settledWrites} writes acknowledged` },
  );
}
