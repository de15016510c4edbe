/**
 * The program of an outside client (`outside.ts`): takes questions as lines of JSON and answers each by one. Ends with its
 * input.
 */
import { createSocket } from "node:dgram";
import { get } from "node:http";
import { isIPv6 } from "node:net";
import { createInterface } from "node:readline";

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
    }
  | { readonly kind: "stop"; readonly load: number };

/** What came of calls that went on. */
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
}

/** Longest a call of a load may take, milliseconds. */
const loadCallMs = 5_000;

function callTcp({ host, port }: Target, withinMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, path: "/", agent: false, timeout: withinMs }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.once("end", () => resolve(text.trim()));
      response.once("error", reject);
    });
    request.once("timeout", () => request.destroy(new Error(`no answer within ${withinMs} ms`)));
    request.once("error", reject);
  });
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

/** Calls that go on until they are stopped. */
class Load {
  readonly #started = performance.now();
  readonly #tally = {
    calls: 0,
    failures: [] as string[],
    servers: {} as Record<string, number>,
    addresses: {} as Record<string, number>,
  };
  readonly #over: Promise<unknown>;
  #stopped = false;
  #next = 0;

  constructor(targets: readonly Target[], atOnce: number, perSecond: number) {
    const lanes = Array.from({ length: atOnce }, () => this.#lane(targets, perSecond));
    this.#over = Promise.all(lanes);
  }

  async stop(): Promise<Tally> {
    this.#stopped = true;
    await this.#over;
    return this.#tally;
  }

  async #lane(targets: readonly Target[], perSecond: number): Promise<void> {
    while (!this.#stopped) {
      const number = this.#next++;
      const due = this.#started + (number * 1000) / perSecond;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      const target = targets[number % targets.length];
      if (target !== undefined && !this.#stopped) await this.#one(target);
    }
  }

  async #one(target: Target): Promise<void> {
    const tally = this.#tally;
    const began = performance.now();
    tally.calls++;
    try {
      const [server = "", address = ""] = (await call(target, loadCallMs)).split(" ");
      tally.servers[server] = (tally.servers[server] ?? 0) + 1;
      tally.addresses[address] = (tally.addresses[address] ?? 0) + 1;
    } catch (error) {
      const at = Math.round(began - this.#started);
      const text = `${at} ms: ${target.protocol} ${target.host}:${target.port}: ${error}`;
      if (tally.failures.length < 100) tally.failures.push(text);
    }
  }
}

const loads: Load[] = [];

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
      loads.push(new Load(question.targets, question.atOnce, question.perSecond));
      return { load: loads.length - 1 };
    case "stop": {
      const tally = await loads[question.load]?.stop();
      return tally === undefined ? {} : { tally };
    }
  }
}

for await (const line of createInterface(process.stdin)) {
  const question = JSON.parse(line) as Question & { readonly id: number };
  answer(question).then((said) =>
    process.stdout.write(`${JSON.stringify({ id: question.id, ...said })}\n`),
  );
}
process.exit(0);
