/**
 * The program of an outside client (`outside.ts`): takes questions as lines of JSON and answers each by one. Ends with its
 * input.
 */
import { createSocket } from "node:dgram";
import { get } from "node:http";
import { connect, isIPv6, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { Talk, type Talked } from "./outside-talk.ts";

/** Where to call. */
export interface Target {
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
}

/** What is asked. */
export type Question =
  | { readonly kind: "hello" }
  | { readonly kind: "call"; readonly target: Target; readonly withinMs: number }
  | {
      readonly kind: "begin";
      readonly targets: readonly Target[];
      readonly atOnce: number;
      readonly perSecond: number;
      readonly withinMs?: number;
    }
  | { readonly kind: "stop"; readonly load: number }
  | {
      readonly kind: "count";
      readonly targets: readonly Target[];
      readonly atOnce: number;
      readonly calls: number;
    }
  | { readonly kind: "hold"; readonly targets: readonly Target[] }
  | { readonly kind: "finish" }
  | { readonly kind: "talk"; readonly targets: readonly Target[] }
  | { readonly kind: "hush" };

/** What came of many calls. */
export interface Tally {
  readonly calls: number;
  /** The first hundred, each with the time since the start and the target. */
  readonly failures: readonly string[];
  /** Calls by the name of the server. */
  readonly servers: Readonly<Record<string, number>>;
  /** Calls by the address the server saw. */
  readonly addresses: Readonly<Record<string, number>>;
}

/** What is answered. */
export interface Answer {
  readonly id: number;
  readonly line?: string;
  readonly error?: string;
  readonly load?: number;
  readonly tally?: Tally;
  readonly talked?: Talked;
}

/** Longest a call of a load may take when nothing is said, milliseconds. */
const loadCallMs = 5_000;

function callTcp({ host, port }: Target, withinMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, path: "/", agent: false, timeout: withinMs }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.once("end", () => {
        if (response.statusCode === 200) resolve(text.trim());
        else reject(new Error(`status ${response.statusCode}: ${text.trim()}`));
      });
      response.once("error", reject);
    });
    request.once("timeout", () => request.destroy(new Error(`no answer within ${withinMs} ms`)));
    request.once("error", reject);
  });
}

/** As `callTcp`, with nothing but a socket: what thousands of calls are made with. */
function callBare({ host, port }: Target, withinMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    let text = "";
    socket.setEncoding("latin1").setTimeout(withinMs, () => {
      socket.destroy(new Error(`no answer within ${withinMs} ms`));
    });
    socket.once("connect", () => socket.write("GET / HTTP/1.0\r\n\r\n"));
    socket.on("data", (data) => {
      text += data;
    });
    socket.once("error", reject);
    socket.once("end", () => resolve(bodyOf(text)));
    socket.once("close", () => reject(new Error("closed")));
  });
}

function bodyOf(response: string): string {
  return response.slice(response.indexOf("\r\n\r\n") + 4).trim();
}

/** A connection whose request is not whole yet, so that the server waits for the rest. */
class Held {
  readonly #socket: Socket;
  #text = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1").on("data", (data) => {
      this.#text += data;
    });
  }

  static open({ host, port }: Target): Promise<Held> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port });
      const held = new Held(socket);
      socket.once("error", reject);
      socket.once("connect", () => socket.write("GET / HTTP/1.0\r\n", () => resolve(held)));
    });
  }

  /** Sends the rest; resolves with the answer. */
  finish(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#socket.setTimeout(loadCallMs, () => this.#socket.destroy(new Error("no answer")));
      this.#socket.once("error", reject);
      this.#socket.once("end", () => resolve(bodyOf(this.#text)));
      this.#socket.once("close", () => reject(new Error("closed")));
      this.#socket.write("\r\n");
    });
  }
}

function callUdp({ host, port }: Target, withinMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    const end = (finish: () => void) => {
      clearTimeout(timer);
      socket.close();
      finish();
    };
    const timer = setTimeout(
      () => end(() => reject(new Error(`no answer within ${withinMs} ms`))),
      withinMs,
    );
    socket.once("error", (error) => end(() => reject(error)));
    socket.once("message", (data) => end(() => resolve(data.toString().trim())));
    // Connected, so that an answer from another address is none, and refusals are told.
    socket.connect(port, host, () => socket.send("x"));
  });
}

