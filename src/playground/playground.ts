/**
 * Several full nodes on one machine, as simulated hosts (host.ts) in a lab network (lab.ts). Used by people through
 * `skep playground`, by the end-to-end tests and by the demo.
 *
 * A playground is its folder: `playground.json` and one folder per node with the node's data, log and docker socket. Every
 * operation looks at what is there and does what is missing, so that it can be repeated after a crash half-way.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { type EmulatedArchitecture, endEmulation, startEmulation } from "./emulation.ts";
import {
  bootHost,
  checkFolder,
  endDaemon,
  enter,
  foldersOf,
  gone,
  hostDaemon,
  hostInit,
  killHost,
  startDaemon,
} from "./host.ts";
import { addressOf, attach, checkAddress, labHolder, place, readdress, startLab } from "./lab.ts";
import { removeControlGroups } from "./leftovers.ts";
import { type RunOptions, type RunResult, run } from "./run.ts";
import {
  createState,
  loadState,
  type NodeState,
  type PlaygroundState,
  removeState,
  saveState,
} from "./state.ts";

/** What a new playground is made of. */
export interface PlaygroundOptions {
  /** Folder to hold everything; must be empty or absent. */
  readonly dir: string;
  readonly name?: string;
  /** Node names, which become host names: up to 15 of a-z, 0-9 and `-`. */
  readonly nodes: readonly string[];
  /** Command that gets `daemon …` appended; this installation's `skep` when not given. */
  readonly program?: readonly string[];
  /** Extra environment of every daemon. */
  readonly env?: Readonly<Record<string, string>>;
  /** Extra flags of every daemon. */
  readonly flags?: readonly string[];
  /** Nodes that pretend to be of another platform, such as `linux/arm/v7`, by node name. */
  readonly platforms?: Readonly<Record<string, string>>;
}

/** A node as it is now. */
export interface NodeView {
  readonly name: string;
  readonly address: string;
  readonly socket: string;
  readonly log: string;
  /** Pid of the host's first process, undefined while the host is off. */
  readonly hostPid: number | undefined;
  readonly daemonPid: number | undefined;
  /** On the far side of a partition. */
  readonly cut: boolean;
}

/** More nodes than this do not fit the lab's /24. */
const nodesMax = 200;

/** One playground. Not safe for two callers that change it at the same time. */
export class Playground {
  readonly dir: string;
  #state: PlaygroundState;

  private constructor(dir: string, state: PlaygroundState) {
    this.dir = dir;
    this.#state = state;
  }

  /**
   * Makes the folder and the state of a new playground; `up` then starts it.
   *
   * @throws ClusterError `invalid-argument`, `already-exists` or `failed-precondition`.
   */
  static create(options: PlaygroundOptions): Playground {
    const dir = resolve(options.dir);
    if (process.getuid?.() !== 0) {
      throw new ClusterError(
        "permission-denied",
        "a playground makes namespaces and links: run it as root",
      );
    }
    checkNames(options.nodes);
    checkFolder(dir, options.nodes);
    const nodes = options.nodes.map((name, position) => ({
      name,
      address: addressOf(position),
      env: { ...options.env, ...pretending(options.platforms?.[name]) },
      ...(options.flags === undefined ? {} : { flags: options.flags }),
    }));
    const state = createState(dir, {
      version: 1,
      id: randomBytes(16).toString("hex"),
      name: options.name ?? "playground",
      nodes,
      cut: [],
      program: options.program ?? ownProgram(),
      emulated: emulatedFor(Object.values(options.platforms ?? {})),
      mountedFormats: false,
    });
    return new Playground(dir, state);
  }

  /**
   * Opens the playground in `dir`, running or not.
   *
   * @throws ClusterError `not-found`.
   */
  static open(dir: string): Playground {
    const path = resolve(dir);
    return new Playground(path, loadState(path));
  }

