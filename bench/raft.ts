/**
 * Benchmark of Raft alone: commits per second and latency with proposers in the leader's process, over mutual TLS.
 *
 * Every member is a process of its own with its log on the disk under the system's temporary folder; nothing is applied,
 * committed batches are only acknowledged. Rounds alternate between one and three members and between the numbers of
 * proposals in flight; medians are reported. `npm run bench -- raft [--json]`.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type RaftHost, type RaftHostOptions, startRaftHost } from "../manager/raft/host.ts";
import { silentLog } from "../src/common/log/log.ts";
import { testKeys } from "../test/support/raft-members.ts";
import { testCluster } from "../test/support/test-cluster.ts";
import { median } from "./median.ts";

/** How long and how often to measure. */
export interface RaftBenchOptions {
  /** A short run that shows that it works. */
  readonly quick?: boolean;
  readonly rounds?: number;
  readonly roundMs?: number;
  readonly inFlight?: readonly number[];
  readonly sizes?: readonly number[];
}

const entryBytes = 280;

type Request =
  | { readonly type: "start"; readonly options: Omit<RaftHostOptions, "log"> }
  | { readonly type: "join"; readonly member: RaftHostOptions["member"] }
  | { readonly type: "run"; readonly inFlight: number; readonly ms: number }
  | { readonly type: "voters" };

interface RoundResult {
  readonly commitsPerS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Measures and gives one number per key; keys carry their unit. */
export async function run(options: RaftBenchOptions = {}): Promise<Record<string, number>> {
  const {
    rounds = options.quick ? 1 : 7,
    roundMs = options.quick ? 300 : 1_000,
    inFlight = [1, 10, 100, 1_000],
    sizes = [1, 3],
  } = options;
  const dir = await mkdtemp(join(tmpdir(), "skep-bench-raft-"));
  const groups: BenchGroup[] = [];
  const results = new Map<string, RoundResult[]>();
  try {
    for (const size of sizes) groups.push(await BenchGroup.form(size, join(dir, `n${size}`)));
    for (const group of groups) await group.warmUp(options.quick ? 300 : 3_000);
    for (let round = 0; round < rounds; round++) {
      for (const count of inFlight) {
        for (const group of groups) {
          const key = `raft_n${group.size}_c${count}`;
          const list = results.get(key) ?? [];
          list.push(await group.measure(count, roundMs));
          results.set(key, list);
        }
      }
    }
  } finally {
    for (const group of groups) await group.close();
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  }
  return summary(results);
}

function summary(results: ReadonlyMap<string, readonly RoundResult[]>): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [key, list] of results) {
    out[`${key}_commits_per_s`] = Math.round(median(list.map((r) => r.commitsPerS)));
    out[`${key}_p50_ms`] = round3(median(list.map((r) => r.p50Ms)));
    out[`${key}_p99_ms`] = round3(median(list.map((r) => r.p99Ms)));
  }
  return out;
}

