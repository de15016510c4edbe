/**
 * Measures how long it takes from the store's commit until a change of one backend is in the kernel of a node: with a
 * thousand backends of one service, on one node and on five, and with a thousand services in one network.
 *
 * Five workers with real daemons and a task on each in the network; the thousand are tasks of a hollow node, whom the
 * workers' rules know as any other. The kernel itself says when packets meet the new rules (`network-watch.ts`).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { debuglog } from "node:util";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";
import type { Toggled } from "./network-manager.ts";
import { NetworkRig } from "./network-rig.ts";
import type { RulesWatch } from "./rules-watch.ts";

/** Node that is on this machine in name alone. */
const hollow = { hostname: "hollow", address: "10.77.0.250" } as const;
/** Every single figure, with NODE_DEBUG=bench. */
const debug = debuglog("bench");
/** As far apart as changes of a cluster are: each leaves something to clear away behind it. */
const pauseMs = 100;

/** Runs the measurement. */
export async function run({ quick }: BenchOptions): Promise<BenchResult> {
  const nodes = quick ? 2 : 5;
  const many = quick ? 100 : 1_000;
  const rounds = quick ? 4 : 20;
  const rig = await NetworkRig.up(nodes);
  try {
    await rig.manager.ask({ type: "hollow", ...hollow });
    const backends = await oneService(rig, { nodes, many, rounds });
    return { ...backends, ...(await manyServices(rig, { many, rounds })) };
  } finally {
    await rig.down();
  }
}

/** One service with many backends. */
async function oneService(
  rig: NetworkRig,
  o: { readonly nodes: number; readonly many: number; readonly rounds: number },
): Promise<BenchResult> {
  const network = "backends";
  const [first = "", ...others] = rig.lab.nodes().map(({ name }) => name);
  await rig.manager.ask({
    type: "network",
    name: network,
    subnet: "10.70.0.0/16",
    encrypted: false,
  });
  const emptyMb = rig.daemonMb(first);
  const watch = await client(rig, first, network);
  const service = { name: "many", on: hollow.hostname, replicas: o.many, networks: [network] };
  await rig.services([service]);
  const one = await changes(rig, { service: service.name, watches: [watch], rounds: o.rounds });
  const fullMb = rig.daemonMb(first);
  const watches = [watch];
  for (const name of others) watches.push(await client(rig, name, network));
  const all = await changes(rig, { service: service.name, watches, rounds: o.rounds });
  for (const each of watches) each.end();
  await rig.manager.ask({ type: "remove", services: [service.name] });
  return {
    [`network_backend_change_${o.many}_backends`]: o.many,
    network_backend_change_ms_median: median(one),
    network_backend_change_ms_max: Math.max(...one),
    [`network_propagation_${o.nodes}_nodes_ms_median`]: median(all),
    [`network_propagation_${o.nodes}_nodes_ms_max`]: Math.max(...all),
    network_daemon_rss_mb: emptyMb,
    [`network_daemon_${o.many}_backends_rss_mb`]: fullMb,
  };
}

/** Many services with one backend each. */
async function manyServices(
  rig: NetworkRig,
  { many, rounds }: { readonly many: number; readonly rounds: number },
): Promise<BenchResult> {
  const network = "services";
  const [first = ""] = rig.lab.nodes().map(({ name }) => name);
  await rig.manager.ask({
    type: "network",
    name: network,
    subnet: "10.71.0.0/16",
    encrypted: false,
  });
  const watch = await client(rig, first, network);
  const services = Array.from({ length: many }, (_, at) => ({
    name: `service${at}`,
    on: hollow.hostname,
    networks: [network],
  }));
  const begin = performance.now();
  await rig.services(services);
  const madeMs = performance.now() - begin;
  const times = await changes(rig, { service: "service7", watches: [watch], rounds });
  return {
    [`network_${many}_services_s`]: madeMs / 1000,
    [`network_${many}_services_change_ms_median`]: median(times),
    [`network_${many}_services_change_ms_max`]: Math.max(...times),
    [`network_daemon_${many}_services_rss_mb`]: rig.daemonMb(first),
  };
}

/** A task on a node in a network; tells of its rules. */
async function client(rig: NetworkRig, on: string, network: string): Promise<RulesWatch> {
  const [task] = await rig.services([{ name: `client-${network}-${on}`, on, networks: [network] }]);
  return rig.watch(task?.pid ?? 0);
}

/** A backend leaves, and comes, in turn; milliseconds of each from the commit until the last of these has it. */
async function changes(
  rig: NetworkRig,
  o: { readonly service: string; readonly watches: readonly RulesWatch[]; readonly rounds: number },
): Promise<number[]> {
  const times: number[] = [];
  await Promise.all(o.watches.map((watch) => watch.quiet(1_000)));
  // The first change pays for what later ones find.
  for (let round = -1; round < o.rounds; round++) {
    const { committedMs } = await rig.manager.ask<Toggled>({ type: "toggle", service: o.service });
    const taken = await Promise.all(o.watches.map((watch) => watch.after(committedMs)));
    const tookMs = Math.max(...taken) - committedMs;
    debug("%s to %d nodes: %d ms", o.service, taken.length, tookMs);
    if (round >= 0) times.push(tookMs);
    await sleep(pauseMs);
  }
  return times;
}