  /** Starts the lab and every node that is not running. */
  async up(): Promise<void> {
    const { id, emulated, mountedFormats } = this.#state;
    const mounted = await startEmulation(id, emulated);
    this.#state = { ...this.#state, mountedFormats: mountedFormats || mounted };
    saveState(this.dir, this.#state);
    for (const node of this.#state.nodes) await this.#boot(node);
    await settleAll(this.#state.nodes.map((node) => this.startNode(node.name)));
  }

  /** Ends everything and removes all the playground made. Also finishes what a crash left half-made. */
  async down(): Promise<void> {
    for (const node of this.#state.nodes) {
      await killHost(this.#state.id, node.name);
    }
    await gone(this.#state.id);
    for (const { name } of this.#state.nodes) {
      await removeControlGroups(foldersOf(this.dir, name).data);
    }
    await endEmulation(this.#state.id, this.#state.mountedFormats);
    removeState(this.dir, this.#state);
  }

  /** A process in the lab's own network namespace, where 10.77.0.1 is; undefined while the playground is down. */
  labPid(): number | undefined {
    return labHolder(this.#state.id)?.pid;
  }

  /** The playground's name. */
  get name(): string {
    return this.#state.name;
  }

  /** All nodes, in the order they were named. */
  nodes(): NodeView[] {
    return this.#state.nodes.map((node) => this.node(node.name));
  }

  /** @throws ClusterError `not-found` when the playground has no such node. */
  node(name: string): NodeView {
    const node = this.#find(name);
    const folders = foldersOf(this.dir, name);
    return {
      name,
      address: node.address,
      socket: folders.socket,
      log: folders.log,
      hostPid: hostInit(this.#state.id, name)?.pid,
      daemonPid: hostDaemon(this.#state.id, name)?.pid,
      cut: this.#state.cut.includes(name),
    };
  }

  /**
   * Starts whatever of the node is missing, host or daemon, and waits until the daemon answers.
   *
   * @param options.flags replaces the daemon's own flags from now on.
   * @param options.env replaces the extra environment of the node's daemon from now on (see `shiftedClock`).
   * @throws ClusterError `unavailable` when the daemon does not come up.
   */
  async startNode(
    name: string,
    options: { env?: Readonly<Record<string, string>>; flags?: readonly string[] } = {},
  ): Promise<void> {
    if (options.env !== undefined) this.#change(name, { env: options.env });
    if (options.flags !== undefined) this.#change(name, { flags: options.flags });
    const node = this.#find(name);
    const initPid = await this.#boot(node);
    if (hostDaemon(this.#state.id, name) !== undefined) return;
    const { id, program } = this.#state;
    const { env, flags } = node;
    await startDaemon({ id, dir: this.dir, name, initPid, program, env, flags });
  }

  /** Cuts the node's power: SIGKILL of its first process, which takes everything on the host with it. */
  async killNode(name: string): Promise<void> {
    await killHost(this.#state.id, this.#find(name).name);
  }

  /** SIGKILL of the daemon alone; what it started lives on. */
  async killDaemon(name: string): Promise<void> {
    await endDaemon(this.#state.id, this.#find(name).name, "SIGKILL");
  }

  /** Asks the daemon to end in order and waits for it. */
  async stopDaemon(name: string): Promise<void> {
    await endDaemon(this.#state.id, this.#find(name).name, "SIGTERM");
  }

  /** Cuts these nodes, which still reach each other, off from all others; replaces an earlier partition. */
  async partition(names: readonly string[]): Promise<void> {
    for (const name of names) this.#find(name);
    this.#save({ ...this.#state, cut: [...new Set(names)] });
    const lab = labHolder(this.#state.id);
    if (lab === undefined) return;
    const running = this.nodes().filter((node) => node.hostPid !== undefined);
    await place(lab.pid, running);
  }

  /** Ends the partition. */
  async heal(): Promise<void> {
    await this.partition([]);
  }

  /** Gives a node another address in the lab's network; running or not, its daemon is not told. */
  async readdress(name: string, address: string): Promise<void> {
    checkAddress(address);
    const holder = this.#state.nodes.find((node) => node.address === address);
    if (holder !== undefined && holder.name !== name) {
      throw new ClusterError("already-exists", `${address} is the address of ${holder.name}`);
    }
    this.#change(name, { address });
    const host = hostInit(this.#state.id, name);
    if (host !== undefined) await readdress(host.pid, address);
  }

  /**
   * Runs a command on the node, with `DOCKER_HOST` set to its daemon.
   *
   * @throws ClusterError `failed-precondition` while the host is off.
   */
  async exec(name: string, words: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { hostPid, socket } = this.node(name);
    if (hostPid === undefined) {
      throw new ClusterError("failed-precondition", `host ${name} is off: start it first`);
    }
    const env = { ...(options.env ?? process.env), DOCKER_HOST: `unix://${socket}` };
    return run([...enter(hostPid), ...words], { ...options, env });
  }

  /** Runs a docker client on this machine against the node's daemon; `docker` of the PATH unless one is given. */
  async docker(
    name: string,
    args: readonly string[],
    options: RunOptions & { client?: string } = {},
  ): Promise<RunResult> {
    const {
      DOCKER_CONTEXT: _context,
      DOCKER_TLS_VERIFY: _tls,
      ...env
    } = options.env ?? process.env;
    const host = `unix://${this.node(name).socket}`;
    return run([options.client ?? "docker", ...args], {
      ...options,
      env: { ...env, DOCKER_HOST: host },
    });
  }

  async #boot(node: NodeState): Promise<number> {
    const { id } = this.#state;
    const running = hostInit(id, node.name);
    if (running !== undefined) return running.pid;
    await gone(id, new Set([`host ${node.name}`, `daemon ${node.name}`]));
    mkdirSync(join(this.dir, node.name), { recursive: true, mode: 0o711 });
    const labPid = await startLab(id, foldersOf(this.dir, node.name).hostLog);
    const hostPid = await bootHost(id, this.dir, node.name);
    const cut = this.#state.cut.includes(node.name);
    await attach({ labPid, hostPid, node: node.name, address: node.address, cut });
    return hostPid;
  }

  #find(name: string): NodeState {
    const node = this.#state.nodes.find((candidate) => candidate.name === name);
    if (node === undefined) {
      const names = this.#state.nodes.map((candidate) => candidate.name).join(", ");
      throw new ClusterError("not-found", `the playground has no node ${name}; it has ${names}`);
    }
    return node;
  }

  #change(name: string, change: Partial<NodeState>): void {
    this.#find(name);
    const nodes = this.#state.nodes.map((node) =>
      node.name === name ? { ...node, ...change } : node,
    );
    this.#save({ ...this.#state, nodes });
  }

  #save(state: PlaygroundState): void {
    saveState(this.dir, state);
    this.#state = state;
  }
}

/**
 * Environment that shifts a daemon's wall clock with Debian's faketime, e.g. `+200d`, `-3h` or `+90m`; durations are not
 * touched. The loader finds the library for its own architecture.
 */
export function shiftedClock(shift: string): Record<string, string> {
  if (!/^[+-]\d+[smhdy]$/.test(shift)) {
    throw new ClusterError(
      "invalid-argument",
      `${shift} is not a clock shift such as +200d or -3h`,
    );
  }
  return {
    LD_PRELOAD: "/usr/$LIB/faketime/libfaketimeMT.so.1",
    FAKETIME: shift,
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
}

function checkNames(names: readonly string[]): void {
  const bad = names.find((name) => !/^[a-z][a-z0-9-]{0,14}$/.test(name));
  if (bad !== undefined) {
    throw new ClusterError(
      "invalid-argument",
      `${bad} is no node name: up to 15 of a-z, 0-9 and -`,
    );
  }
  if (names.length === 0 || names.length > nodesMax) {
    throw new ClusterError("invalid-argument", `a playground has 1 to ${nodesMax} nodes`);
  }
  if (new Set(names).size !== names.length) {
    throw new ClusterError("invalid-argument", "two nodes have the same name");
  }
}

/** What has a daemon pretend: it asks for images of that platform and says that it is one. */
function pretending(platform: string | undefined): Readonly<Record<string, string>> {
  return platform === undefined ? {} : { SKEP_PLATFORM: platform };
}

/** @throws ClusterError `invalid-argument` for what cannot be pretended. */
function emulatedFor(platforms: readonly string[]): EmulatedArchitecture[] {
  const found = new Set<EmulatedArchitecture>();
  for (const platform of platforms) {
    const architecture = /^linux\/(arm64|arm|amd64)(\/v\d)?$/.exec(platform)?.[1];
    if (architecture === undefined) {
      throw new ClusterError(
        "invalid-argument",
        `no node can pretend to be ${platform}: there are linux/arm64, linux/arm/v5 to v7 and linux/amd64`,
      );
    }
    if (architecture !== "amd64") found.add(architecture as EmulatedArchitecture);
  }
  return [...found];
}

function ownProgram(): string[] {
  return [process.execPath, fileURLToPath(new URL("../bin/skep.js", import.meta.url))];
}

/** Waits for all, then fails with the first failure: no start is left running behind the caller's back. */
async function settleAll(starts: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(starts);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
