/**
 * Config creates over the HTTP API on three managers in a playground, with 1 and with 20 clients.
 *
 * Clients keep their connection, as SDKs do, and are spread over the managers; each waits for its answer before it sends
 * the next request. The cluster is formed through the same API. Medians of 7 alternating rounds, after a warm-up: the
 * compiler of a daemon has seen its paths after the first thousands of requests. Docker's swarm of three managers does
 * the same in the same rounds. Precedence given to the benchmark (`autogroup`) holds for the daemons of both.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formSwarm } from "../src/playground/engine-client.ts";
import { type NodeView, Playground } from "../src/playground/playground.ts";
import { startDockerSwarm } from "./docker-swarm.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";

const managers = ["m1", "m2", "m3"];

/** Runs the benchmark; needs root for the playground. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const labs = new Map<string, Playground>();
  try {
    const docker = await startDockerSwarm(join(folder, "docker"), managers);
    if (docker !== undefined) labs.set("docker", docker);
    labs.set("api", await startOurs(join(folder, "lab")));
    const durationMs = options.quick ? 1_000 : 4_000;
    for (const lab of labs.values()) {
      sharePrecedence(lab);
      await allVoters(lab);
      // Warms up compilers and connections.
      await createsPerSecond(lab, 20, 3 * durationMs);
      await createsPerSecond(lab, 1, durationMs);
    }
    const rates = new Map<string, number[]>();
    const order = [...labs];
    for (let round = 0; round < (options.quick ? 1 : 7); round++) {
      for (const clients of [1, 20]) {
        for (const [name, lab] of order) {
          const key = `${name}_config_create_c${clients}`;
          const rate = await createsPerSecond(lab, clients, durationMs);
          rates.set(key, [...(rates.get(key) ?? []), rate]);
        }
      }
      // What one does after its turn falls into that of the other: each comes first as often.
      order.reverse();
    }
    return summary(rates);
  } finally {
    for (const lab of labs.values()) await lab.down();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startOurs(folder: string): Promise<Playground> {
  const lab = Playground.create({ dir: folder, nodes: managers });
  await lab.up();
  await formSwarm(lab.nodes().map((node) => ({ ...node, role: "manager" as const })));
  return lab;
}

/**
 * Gives the daemons the precedence this process has over the rest of the machine. The kernel counts it by session, and each
 * daemon has one of its own.
 */
function sharePrecedence(lab: Playground): void {
  const own = "/proc/self/autogroup";
  if (!existsSync(own)) return;
  const [nice] = /-?\d+$/.exec(readFileSync(own, "utf8").trim()) ?? [];
  if (nice === undefined || Number(nice) >= 0) return;
  for (const { daemonPid } of lab.nodes()) {
    if (daemonPid !== undefined) writeFileSync(`/proc/${daemonPid}/autogroup`, nice);
  }
}

/** Medians, and the median of each round's own ratio to Docker's swarm, as the machine is never equally busy twice. */
function summary(rates: ReadonlyMap<string, readonly number[]>): BenchResult {
  const results: Record<string, number> = {};
  for (const [key, list] of rates) results[`${key}_per_s`] = median(list);
  for (const clients of [1, 20]) {
    const ours = rates.get(`api_config_create_c${clients}`) ?? [];
    const docker = rates.get(`docker_config_create_c${clients}`);
    if (docker === undefined) continue;
    const ratios = ours.map((rate, round) => rate / at(docker, round));
    results[`api_config_create_c${clients}_vs_docker_ratio`] = median(ratios);
  }
  return results;
}

async function createsPerSecond(
  lab: Playground,
  clients: number,
  durationMs: number,
): Promise<number> {
  const nodes = lab.nodes();
  const start = performance.now();
  const run = `${clients}-${Math.round(start)}`;
  let made = 0;
  const client = async (position: number) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const node = at(nodes, position % nodes.length);
    for (let count = 0; performance.now() - start < durationMs; count++) {
      await createConfig(node, `bench-${run}-${position}-${count}`, agent);
      made += 1;
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: clients }, (_, position) => client(position)));
  return (made * 1000) / (performance.now() - start);
}

interface ListedNode {
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Reachability: string };
}

async function allVoters(lab: Playground): Promise<void> {
  const deadline = performance.now() + 60_000;
  const ready = (node: ListedNode) =>
    node.ManagerStatus?.Reachability === "reachable" && node.Status.State === "ready";
  for (;;) {
    const list = (await call(at(lab.nodes(), 0), { path: "/nodes" }).catch(
      () => [],
    )) as ListedNode[];
    if (list.length === managers.length && list.every(ready)) return;
    if (performance.now() > deadline) throw new Error(`not all ready: ${JSON.stringify(list)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A config of 280 bytes: about what an entry of the Raft benchmark holds. */
async function createConfig(node: NodeView, name: string, agent?: Agent): Promise<void> {
  const body = { Name: name, Data: Buffer.alloc(150, "x").toString("base64") };
  await call(node, { path: "/configs/create", body, ...(agent === undefined ? {} : { agent }) });
}

interface Call {
  readonly path: string;
  readonly body?: unknown;
  readonly agent?: Agent;
}

function call(node: NodeView, c: Call): Promise<unknown> {
  const text = c.body === undefined ? undefined : JSON.stringify(c.body);
  return new Promise((resolve, reject) => {
    const sent = request({
      socketPath: node.socket,
      path: c.path,
      method: text === undefined ? "GET" : "POST",
      headers: text === undefined ? {} : { "content-type": "application/json" },
      timeout: 30_000,
      ...(c.agent === undefined ? {} : { agent: c.agent }),
    });
    sent.once("timeout", () => sent.destroy(new Error(`${c.path}: no answer`)));
    sent.once("error", reject);
    sent.once("response", (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        answer += chunk;
      });
      response.once("error", reject);
      response.once("end", () => {
        if ((response.statusCode ?? 500) >= 300) reject(new Error(`${c.path}: ${answer.trim()}`));
        else resolve(JSON.parse(answer));
      });
    });
    sent.end(text);
  });
}

function at<T>(list: readonly T[], position: number): T {
  const item = list[position];
  if (item === undefined) throw new Error(`nothing at ${position} of ${list.length}`);
  return item;
}
