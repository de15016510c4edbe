/**
 * A playground for end-to-end tests, driven by a stock docker client: short forms for "this works", "this is refused with
 * that text" and "this comes true soon". Real daemons, real kernel; see src/playground.
 */
import { fail, match } from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Playground } from "../../src/playground/playground.ts";
import type { RunResult } from "../../src/playground/run.ts";
import { type DockerClient, dockerClient, runDocker } from "./docker.ts";
import { until } from "./wait.ts";

/** One row of `docker node ls`. */
export interface NodeRow {
  readonly id: string;
  readonly hostname: string;
  readonly status: string;
  readonly availability: string;
  /** `Leader`, `Reachable`, `Unreachable` or nothing for a worker. */
  readonly manager: string;
}

/** A cluster as `formSwarm` of this file makes it, or one a test made by hand. */
export class SwarmLab {
  readonly playground: Playground;
  /** The client of every call that names none. */
  client: DockerClient;
  readonly #parent: string;

  private constructor(playground: Playground, parent: string) {
    this.playground = playground;
    this.#parent = parent;
    this.client = dockerClient();
  }

  /** Boots hosts with their daemons, in no swarm; `platforms` are those that some of them pretend to be. */
  static async up(
    name: string,
    nodes: readonly string[],
    platforms: Readonly<Record<string, string>> = {},
  ): Promise<SwarmLab> {
    const parent = mkdtempSync(join(tmpdir(), "skep-e2e-"));
    const playground = Playground.create({ dir: join(parent, "lab"), name, nodes, platforms });
    const lab = new SwarmLab(playground, parent);
    try {
      await playground.up();
    } catch (error) {
      await lab.down();
      throw error;
    }
    return lab;
  }

  /** Ends everything and removes it; the daemons' logs are kept in the folder `SKEP_E2E_LOGS` when that is set. */
  async down(): Promise<void> {
    const logs = process.env["SKEP_E2E_LOGS"];
    for (const node of logs === undefined ? [] : this.playground.nodes()) {
      cpSync(node.log, join(logs ?? "", this.playground.name, `${node.name}.log`));
    }
    await this.playground.down();
    rmSync(this.#parent, { recursive: true, force: true });
  }

  /** Where nodes listen for each other. */
  remote(node: string): string {
    return `${this.playground.node(node).address}:2377`;
  }

  /** Folder of a node's data. */
  data(node: string, ...path: string[]): string {
    return join(this.playground.dir, node, "data", ...path);
  }

  /** A folder for the test's own files, removed with the lab. */
  scratch(): string {
    return mkdtempSync(join(this.#parent, "files-"));
  }

  /** Runs the client against a node's daemon, whatever comes of it. */
  try(node: string, args: readonly string[], input?: string | Uint8Array): Promise<RunResult> {
    const { socket } = this.playground.node(node);
    return runDocker(this.client, socket, args, {
      timeoutMs: 45_000,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Runs a command that has to work; resolves with what it printed, trimmed. */
  async docker(
    node: string,
    args: readonly string[],
    input?: string | Uint8Array,
  ): Promise<string> {
    const result = await this.try(node, args, input);
    if (result.code !== 0) {
      fail(`${node}: docker ${args.join(" ")}: ${result.stderr.trim() || result.stdout.trim()}`);
    }
    return result.stdout.trim();
  }

  /** Runs a command that has to be refused with a text like `expected`; resolves with the text. */
  async refused(
    node: string,
    args: readonly string[],
    expected: RegExp,
    input?: string | Uint8Array,
  ): Promise<string> {
    const result = await this.try(node, args, input);
    const said = `${result.stderr}${result.stdout}`.trim();
    if (result.code === 0) fail(`${node}: docker ${args.join(" ")} was not refused: ${said}`);
    match(said, expected);
    return said;
  }

  /** `docker node ls` as rows. */
  async nodes(from: string): Promise<NodeRow[]> {
    const format = "{{.ID}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}";
    const text = await this.docker(from, ["node", "ls", "--format", format]);
    return text.split("\n").map((line) => {
      const [id = "", hostname = "", status = "", availability = "", manager = ""] =
        line.split("\t");
      return { id, hostname, status, availability, manager };
    });
  }

  /** Hostname of the leader as `from` sees it; waits for one. */
  leader(from: string): Promise<string> {
    return until(
      async () => (await this.nodes(from)).find((row) => row.manager === "Leader")?.hostname,
      { withinMs: 60_000, what: `${from} knows a leader` },
    );
  }

  /** A field of `docker info`. */
  info(node: string, field: string): Promise<string> {
    return this.docker(node, ["info", "--format", `{{${field}}}`]);
  }

  /**
   * Waits until `from` lists exactly these nodes; each is written as `host status [manager status]`, such as
   * `m1 Ready Leader`, with `Manager` for a manager in either role.
   */
  async settles(from: string, expected: readonly string[], withinMs = 60_000): Promise<void> {
    let seen: string[] = [];
    const want = [...expected].sort().join("; ");
    await until(
      async () => {
        const rows = await this.nodes(from);
        seen = rows.map((row) => describeRow(row, expected)).sort();
        return seen.join("; ") === want;
      },
      { withinMs, what: `${from} lists ${want}` },
    ).catch((error: Error) => {
      throw new Error(`${error.message}; it lists ${seen.join("; ")}`, { cause: error.cause });
    });
  }

  /** The token for a role as `from` prints it. */
  token(from: string, role: "worker" | "manager", ...flags: string[]): Promise<string> {
    return this.docker(from, ["swarm", "join-token", "--quiet", ...flags, role]);
  }

  /** Makes a swarm of the first node and lets the others join it: managers one after the other, then workers. */
  async form(
    managers: readonly string[],
    workers: readonly string[] = [],
    flags: readonly string[] = [],
  ): Promise<void> {
    const [first = "", ...others] = managers;
    const { address } = this.playground.node(first);
    await this.docker(first, ["swarm", "init", "--advertise-addr", address, ...flags]);
    for (const [role, names] of [
      ["manager", others],
      ["worker", workers],
    ] as const) {
      const token = await this.token(first, role);
      for (const name of names) {
        await this.docker(name, ["swarm", "join", "--token", token, this.remote(first)]);
      }
    }
    const all = [...managers.map((name) => `${name} Ready Manager`), ...workers.map(ready)];
    await this.settles(first, all);
  }

  /** Takes every node out of whatever it is in. */
  async disband(): Promise<void> {
    const names = this.playground.nodes().map((node) => node.name);
    await Promise.all(names.map((name) => this.playground.startNode(name, { env: {} })));
    await Promise.all(
      names.map(async (name) => {
        const result = await this.try(name, ["swarm", "leave", "--force"]);
        if (result.code !== 0) match(result.stderr, /This node is not part of a swarm/);
      }),
    );
  }

  /** Ends the daemon (in order, or by SIGKILL), lets `between` have its files, and starts it again. */
  async restart(
    node: string,
    options: { kill?: boolean; between?: () => void | Promise<void> } = {},
  ): Promise<void> {
    if (options.kill === true) await this.playground.killDaemon(node);
    else await this.playground.stopDaemon(node);
    await options.between?.();
    await this.playground.startNode(node);
  }
}

function ready(name: string): string {
  return `${name} Ready`;
}

function describeRow(row: NodeRow, expected: readonly string[]): string {
  const start = `${row.hostname} ${row.status}`;
  if (row.manager === "") return start;
  const either = `${start} Manager`;
  const works = row.manager === "Leader" || row.manager === "Reachable";
  return works && expected.includes(either) ? either : `${start} ${row.manager}`;
}
