/**
 * Puts a second against etcd, three members each: the same client, the same RPC, the same disk, in alternating rounds.
 *
 * Part of `npm run bench -- raft`. The client speaks etcd's `KV.Put` with values of 256 B to the leader of either group,
 * plaintext, over one connection up to 10 in flight and ten above. Members of etcd talk plaintext to each other, ours
 * mutual TLS. etcd also writes its own database when it applies; ours puts into a map. Debian's `etcd-server` is wanted;
 * without it only our own numbers are given.
 */
import { type ChildProcess, execFileSync, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { testKeys } from "../test/support/raft-members.ts";
import { testCluster } from "../test/support/test-cluster.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";
import type { MemberRequest } from "./put-member.ts";
import { decodeLeads, encodePut, putMethod, statusPath } from "./put-service.ts";

const inFlight = [1, 10, 100, 1_000] as const;
const size = 3;
const valueBytes = 256;

/** A running group of either kind; `leader` is where its leader takes puts. */
interface Group {
  readonly name: "etcd" | "raft_put";
  readonly leader: string;
  close(): Promise<void>;
}

/** Runs the comparison. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const rounds = options.quick ? 3 : 7;
  const roundMs = options.quick ? 300 : 1_000;
  const folder = await mkdtemp(join(tmpdir(), "skep-bench-etcd-"));
  const groups: Group[] = [];
  const rates = new Map<string, number[]>();
  try {
    groups.push(await startOurs(join(folder, "ours")));
    if (hasEtcd()) groups.push(await startEtcd(join(folder, "etcd")));
    else process.stderr.write("bench raft: etcd is not installed (etcd-server), no comparison\n");
    for (const group of groups) {
      // The compiler of a running daemon has seen these paths; etcd is given the same time.
      for (const count of [100, 1]) await measure(group, count, 4 * roundMs);
    }
    for (let round = 0; round < rounds; round++) {
      for (const count of inFlight) {
        for (const group of groups) {
          const key = `${group.name}_c${count}`;
          rates.set(key, [...(rates.get(key) ?? []), await measure(group, count, roundMs)]);
        }
        groups.reverse();
      }
    }
  } finally {
    for (const group of groups) await group.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  return summary(rates);
}

/** Medians, and the median of each round's own ratio, as the machine is never equally busy in two rounds. */
function summary(rates: ReadonlyMap<string, readonly number[]>): BenchResult {
  const results: Record<string, number> = {};
  for (const [key, list] of rates) results[`${key}_puts_per_s`] = Math.round(median(list));
  for (const count of inFlight) {
    const theirs = rates.get(`etcd_c${count}`);
    if (theirs === undefined) continue;
    const ours = rates.get(`raft_put_c${count}`) ?? [];
    results[`raft_vs_etcd_c${count}_ratio`] = median(
      theirs.map((rate, round) => (ours[round] ?? 0) / rate),
    );
  }
  return results;
}

/** Puts a second with `count` of them in flight. */
async function measure(group: Group, count: number, ms: number): Promise<number> {
  const connections = count <= 10 ? 1 : 10;
  const clients = Array.from({ length: connections }, () => newClient(group.leader));
  try {
    const value = Buffer.alloc(valueBytes, "v");
    let done = 0;
    let over = Number.POSITIVE_INFINITY;
    const loop = async (client: Client, position: number) => {
      while (performance.now() < over) {
        await put(client, Buffer.from(`key-${position}-${done}`), value);
        done += 1;
      }
    };
    const start = performance.now();
    over = start + ms;
    const loops = Array.from({ length: count }, (_, position) => {
      return loop(at(clients, position % connections), position);
    });
    await Promise.all(loops);
    return (done * 1_000) / (performance.now() - start);
  } finally {
    for (const client of clients) client.close();
  }
}

function newClient(address: string): Client {
  return new Client(address, credentials.createInsecure(), {
    // Ten clients are ten connections.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_channelz": 0,
    "grpc.enable_http_proxy": 0,
  });
}

function put(client: Client, key: Buffer, value: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      putMethod.path,
      encodePut,
      putMethod.responseDeserialize,
      { key, value },
      (error) => {
        if (error === null) resolve();
        else reject(error);
      },
    );
  });
}

