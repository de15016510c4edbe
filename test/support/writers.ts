/**
 * Clients that create secrets under unique names at a steady rate, whatever happens to the managers, and keep account of
 * what they were promised: one client per manager, and one that follows the leader.
 *
 * A name whose outcome is not known is tried again until the client knows: 201, or 409 because an earlier try had been
 * carried out after all. Afterwards `missing` and `doubled` compare the promises with what a manager lists.
 */
import { randomBytes } from "node:crypto";
import { Agent } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { LabCluster } from "./lab-cluster.ts";

/** How the clients are to behave. */
export interface WritersOptions {
  /** Writes each client begins per second, answered or not. */
  readonly perSecond: number;
}

/** Writes a client has under way at once; beyond it, it waits. */
const underWayMax = 20;
/** Pause after a try that failed, milliseconds. */
const retryMs = 100;
const tryTimeoutMs = 25_000;

/** A group of writing clients. */
export class Writers {
  readonly #cluster: LabCluster;
  readonly #periodMs: number;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #acked = new Map<string, number>();
  readonly #answers = new Map<string, number>();
  readonly #pending = new Set<string>();
  /** Tells the names of these clients from those of others. */
  readonly #run = randomBytes(4).toString("hex");
  #follows: string;
  #count = 0;
  /** Where, when and how a name was acknowledged. */
  readonly #how = new Map<string, string>();
  #conflicts = 0;

  private constructor(cluster: LabCluster, leader: string, options: WritersOptions) {
    this.#cluster = cluster;
    this.#follows = leader;
    this.#periodMs = 1000 / options.perSecond;
  }

  /** Starts one client for every manager and one for the leader. */
  static async start(cluster: LabCluster, options: WritersOptions): Promise<Writers> {
    const writers = new Writers(cluster, await cluster.leader(), options);
    for (const name of cluster.managers) writers.#running.push(writers.#client(name, () => name));
    writers.#running.push(writers.#client("follower", () => writers.#follows));
    return writers;
  }

  /** Names that were promised, with the time of the promise (`performance.now`). */
  get acked(): ReadonlyMap<string, number> {
    return this.#acked;
  }

  /** Retried creates that turned out to have been carried out by an earlier try. */
  get conflicts(): number {
    return this.#conflicts;
  }

  /** Answers other than success, and how often each came. */
  get answers(): ReadonlyMap<string, number> {
    return this.#answers;
  }

  /** Where the client that follows the leader writes from now on. */
  follow(leader: string): void {
    this.#follows = leader;
  }

  /** Ends the clients; a write under way is finished. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  /** What is wrong with a manager's list, in words; empty when every promise is kept once. */
  faults(names: readonly string[]): string[] {
    const seen = new Set<string>();
    const faults: string[] = [];
    for (const name of names) {
      if (seen.has(name)) faults.push(`${name} is there twice`);
      seen.add(name);
      const isOurs = this.#acked.has(name) || this.#pending.has(name);
      if (name.startsWith(`write-${this.#run}-`) && !isOurs)
        faults.push(`${name} was never asked for`);
    }
    for (const name of this.#acked.keys()) {
      if (!seen.has(name))
        faults.push(`${name} was acknowledged (${this.#how.get(name)}) and is lost`);
    }
    return faults;
  }

  /**
   * Milliseconds from `since` to the end of the longest silence that began after it: how long no write was acknowledged
   * because of what happened at `since`.
   */
  outageMs(since: number): number {
    const times = [...this.#acked.values()].filter((time) => time > since).sort((a, b) => a - b);
    let longest = 0;
    let end = Number.POSITIVE_INFINITY;
    let before = since;
    for (const time of times) {
      if (time - before > longest) {
        longest = time - before;
        end = time;
      }
      before = time;
    }
    return end - since;
  }

  async #client(id: string, target: () => string): Promise<void> {
    const agent = new Agent({ keepAlive: true });
    const underWay = new Set<Promise<void>>();
    let next = performance.now();
    while (!this.#stop.signal.aborted) {
      const write = this.#write(`write-${this.#run}-${id}-${this.#count++}`, target, agent);
      underWay.add(write);
      write.finally(() => underWay.delete(write));
      next = Math.max(next + this.#periodMs, performance.now() - 1000);
      await sleep(Math.max(0, next - performance.now()));
      if (underWay.size >= underWayMax) await Promise.race(underWay);
    }
    await Promise.all(underWay);
    agent.destroy();
  }

  async #write(name: string, target: () => string, agent: Agent): Promise<void> {
    this.#pending.add(name);
    const body = { Name: name, Data: "aGVsbG8=" };
    // A client that ends with its outcome unknown leaves the name pending: it may or may not be there.
    for (let tries = 0; tries === 0 || !this.#stop.signal.aborted; tries++) {
      const node = target();
      const { status, body: answer } = await this.#cluster.ask(node, {
        path: "/secrets/create",
        body,
        agent,
        timeoutMs: tryTimeoutMs,
      });
      const exists = status === 409 && /already exists/.test(JSON.stringify(answer));
      if (status === 201 || exists) {
        if (exists) this.#conflicts += 1;
        if (exists && tries === 0) this.#note(`first try: 409 ${JSON.stringify(answer)}`);
        this.#acked.set(name, performance.now());
        this.#how.set(name, `${node}, try ${tries + 1}, ${status}, ${new Date().toISOString()}`);
        this.#pending.delete(name);
        return;
      }
      this.#note(`${status} ${JSON.stringify(answer)}`);
      await sleep(retryMs);
    }
  }

  #note(answer: string): void {
    this.#answers.set(answer, (this.#answers.get(answer) ?? 0) + 1);
  }
}
