/**
 * Raft hosts for tests and benchmarks: certificates, keys, and a small state machine that remembers what was committed.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RaftHost, type RaftHostOptions, startRaftHost } from "../../manager/raft/host.ts";
import type { RaftMember } from "../../src/common/api/generated/api.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { type Log, newLog, silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import { freePort } from "./free-port.ts";
import { type TestCluster, testCluster } from "./test-cluster.ts";

/** Data keys for tests. */
export const testKeys: DataKeys = {
  currentId: 1,
  keys: new Map([[1, new Uint8Array(32).fill(42)]]),
};

/** Waits for a condition that is looked at often; fails with `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`did not come about in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A log to stderr when SKEP_TEST_LOG is set. */
export function testLog(name: string): Log {
  if (process.env["SKEP_TEST_LOG"] === undefined) return silentLog;
  return newLog((line) => process.stderr.write(`${name} ${line}\n`), { level: "debug" });
}

/** One manager with a state machine of text lines, by index. */
export class TestMember {
  readonly nodeId: string;
  readonly dir: string;
  /** What was applied and, as far as `checkpoint` was called, what survives. */
  lines = new Map<number, string>();
  appliedIndex = 0;
  appliedTerm = 0;
  removed = false;
  snapshotsInstalled = 0;
  member: RaftMember;
  #host: RaftHost | undefined;
  readonly #group: TestGroup;
  #durable = { lines: new Map<number, string>(), index: 0 };
  /** Set to make the state machine hang. */
  hang: Promise<void> | undefined;
  /** Why the host cannot go on. */
  fatal: unknown;

  constructor(group: TestGroup, number: number, dir: string) {
    this.#group = group;
    this.nodeId = newId(systemRandom);
    this.dir = dir;
    this.member = { raftId: number, nodeId: this.nodeId, address: "127.0.0.1:0" };
  }