function hasEtcd(): boolean {
  try {
    execFileSync("etcd", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false; // Not installed, which is fine.
  }
}

async function startEtcd(folder: string): Promise<Group> {
  const ports = await freePorts(size * 2);
  const peerUrl = (i: number) => `http://127.0.0.1:${at(ports, size + i)}`;
  const names = Array.from({ length: size }, (_, i) => `e${i}`);
  const initial = names.map((name, i) => `${name}=${peerUrl(i)}`).join(",");
  const addresses = names.map((_, i) => `127.0.0.1:${at(ports, i)}`);
  const children = names.map((name, i) => {
    const client = `http://${at(addresses, i)}`;
    const flags = {
      name,
      "data-dir": join(folder, name),
      "listen-client-urls": client,
      "advertise-client-urls": client,
      "listen-peer-urls": peerUrl(i),
      "initial-advertise-peer-urls": peerUrl(i),
      "initial-cluster": initial,
      "log-level": "error",
    };
    const list = Object.entries(flags).map(([key, value]) => `--${key}=${value}`);
    return spawn("etcd", list, { stdio: "ignore" });
  });
  const close = () => end(children, (child) => child.kill("SIGKILL"));
  try {
    return { name: "etcd", leader: await etcdLeader(addresses), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function etcdLeader(addresses: readonly string[]): Promise<string> {
  for (let attempt = 0; attempt < 200; attempt++) {
    for (const address of addresses) if (await leads(address)) return address;
    await pause(100);
  }
  throw new Error("etcd chose no leader");
}

function leads(address: string): Promise<boolean> {
  const client = newClient(address);
  const deadline = Date.now() + 2_000;
  return new Promise((resolve) => {
    const taken = (error: unknown, value?: boolean) => {
      client.close();
      resolve(error === null && value === true);
    };
    client.makeUnaryRequest(
      statusPath,
      (bytes: Buffer) => bytes,
      decodeLeads,
      Buffer.alloc(0),
      { deadline },
      taken,
    );
  });
}

async function startOurs(folder: string): Promise<Group> {
  const children: ChildProcess[] = [];
  const close = () => end(children, (child) => child.disconnect());
  try {
    await formOurs(folder, children);
    return {
      name: "raft_put",
      leader: await ask<string>(at(children, 0), { type: "serve" }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Starts our members into `children`; the first one leads. */
async function formOurs(folder: string, children: ChildProcess[]): Promise<void> {
  const cluster = await testCluster();
  let first: { readonly address: string; readonly nodeId: string } | undefined;
  for (let i = 0; i < size; i++) {
    const file = fileURLToPath(new URL("./put-member.js", import.meta.url));
    const child = fork(file, { serialization: "advanced", execArgv: [] });
    children.push(child);
    const { nodeId, tls } = await cluster.node("manager");
    const member = { raftId: i + 1, nodeId, address: "127.0.0.1:0" };
    const options = {
      dataDir: join(folder, `m${i}`),
      member,
      clusterId: cluster.clusterId,
      listen: { host: "127.0.0.1", port: 0 },
      relayPath: join(folder, `m${i}.sock`),
      tls,
      keys: testKeys,
      appliedIndex: 0,
      ...(first === undefined ? { bootstrap: true } : { joinMembers: [{ raftId: 1, ...first }] }),
    };
    const address = await ask<string>(child, { type: "start", options });
    if (first === undefined) first = { address, nodeId };
    else await ask(at(children, 0), { type: "join", member: { ...member, address } });
  }
  while ((await ask<number>(at(children, 0), { type: "voters" })) < size) await pause(50);
}

function ask<T>(child: ChildProcess, request: MemberRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const exited = () => reject(new Error("a member process ended"));
    child.once("exit", exited);
    child.once("message", (answer: { readonly value?: T; readonly error?: string }) => {
      child.off("exit", exited);
      if (answer.error !== undefined) reject(new Error(answer.error));
      else resolve(answer.value as T);
    });
    child.send(request);
  });
}

async function end(
  children: readonly ChildProcess[],
  stop: (child: ChildProcess) => void,
): Promise<void> {
  const running = children.filter((child) => child.exitCode === null && child.signalCode === null);
  const ends = running.map((child) => once(child, "exit"));
  for (const child of running) stop(child);
  await Promise.all(ends);
}

/** TCP ports nobody listens on; etcd cannot be told to take any. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function at<T>(list: readonly T[], position: number): T {
  const item = list[position];
  if (item === undefined) throw new Error(`nothing at ${position} of ${list.length}`);
  return item;
}
