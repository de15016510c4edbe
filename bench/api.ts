/**
 * Config creates over the HTTP API on three managers in a playground, with 1 and with 20 clients.
 *
 * Clients keep their connection, as SDKs do, and are spread over the managers; each waits for its answer before it sends
 * the next request. The cluster is formed through the same API. Medians of 7 alternating rounds, after a warm-up: the
 * compiler of a daemon has seen its paths after the first thousands of requests.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formSwarm } from "../src/playground/engine-client.ts";
import { type NodeView, Playground } from "../src/playground/playground.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";

const managers = ["m1", "m2", "m3"];

/** Runs the benchmark; needs root for the playground. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const lab = Playground.create({ dir: join(folder, "lab"), nodes: managers });
  try {
    await lab.up();
    await formSwarm(lab.nodes().map((node) => ({ ...node, role: "manager" as const })));
    await allVoters(lab);
    const durationMs = options.quick ? 1_000 : 4_000;
    await createsPerSecond(lab, 20, 3 * durationMs); // warms up compilers and connections
    const c1: number[] = [];
    const c20: number[] = [];
    for (let round = 0; round < (options.quick ? 1 : 7); round++) {
      c1.push(await createsPerSecond(lab, 1, durationMs));
      c20.push(await createsPerSecond(lab, 20, durationMs));
    }
    return {
      api_config_create_c1_per_s: median(c1),
      api_config_create_c20_per_s: median(c20),
    };
  } finally {
    await lab.down();
    rmSync(folder, { recursive: true, force: true });
  }
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
