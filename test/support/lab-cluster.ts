/**
 * A swarm in a playground, as the end-to-end tests and the benchmarks of faults use it: formed through the Engine API,
 * asked through the Engine API, with the means to wait for what has to come true.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { type Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formSwarm } from "../../src/playground/engine-client.ts";
import { Playground } from "../../src/playground/playground.ts";
import { until } from "./wait.ts";

/** An answer of the Engine API; status 0 when there was none. */
export interface Answer {
  readonly status: number;
  /** Parsed JSON, else the text; the message of the failure for status 0. */
  readonly body: unknown;
}

/** A request to the Engine API. */
export interface Ask {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly agent?: Agent;
  /** Milliseconds without an answer after which the client gives up; 25,000 when not given. */
  readonly timeoutMs?: number;
}

/** What `GET /nodes` says of a node, as far as tests look. */
export interface ListedNode {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: object;
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string; readonly Addr?: string };
  readonly ManagerStatus?: {
    readonly Leader?: boolean;
    readonly Reachability: string;
    readonly Addr: string;
  };
}

/** `Swarm` of `GET /info`. */
export interface SwarmInfo {
  readonly LocalNodeState: string;
  readonly Error: string;
  readonly NodeAddr: string;
  readonly RemoteManagers: readonly { readonly NodeID: string; readonly Addr: string }[] | null;
}

/** Sends one request to the daemon behind a unix socket; never rejects. */
export function ask(socketPath: string, a: Ask): Promise<Answer> {
  const text = a.body === undefined ? undefined : JSON.stringify(a.body);
  return new Promise((resolve) => {
    const failed = (error: Error) => resolve({ status: 0, body: error.message });
    const sent = request({
      socketPath,
      path: a.path,
      method: a.method ?? (text === undefined ? "GET" : "POST"),
      headers: text === undefined ? {} : { "content-type": "application/json" },
      timeout: a.timeoutMs ?? 25_000,
      ...(a.agent === undefined ? {} : { agent: a.agent }),
    });
    sent.once("timeout", () => sent.destroy(new Error(`${a.path}: no answer`)));
    sent.once("error", failed);
    sent.once("response", (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        answer += chunk;
      });
      response.once("error", failed);
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, body: parse(answer) }),
      );
    });
    sent.end(text);
  });
}

/** A swarm of managers `m1…` and workers `w1…`. */
export class LabCluster {
  readonly lab: Playground;
  readonly managers: readonly string[];
  readonly #folder: string;

  private constructor(lab: Playground, folder: string) {
    this.lab = lab;
    this.managers = lab
      .nodes()
      .map((node) => node.name)
      .filter((name) => name.startsWith("m"));
    this.#folder = folder;
  }

  /** Starts the nodes and forms the swarm; resolves once every node is Ready. */
  static async form(size: {
    readonly managers: number;
    readonly workers: number;
    /** Nodes that pretend to be of another platform, by name (`w2: "linux/arm/v7"`). */
    readonly platforms?: Readonly<Record<string, string>>;
  }): Promise<LabCluster> {
    const folder = mkdtempSync(join(tmpdir(), "skep-lab-"));
    const nodes = [...numbered("m", size.managers), ...numbered("w", size.workers)];
    const dir = join(folder, "lab");
    const { platforms = {} } = size;
    const cluster = new LabCluster(Playground.create({ dir, nodes, platforms }), folder);
    try {
      await cluster.lab.up();
      await formSwarm(
        cluster.lab.nodes().map((node) => ({
          ...node,
          role: node.name.startsWith("m") ? ("manager" as const) : ("worker" as const),
        })),
      );
      await cluster.ready();
    } catch (error) {
      await cluster.down();
      throw error;
    }
    return cluster;
  }

