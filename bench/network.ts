/**
 * Measures the data path beside a VXLAN path made by hand and a plain link, in alternating rounds: how much goes through one
 * TCP connection, and how many connections open in a second.
 *
 * Two workers with real daemons and real tasks; the paths by hand are between bare namespaces on the same link, made as
 * anybody would: a bridge, a VXLAN device and a link into a namespace on each host. Sender and receiver of iperf3 have a
 * processor each, so that rounds are alike; all packets of a path are dealt with by these two.
 */
import { execFile, execFileSync, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { debuglog, promisify } from "node:util";
import { until } from "../test/support/wait.ts";
import { Child } from "./child.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";
import type { CallsRequest } from "./network-calls.ts";
import { ipIn, NetworkRig } from "./network-rig.ts";

const execute = promisify(execFile);
/** Every single figure, with NODE_DEBUG=bench. */
const debug = debuglog("bench");

/** Port of iperf3, in tasks and hosts. */
const streamPort = 5_201;
const callsPort = 5_202;
const published = { [streamPort]: 8_201, [callsPort]: 8_202 } as const;
/** VXLAN network of the path by hand. */
const handVni = 77;
/**
 * Sender and receiver go before all else on the machine, so that what others do there shows less: the kernel deals with a
 * packet as a part of the program that sends it.
 */
const first = ["chrt", "--rr", "1"];
/** Connections that open at a time. */
const callsAtOnce = 16;

/** A way from one network namespace to a server in another. */
interface Path {
  /** Pid of a process in the client's namespace. */
  readonly from: number;
  /** Pid of a process in the server's namespace. */
  readonly to: number;
  readonly host: string;
  /** Ports of the servers as this way has them. */
  readonly ports: { readonly stream: number; readonly calls: number };
}

/** Runs the measurement. */
export async function run({ quick }: BenchOptions): Promise<BenchResult> {
  const rig = await NetworkRig.up(2);
  try {
    const paths = { ...(await byHand(rig)), ...(await ofSkep(rig)) };
    const streams = await throughput(rig, paths, quick ? 1 : 5);
    const calls = await connections(paths, quick ? 1 : 5);
    return { ...streams, ...calls };
  } finally {
    await rig.down();
  }
}

/** Two bare hosts, and a namespace behind each that VXLAN leads to. */
async function byHand(rig: NetworkRig): Promise<Record<string, Path>> {
  const hosts = [await handHost(rig, 1), await handHost(rig, 2)] as const;
  const [here, there] = hosts;
  const ports = { stream: streamPort, calls: callsPort };
  const through = { to: there.task, host: "10.9.9.2", ports };
  return {
    direct: { from: here.host, to: there.host, host: there.address, ports },
    vxlan: { from: here.task, ...through },
    // From outside, through the first host, which only forwards: as many hops as a client of the mesh outside has.
    vxlan_forwarded: { from: await handClient(rig, hosts), ...through },
  };
}

async function handClient(
  rig: NetworkRig,
  [here, there]: readonly [HandHost, HandHost],
): Promise<number> {
  const client = await rig.bareHost("handout", "10.77.0.211");
  const gateway = "10.9.9.254";
  execFileSync("nsenter", [
    ...[`--net=/proc/${here.host}/ns/net`, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"],
  ]);
  ipIn(here.host, [`addr add ${gateway}/24 dev br0`]);
  ipIn(there.task, [`route add default via ${gateway}`]);
  ipIn(client, [`route add 10.9.9.0/24 via ${here.address}`]);
  return client;
}

/** Pids of the host and of the namespace behind it. */
interface HandHost {
  readonly host: number;
  readonly task: number;
  readonly address: string;
}

async function handHost(rig: NetworkRig, number: 1 | 2): Promise<HandHost> {
  const address = `10.77.0.${200 + number}`;
  const other = `10.77.0.${203 - number}`;
  const host = await rig.bareHost(`hand${number}`, address);
  const task = await rig.bareSpace();
  ipIn(host, [
    "link add br0 mtu 1450 up type bridge mcast_snooping 0",
    `link add vx0 mtu 1450 type vxlan id ${handVni} local ${address} remote ${other} dstport 4789`,
    "link set vx0 master br0 up",
    `link add port0 mtu 1450 type veth peer name eth0 mtu 1450 netns ${task}`,
    "link set port0 master br0 up",
  ]);
  ipIn(task, [`addr add 10.9.9.${number}/24 dev eth0`, "link set lo up", "link set eth0 up"]);
  return { host, task, address };
}

/** Tasks on two nodes in an overlay network and in an encrypted one; the server is published. */
async function ofSkep(rig: NetworkRig): Promise<Record<string, Path>> {
  const networks = ["plain", "secret"];
  for (const [position, name] of networks.entries()) {
    const subnet = `10.6${position}.0.0/24`;
    await rig.manager.ask({ type: "network", name, subnet, encrypted: name === "secret" });
  }
  const [server, client] = await rig.services([
    { name: "server", on: "w2", networks, published },
    { name: "client", on: "w1", networks },
  ]);
  if (server === undefined || client === undefined) throw new Error("no tasks");
  const own = { stream: streamPort, calls: callsPort };
  const mesh = { stream: published[streamPort], calls: published[callsPort] };
  const entrance = rig.lab.node("w1");
  const between = { from: client.pid, to: server.pid, ports: own };
  const paths = {
    overlay: { ...between, host: server.addresses["plain"] ?? "" },
    vip: { ...between, host: server.virtualIps["plain"] ?? "" },
    encrypted: { ...between, host: server.addresses["secret"] ?? "" },
    // From a node that has no task of it, and from outside through that node.
    mesh: { from: entrance.hostPid ?? 0, to: server.pid, host: entrance.address, ports: mesh },
    mesh_outside: {
      from: await rig.bareHost("outside", "10.77.0.210"),
      ...{ to: server.pid, host: entrance.address, ports: mesh },
    },
  };
  return paths;
}

async function throughput(
  rig: NetworkRig,
  paths: Readonly<Record<string, Path>>,
  rounds: number,
): Promise<BenchResult> {
  for (const pid of new Set(Object.values(paths).map(({ to }) => to))) await streamServer(rig, pid);
  const rates = await inRounds(paths, rounds, (path) => stream(path, 2));
  return {
    ...summary(rates, "gbit_s"),
    ...Object.fromEntries(
      Object.keys(paths)
        .filter((name) => name !== "vxlan" && name !== "direct")
        .map((name) => [`network_${name}_vs_vxlan_ratio`, ratio(rates, name, "vxlan")]),
    ),
    ...Object.fromEntries(
      Object.keys(paths)
        .filter((name) => name !== "direct")
        .map((name) => [`network_${name}_vs_direct_ratio`, ratio(rates, name, "direct")]),
    ),
    network_mesh_outside_vs_vxlan_forwarded_ratio: ratio(rates, "mesh_outside", "vxlan_forwarded"),
  };
}

async function connections(
  paths: Readonly<Record<string, Path>>,
  rounds: number,
): Promise<BenchResult> {
  const children: Child<CallsRequest>[] = [];
  try {
    const open = (pid: number) => {
      const child = new Child<CallsRequest>("network-calls", { networkOf: pid });
      children.push(child);
      return child;
    };
    for (const pid of new Set(Object.values(paths).map(({ to }) => to)))
      await open(pid).ask({ type: "serve", port: callsPort });
    const clients = new Map<number, Child<CallsRequest>>();
    for (const { from } of Object.values(paths))
      if (!clients.has(from)) clients.set(from, open(from));
    const rates = await inRounds(paths, rounds, async ({ from, host, ports }) => {
      const asked = { host, port: ports.calls, forMs: 1_000, atOnce: callsAtOnce };
      return (await clients.get(from)?.ask<number>({ type: "call", ...asked })) ?? 0;
    });
    return {
      ...summary(rates, "connections_per_s"),
      ...Object.fromEntries(
        Object.keys(paths)
          .filter((name) => name !== "vxlan" && name !== "direct")
          .map((name) => [
            `network_${name}_connections_vs_vxlan_ratio`,
            ratio(rates, name, "vxlan"),
          ]),
      ),
    };
  } finally {
    for (const child of children) child.end();
  }
}

/** What each way came to in each round; a first round warms up and does not count, and every other one goes backwards. */
async function inRounds(
  paths: Readonly<Record<string, Path>>,
  rounds: number,
  measure: (path: Path) => Promise<number>,
): Promise<Map<string, number[]>> {
  const rates = new Map<string, number[]>();
  const order = Object.entries(paths);
  for (let round = 0; round <= rounds; round++) {
    for (const [name, path] of order) {
      const rate = await measure(path);
      debug("%s %d", name, rate);
      if (round > 0) rates.set(name, [...(rates.get(name) ?? []), rate]);
    }
    order.reverse();
  }
  return rates;
}

function summary(rates: ReadonlyMap<string, readonly number[]>, unit: string): BenchResult {
  return Object.fromEntries(
    [...rates].map(([name, list]) => [`network_${name}_${unit}`, median(list)]),
  );
}

/** Median of the ratios of the same round. */
function ratio(rates: ReadonlyMap<string, readonly number[]>, name: string, to: string): number {
  const others = rates.get(to) ?? [];
  return median((rates.get(name) ?? []).map((rate, round) => rate / (others[round] ?? Number.NaN)));
}

/** Gigabits per second through one connection. */
async function stream(path: Path, seconds: number): Promise<number> {
  const { from, host, ports } = path;
  const pinned = availableParallelism() > 1 ? ["-A", "0,1"] : [];
  const words = ["iperf3", "-c", host, "-p", String(ports.stream), "-t", String(seconds), "-J"];
  const command = [`--net=/proc/${from}/ns/net`, ...first, ...words, ...pinned];
  const answered = async () => {
    // It exits with 1 when it could not measure, and says why in its output.
    const { stdout } = await execute("nsenter", command).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? "{}",
    }));
    const { end, error } = JSON.parse(stdout) as StreamReport;
    if (end?.sum_received !== undefined) return end.sum_received.bits_per_second / 1e9;
    throw new Error(`${host}:${ports.stream}: ${error}`);
  };
  // The server takes a moment to be done with the one before.
  return until(answered, { withinMs: 15_000, everyMs: 100, what: `iperf3 to ${host}` });
}

/** Of what iperf3 prints as JSON. */
interface StreamReport {
  readonly error?: string;
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number } };
}

function streamServer(rig: NetworkRig, pid: number): Promise<void> {
  const words = ["iperf3", "-s", "-p", String(streamPort), "--forceflush"];
  const child = spawn("nsenter", [`--net=/proc/${pid}/ns/net`, ...first, ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  rig.follow(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`iperf3 -s ended: ${code}`)));
    createInterface(child.stdout).on("line", (line) => {
      if (line.includes("listening")) resolve();
    });
  });
}