function round3(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

/** Member processes of one group; the first one leads. */
class BenchGroup {
  readonly size: number;
  readonly #children: ChildProcess[];

  private constructor(size: number, children: ChildProcess[]) {
    this.size = size;
    this.#children = children;
  }

  static async form(size: number, dir: string): Promise<BenchGroup> {
    const cluster = await testCluster();
    const children: ChildProcess[] = [];
    const group = new BenchGroup(size, children);
    let first: { readonly address: string; readonly nodeId: string } | undefined;
    for (let i = 0; i < size; i++) {
      const child = fork(fileURLToPath(import.meta.url), ["--member"], {
        serialization: "advanced",
        execArgv: [],
      });
      children.push(child);
      const node = await cluster.node("manager");
      const member = { raftId: i + 1, nodeId: node.nodeId, address: "127.0.0.1:0" };
      const started = {
        dataDir: join(dir, `m${i}`),
        member,
        clusterId: cluster.clusterId,
        listen: { host: "127.0.0.1", port: 0 },
        relayPath: join(dir, `m${i}.sock`),
        tls: node.tls,
        keys: testKeys,
        appliedIndex: 0,
        ...(first === undefined ? { bootstrap: true } : { joinMembers: [{ raftId: 1, ...first }] }),
      };
      const address = await ask<string>(child, { type: "start", options: started });
      if (first === undefined) first = { address, nodeId: node.nodeId };
      else await ask(children[0], { type: "join", member: { ...member, address } });
    }
    while ((await ask<number>(children[0], { type: "voters" })) < size) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return group;
  }

  /** Runs until the compiler has seen the paths that are measured; a daemon is past that after its first minute. */
  async warmUp(ms: number): Promise<void> {
    for (const inFlight of [1_000, 100, 1]) await this.measure(inFlight, ms);
  }

  measure(inFlight: number, ms: number): Promise<RoundResult> {
    return ask(this.#children[0], { type: "run", inFlight, ms });
  }

  async close(): Promise<void> {
    const ends = this.#children.map(
      (child) => new Promise((resolve) => child.once("exit", resolve)),
    );
    // Members end with the channel to their parent.
    for (const child of this.#children) child.disconnect();
    await Promise.all(ends);
  }
}

function ask<T>(child: ChildProcess | undefined, request: Request): Promise<T> {
  return new Promise((resolve, reject) => {
    if (child === undefined) throw new Error("no such member");
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

/** A member process: holds one host and does what the parent asks. */
class BenchMember {
  #host: RaftHost | undefined;
  /** Called with the index of every committed entry of this leader's proposals. */
  #onIndex: (index: number) => void = () => {};

  async answer(request: Request): Promise<unknown> {
    switch (request.type) {
      case "start":
        return this.#start(request.options);
      case "join":
        return this.#host?.addMember(request.member);
      case "voters":
        return this.#host?.members().filter((member) => !member.learner).length;
      case "run":
        return this.#run(request.inFlight, request.ms);
    }
  }

  async #start(options: Omit<RaftHostOptions, "log">): Promise<string> {
    const host = await startRaftHost({ ...options, log: silentLog });
    this.#host = host;
    let applied = 0;
    let term = 0;
    host.onCommitted((batch) => {
      applied = batch.lastIndex;
      term = batch.entries.at(-1)?.term ?? term;
      for (const entry of batch.entries) this.#onIndex(entry.index);
      // As a checkpoint would, so that the log does not grow for ever.
      if (applied % 1_000 === 0 || batch.entries.length > 100) host.compacted(applied);
    });
    host.onSnapshotWanted(() => Object.assign((async function* () {})(), { index: applied, term }));
    host.onSnapshotReceived(async ({ index, chunks, ...snapshot }) => {
      for await (const chunk of chunks) void chunk;
      applied = index;
      term = snapshot.term;
    });
    if (options.bootstrap) {
      await new Promise<void>((resolve) => {
        host.onLeadership((leadership) => {
          if (leadership.isLeader) resolve();
        });
      });
    }
    return `127.0.0.1:${host.address.port}`;
  }

  async #run(inFlight: number, ms: number): Promise<RoundResult> {
    const { propose } = this.#proposer();
    const times: number[] = [];
    const start = performance.now();
    const end = start + ms;
    const loop = async () => {
      while (performance.now() < end) {
        const began = performance.now();
        await propose();
        times.push(performance.now() - began);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, loop));
    const seconds = (performance.now() - start) / 1_000;
    times.sort((a, b) => a - b);
    return {
      commitsPerS: times.length / seconds,
      p50Ms: times[Math.floor(times.length / 2)] ?? 0,
      p99Ms: times[Math.floor(times.length * 0.99)] ?? 0,
    };
  }

  /** Proposes and waits until the entry comes back committed. */
  #proposer(): { propose: () => Promise<void> } {
    const host = this.#host;
    if (host === undefined) throw new Error("not started");
    const data = new Uint8Array(entryBytes).fill(7);
    const waiting = new Map<number, () => void>();
    const early = new Set<number>();
    this.#onIndex = (index) => {
      const resolve = waiting.get(index);
      if (resolve === undefined) early.add(index);
      else {
        waiting.delete(index);
        resolve();
      }
    };
    const propose = async () => {
      const { index } = await host.propose(data);
      if (early.delete(index)) return;
      await new Promise<void>((resolve) => {
        waiting.set(index, resolve);
      });
    };
    return { propose };
  }
}

if (process.argv[2] === "--member" && process.send !== undefined) {
  const member = new BenchMember();
  process.on("message", (request: Request) => {
    member.answer(request).then(
      (value) => process.send?.({ value }),
      (error: unknown) => process.send?.({ error: String(error) }),
    );
  });
  process.on("disconnect", () => process.exit(0));
}