  /** Ends and removes everything. */
  async down(): Promise<void> {
    await this.lab.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  ask(node: string, a: Ask): Promise<Answer> {
    return ask(this.lab.node(node).socket, a);
  }

  /** The answer's body. @throws Error unless the status is 2xx. */
  async get<T>(node: string, path: string): Promise<T> {
    return this.done<T>(node, { path });
  }

  /** Like `ask`, but expects success. @throws Error with the daemon's message. */
  async done<T>(node: string, a: Ask): Promise<T> {
    const { status, body } = await this.ask(node, a);
    if (status >= 200 && status < 300) return body as T;
    throw new Error(`${node}: ${a.method ?? ""} ${a.path}: ${status} ${JSON.stringify(body)}`);
  }

  /** Managers whose daemon runs. */
  running(): string[] {
    return this.managers.filter((name) => this.lab.node(name).daemonPid !== undefined);
  }

  nodes(on: string): Promise<ListedNode[]> {
    return this.get<ListedNode[]>(on, "/nodes");
  }

  /** Name of the manager that leads, as soon as one of `among` says so. */
  leader(among: readonly string[] = this.running()): Promise<string> {
    return until(
      async () => {
        for (const name of among) {
          const { status, body } = await this.ask(name, { path: "/nodes", timeoutMs: 3_000 });
          if (status !== 200) continue;
          const leader = (body as ListedNode[]).find((node) => node.ManagerStatus?.Leader);
          if (leader !== undefined) return leader.Description.Hostname;
        }
        return undefined;
      },
      { withinMs: 60_000, what: `a leader among ${among.join()}` },
    );
  }

  /** What the daemon of a node says of its membership. */
  async swarm(name: string): Promise<SwarmInfo> {
    return (await this.get<{ Swarm: SwarmInfo }>(name, "/info")).Swarm;
  }

  /**
   * Resolves once these nodes, all when none are named, call themselves active, and are Ready, and Reachable if managers,
   * in the eyes of every manager among them.
   */
  async ready(names: readonly string[] = this.lab.nodes().map((node) => node.name)): Promise<void> {
    let last = "";
    for (const name of names) {
      await until(
        async () => {
          const info = await this.swarm(name);
          last = `${info.LocalNodeState} ${info.Error}`;
          return info.LocalNodeState === "active" && info.Error === "";
        },
        {
          withinMs: 90_000,
          everyMs: 100,
          get what() {
            return `${name} active; it is ${last}`;
          },
        },
      );
    }
    const isReady = async (manager: string) => {
      const list = await this.nodes(manager);
      const bad = names.filter((name) => {
        const same = list.filter((node) => node.Description.Hostname === name);
        return !same.some(
          ({ Status, ManagerStatus }) =>
            Status.State === "ready" &&
            (ManagerStatus?.Reachability ?? (name.startsWith("m") ? "" : "reachable")) ===
              "reachable",
        );
      });
      last = `${manager} sees ${bad.join()} not ready: ${JSON.stringify(list.map(short))}`;
      return bad.length === 0;
    };
    for (const manager of names.filter((name) => name.startsWith("m"))) {
      await until(() => isReady(manager), {
        withinMs: 90_000,
        everyMs: 200,
        get what() {
          return `all nodes ready; ${last}`;
        },
      });
    }
  }

  /** Names of all secrets as one manager reads them, with repetitions if there are any. */
  async secrets(on: string): Promise<string[]> {
    const list = await this.get<{ Spec: { Name: string } }[]>(on, "/secrets");
    return list.map((secret) => secret.Spec.Name);
  }

  /** Creates a secret and expects success. */
  async createSecret(on: string, name: string): Promise<void> {
    await this.done(on, { path: "/secrets/create", body: { Name: name, Data: "aGVsbG8=" } });
  }
}

function short(node: ListedNode): object {
  const { Description, Status, ManagerStatus } = node;
  return { name: Description.Hostname, state: Status, manager: ManagerStatus };
}

function numbered(stem: string, amount: number): string[] {
  return Array.from({ length: amount }, (_, index) => `${stem}${index + 1}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Empty, or plain text: that is the body then.
    return text.trim();
  }
}
