/**
 * A client outside of the swarm: a machine of its own on the lab's link, with an IPv4 and an IPv6 address, that calls what
 * services publish and is told by them who it is (image echo:1).
 *
 * Its program (`outside-client.ts`) runs in a network namespace of its own and ends with this object.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { address6Of, attach } from "../../src/playground/lab.ts";
import { run } from "../../src/playground/run.ts";
import type { Answer, Question, Tally, Target } from "./outside-client.ts";
import type { Talked } from "./outside-talk.ts";

/** A client that can call. */
export class OutsideClient {
  readonly address: string;
  readonly address6: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #labPid: number;
  readonly #name: string;
  readonly #ended: Promise<void>;
  #isEnded = false;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void }
  >();
  #last = 0;
  #said = "";

  private constructor(o: {
    child: ChildProcessWithoutNullStreams;
    labPid: number;
    name: string;
    address: string;
  }) {
    this.#child = o.child;
    this.#labPid = o.labPid;
    this.#name = o.name;
    this.address = o.address;
    this.address6 = address6Of(o.address);
    o.child.stderr.on("data", (text) => {
      this.#said += text;
    });
    createInterface(o.child.stdout).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.id)?.resolve(answer);
      this.#waiting.delete(answer.id);
    });
    // It may end by itself, or by a signal for the whole group: nothing waits for it then.
    o.child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      o.child.once("exit", () => {
        this.#isEnded = true;
        for (const { reject } of this.#waiting.values()) reject(this.#endedError());
        resolve();
      });
    });
  }

  /** @param name At most 15 characters, of its link in the lab. @param address Within the lab's network, nobody's yet. */
  static async start(o: {
    readonly labPid: number;
    readonly name: string;
    readonly address: string;
  }): Promise<OutsideClient> {
    const program = fileURLToPath(new URL("./outside-client.js", import.meta.url));
    const child = spawn("unshare", ["--net", process.execPath, program]);
    const client = new OutsideClient({ ...o, child });
    // Its first answer tells that it is in its namespace.
    await client.#ask({ kind: "hello" });
    await attach({
      ...{ labPid: o.labPid, hostPid: child.pid ?? 0, node: o.name },
      ...{ address: o.address, cut: false },
    });
    return client;
  }

  /** One call; resolves with the line the server answers: its name, and the caller's address and port. */
  async call(target: Target, withinMs = 3_000): Promise<Caller> {
    const [server = "", address = "", port = ""] = (await this.text(target, withinMs)).split(" ");
    return { server, address, port: Number(port) };
  }

  /** One call; resolves with everything the server answers. */
  async text(target: Target, withinMs = 3_000): Promise<string> {
    const { line, error } = await this.#ask({ kind: "call", target, withinMs });
    if (line === undefined) throw new Error(`${JSON.stringify(target)}: ${error}`);
    return line;
  }

  /** Calls again and again, over these in turn, until `stop`: so many at once, each as soon as the last was answered. */
  async begin(
    targets: readonly Target[],
    atOnce: number,
    perSecond: number,
    more: { readonly withinMs?: number } = {},
  ): Promise<Load> {
    const { load = 0 } = await this.#ask({ kind: "begin", targets, atOnce, perSecond, ...more });
    return {
      stop: async () => {
        return tallyOf(await this.#ask({ kind: "stop", load }));
      },
    };
  }

  /** So many calls over TCP, over these in turn; resolves with what came of them. */
  async count(targets: readonly Target[], calls: number, atOnce = 32): Promise<Tally> {
    return tallyOf(await this.#ask({ kind: "count", targets, calls, atOnce }));
  }

  /** Opens a connection to each of these and begins a request on it, of which the end is left out. */
  async hold(targets: readonly Target[]): Promise<void> {
    const { error } = await this.#ask({ kind: "hold", targets });
    if (error !== undefined) throw new Error(error);
  }

  /** Sends the ends; resolves with what was answered. */
  async finish(): Promise<Tally> {
    return tallyOf(await this.#ask({ kind: "finish" }));
  }

  /** Opens a connection to each of these, servers that repeat what they hear, and talks on all of them until `hush`. */
  async talk(targets: readonly Target[]): Promise<void> {
    const { error } = await this.#ask({ kind: "talk", targets });
    if (error !== undefined) throw new Error(error);
  }

  /** What became of the connections on which is talked. */
  async hush(): Promise<Talked> {
    const { talked } = await this.#ask({ kind: "hush" });
    if (talked === undefined) throw new Error("nobody talks");
    return talked;
  }

  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
    // The kernel takes the link away with the namespace, but not at once.
    await run(["nsenter", `--net=/proc/${this.#labPid}/ns/net`, "ip", "link", "del", this.#name]);
  }

  #ask(question: Question): Promise<Answer> {
    const id = ++this.#last;
    if (this.#isEnded) return Promise.reject(this.#endedError());
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ ...question, id })}\n`);
    });
  }

  #endedError(): Error {
    return new Error(`the outside client has ended: ${this.#said}`);
  }
}

function tallyOf({ tally, error }: Answer): Tally {
  if (tally === undefined) throw new Error(error ?? "there is no tally");
  return tally;
}

/** What a server said of its caller. */
export interface Caller {
  readonly server: string;
  readonly address: string;
  readonly port: number;
}

/** Calls that go on. */
export interface Load {
  stop(): Promise<Tally>;
}