function call(target: Target, withinMs: number): Promise<string> {
  return target.protocol === "tcp" ? callTcp(target, withinMs) : callUdp(target, withinMs);
}

/** Counts what becomes of calls. */
class Counter {
  readonly #started = performance.now();
  readonly tally = {
    calls: 0,
    failures: [] as string[],
    servers: {} as Record<string, number>,
    addresses: {} as Record<string, number>,
  };

  /** Milliseconds since the start. */
  elapsedMs(): number {
    return performance.now() - this.#started;
  }

  /** Waits for one call; never rejects. */
  async count(target: Target, answer: Promise<string>): Promise<void> {
    const { tally } = this;
    const beganMs = Math.round(this.elapsedMs());
    tally.calls++;
    try {
      const [server = "", address = ""] = (await answer).split(" ");
      tally.servers[server] = (tally.servers[server] ?? 0) + 1;
      tally.addresses[address] = (tally.addresses[address] ?? 0) + 1;
    } catch (error) {
      const text = `${beganMs} ms: ${target.protocol} ${target.host}:${target.port}: ${error}`;
      if (tally.failures.length < 100) tally.failures.push(text);
    }
  }
}

/** So many calls over TCP, over the targets in turn. */
async function countCalls(
  targets: readonly Target[],
  o: { readonly atOnce: number; readonly calls: number },
): Promise<Tally> {
  const counter = new Counter();
  let next = 0;
  const lane = async () => {
    while (next < o.calls) {
      const target = targets[next++ % targets.length];
      if (target !== undefined) await counter.count(target, callBare(target, loadCallMs));
    }
  };
  await Promise.all(Array.from({ length: o.atOnce }, lane));
  return counter.tally;
}

/** Calls that go on until they are stopped. */
class Load {
  readonly #counter = new Counter();
  readonly #over: Promise<unknown>;
  #stopped = false;
  #next = 0;

  constructor({ targets, atOnce, ...rest }: Question & { readonly kind: "begin" }) {
    const lanes = Array.from({ length: atOnce }, () => this.#lane(targets, rest));
    this.#over = Promise.all(lanes);
  }

  async stop(): Promise<Tally> {
    this.#stopped = true;
    await this.#over;
    return this.#counter.tally;
  }

  async #lane(
    targets: readonly Target[],
    { perSecond, withinMs = loadCallMs }: { perSecond: number; withinMs?: number },
  ): Promise<void> {
    while (!this.#stopped) {
      const number = this.#next++;
      const due = (number * 1000) / perSecond;
      const pauseMs = Math.max(0, due - this.#counter.elapsedMs());
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      const target = targets[number % targets.length];
      if (target === undefined || this.#stopped) continue;
      await this.#counter.count(target, call(target, withinMs));
    }
  }
}

const loads: Load[] = [];
let talk: Talk | undefined;
let held: { readonly target: Target; readonly connection: Held }[] = [];

async function hold(targets: readonly Target[]): Promise<void> {
  const open = async (target: Target) => ({ target, connection: await Held.open(target) });
  held = await Promise.all(targets.map(open));
}

async function finishHeld(): Promise<Tally> {
  const counter = new Counter();
  await Promise.all(
    held.map(({ target, connection }) => counter.count(target, connection.finish())),
  );
  return counter.tally;
}

async function answer(question: Question): Promise<Omit<Answer, "id">> {
  switch (question.kind) {
    case "hello":
      return {};
    case "call":
      try {
        return { line: await call(question.target, question.withinMs) };
      } catch (error) {
        return { error: String(error) };
      }
    case "begin":
      loads.push(new Load(question));
      return { load: loads.length - 1 };
    case "stop": {
      const tally = await loads[question.load]?.stop();
      return tally === undefined ? {} : { tally };
    }
    case "count":
      return { tally: await countCalls(question.targets, question) };
    case "hold":
      await hold(question.targets);
      return {};
    case "finish":
      return { tally: await finishHeld() };
    case "talk":
      talk = await Talk.begin(question.targets);
      return {};
    case "hush": {
      const talked = await talk?.stop();
      return talked === undefined ? {} : { talked };
    }
  }
}

for await (const line of createInterface(process.stdin)) {
  const question = JSON.parse(line) as Question & { readonly id: number };
  answer(question)
    .catch((error) => ({ error: String(error) }))
    .then((said) => process.stdout.write(`${JSON.stringify({ id: question.id, ...said })}\n`));
}
process.exit(0);