  get host(): RaftHost {
    if (this.#host === undefined) throw new Error(`member ${this.member.raftId} is not running`);
    return this.#host;
  }

  get running(): boolean {
    return this.#host !== undefined;
  }

  /** Starts from what is on disk; a new address unless the old port is asked for. */
  async start(change: Partial<RaftHostOptions> = {}): Promise<void> {
    this.lines = new Map(this.#durable.lines);
    this.appliedIndex = this.#durable.index;
    const port = Number(this.member.address.split(":")[1]) || (await freePort());
    const host = await startRaftHost({
      dataDir: join(this.dir, "raft"),
      member: this.member,
      clusterId: this.#group.cluster.clusterId,
      listen: { host: "127.0.0.1", port },
      relayPath: join(this.dir, "relay.sock"),
      tls: (await this.#group.cluster.node("manager", { nodeId: this.nodeId })).tls,
      keys: testKeys,
      appliedIndex: this.appliedIndex,
      log: testLog(`m${this.member.raftId}`),
      ...change,
    });
    this.#host = host;
    this.member = { ...this.member, address: `127.0.0.1:${host.address.port}` };
    host.fatal.catch((error: unknown) => {
      this.fatal = error;
      testLog(`m${this.member.raftId}`).error("fatal", { err: error });
    });
    host.onRemoved(() => {
      this.removed = true;
    });
    host.onSnapshotWanted(() => this.#frozen());
    host.onSnapshotReceived(async ({ index, term, chunks }) => {
      const parts: Uint8Array[] = [];
      for await (const chunk of chunks) parts.push(chunk);
      this.lines = new Map(JSON.parse(Buffer.concat(parts).toString()));
      this.appliedIndex = index;
      this.appliedTerm = term;
      this.snapshotsInstalled++;
      this.checkpoint();
    });
    host.onCommitted(async (batch) => {
      await this.hang;
      for (const entry of batch.entries) {
        if (entry.index !== this.appliedIndex + 1) {
          throw new Error(`got ${entry.index} after ${this.appliedIndex}`);
        }
        this.appliedIndex = entry.index;
        this.appliedTerm = entry.term;
        if (entry.data.length > 0) this.lines.set(entry.index, Buffer.from(entry.data).toString());
      }
    });
  }

  /** Makes what is applied survive, and lets the log be cut. */
  checkpoint(): void {
    this.#durable = { lines: new Map(this.lines), index: this.appliedIndex };
    this.#host?.compacted(this.appliedIndex);
  }

  /** Forgets what was made durable, as a damaged checkpoint would. */
  forgetCheckpoint(): void {
    this.#durable = { lines: new Map(), index: 0 };
  }

  async stop(): Promise<void> {
    const host = this.#host;
    this.#host = undefined;
    await host?.stop({ transfer: true });
  }

  /** Ends it as a crash would: nothing is told, nothing is flushed. */
  async kill(): Promise<void> {
    const host = this.#host;
    this.#host = undefined;
    await host?.terminate();
  }

  async put(text: string): Promise<number> {
    const { index } = await this.host.propose(Buffer.from(text));
    await eventually(`${text} applied`, () => this.lines.get(index) === text);
    return index;
  }

  texts(): string[] {
    return [...this.lines].sort(([a], [b]) => a - b).map(([, text]) => text);
  }

  #frozen() {
    const bytes = Buffer.from(JSON.stringify([...this.lines]));
    const chunk = 64 * 1024;
    async function* chunks() {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    }
    return Object.assign(chunks(), { index: this.appliedIndex, term: this.appliedTerm || 1 });
  }
}

/** Several members of one cluster, in this process. */
export class TestGroup {
  readonly members: TestMember[] = [];
  #dir = "";
  #cluster: TestCluster | undefined;
  #nextRaftId = 1;

  async open(): Promise<void> {
    this.#dir = await mkdtemp(join(tmpdir(), "skep-raft-"));
    this.#cluster = await testCluster();
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    await rm(this.#dir, { recursive: true, force: true });
  }

  get cluster(): TestCluster {
    if (this.#cluster === undefined) throw new Error("the group is not open");
    return this.#cluster;
  }

  /** A member that is not started yet. */
  newMember(): TestMember {
    const number = this.#nextRaftId++;
    const member = new TestMember(this, number, join(this.#dir, `m${number}`));
    this.members.push(member);
    return member;
  }

  /** Starts the first member and has `count - 1` others join; resolves when all vote. */
  async form(count: number): Promise<TestMember[]> {
    const first = this.newMember();
    await first.start({ bootstrap: true });
    await eventually("the first member leads", () => first.host.leadership().isLeader);
    for (let i = 1; i < count; i++) await this.join(first);
    await this.settled();
    return this.members;
  }

  /** Has a new member join through the leader. */
  async join(leader: TestMember): Promise<TestMember> {
    const member = this.newMember();
    await member.start({ joinMembers: [...leader.host.members()] });
    await leader.host.addMember(member.member);
    return member;
  }

  /** Waits until all running members are voters and know one leader. */
  async settled(): Promise<void> {
    await eventually("all members vote and agree on a leader", () => {
      const running = this.members.filter((member) => member.running);
      const leaders = new Set(running.map((m) => m.host.leadership().leaderNodeId));
      return (
        leaders.size === 1 &&
        !leaders.has(undefined) &&
        running.some((m) => m.host.leadership().isLeader) &&
        running.every((m) => m.host.members().every((peer) => !peer.learner)) &&
        running.every((m) => m.host.members().some((peer) => peer.nodeId === m.nodeId))
      );
    });
  }

  /** The member that leads, once there is one. */
  async leader(): Promise<TestMember> {
    let found: TestMember | undefined;
    await eventually("there is a leader", () => {
      found = this.members.find((m) => m.running && m.host.leadership().isLeader);
      return found !== undefined;
    });
    if (found === undefined) throw new Error("no leader");
    return found;
  }

  /** Waits until all running members have applied the same. */
  async same(text?: string): Promise<void> {
    await eventually("all members have applied the same", () => {
      const running = this.members.filter((member) => member.running && !member.removed);
      const states = new Set(running.map((member) => JSON.stringify([...member.lines].sort())));
      const last = text === undefined || running.every((m) => m.texts().includes(text));
      return states.size === 1 && last;
    });
  }
}
