/**
 * The part of a node that talks to the dispatcher and runs tasks: joins session, worker and node.
 *
 * Knows the managers, keeps one session open, hands assignments to the worker and its statuses to the managers, and tells
 * the node of changes of role, of manager addresses and of the root certificate.
 */
import {
  type Node,
  NodeDescription,
  type SessionMessage,
} from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { type ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import type { KnownManager } from "./choose-manager.ts";
import type { Executor } from "./exec/executor.ts";
import type { NetworkPort } from "./network/state.ts";
import { Reporter } from "./reporter.ts";
import { type DispatcherStream, Session, type SessionIdentity } from "./session.ts";
import { memoryStorage, type Storage } from "./storage.ts";
import { AgentTunnels, type TunnelPorts } from "./tunnel.ts";
import { Worker } from "./worker.ts";

/** What an agent is made with. */
export interface AgentOptions {
  readonly identity: () => SessionIdentity;
  readonly managers: readonly KnownManager[];
  readonly executor: Executor;
  /** Hears what the managers say of the data path. */
  readonly network: NetworkPort;
  /** What the node remembers of its tasks; the agent closes it. @throws ClusterError when there is no reading it. */
  readonly openStorage: () => Promise<Storage>;
  readonly connect: (manager: KnownManager, signal: AbortSignal) => Promise<DispatcherStream>;
  /** Whether the way to a manager is free now. Never rejects. */
  readonly probe: (manager: KnownManager, signal: AbortSignal) => Promise<boolean>;
  /** The managers changed; the node stores them. */
  readonly onManagers: (managers: readonly KnownManager[]) => void;
  /** The node object changed; the node renews its certificate when the role did. */
  readonly onNode: (node: Node) => void;
  /** The cluster has removed the node; the agent has stopped. */
  readonly onRemoved: (error: ClusterError) => void;
  /** PEM bundle of the roots to trust changed. */
  readonly onRoots: (pem: string) => void;
  /** How managers get byte streams to this node. */
  readonly tunnels: TunnelPorts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** State of the connection to the cluster, for `docker info`. */
export interface AgentStatus {
  readonly connected: boolean;
  /** Why not, while it is not. */
  readonly error: unknown;
}

/** How often the agent looks whether the node is described as it is, milliseconds; as in Docker's swarm. */
const describeIntervalMs = 20_000;

/** One agent; `run` is its life. */
export class Agent {
  readonly #options: AgentOptions;
  readonly #session: Session;
  readonly #reporter = new Reporter();
  #worker: Worker | undefined;
  /** The description that was last said, as bytes. */
  #described: Uint8Array = new Uint8Array(0);
  readonly #tunnels: AgentTunnels;
  #managers: readonly KnownManager[];
  /** Number of the network message up to which a manager asked; 0 when it is answered. */
  #settleAsked = 0;
  /** How many there have been. */
  #sessions = 0;
  #status: AgentStatus = { connected: false, error: undefined };
  readonly #waiting = new Set<() => void>();

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#managers = options.managers;
    this.#tunnels = new AgentTunnels(options.tunnels, options);
    this.#session = new Session(
      {
        connect: options.connect,
        probe: options.probe,
        managers: () => this.#managers,
        description: () => this.#describe(),
        identity: options.identity,
        onMessage: (message) => this.#take(message),
        onConnected: (connected, error) => this.#connected(connected, error),
        onRemoved: options.onRemoved,
        seenIndex: () => this.#worker?.seenIndex ?? 0,
      },
      options,
    );
  }

  /** Runs tasks and keeps a session until the signal aborts; containers run on after that. */
  async run(signal: AbortSignal): Promise<void> {
    const storage = await this.#openStorage();
    const { executor, identity, network, clock, log } = this.#options;
    const { nodeId } = identity();
    const reporter = this.#reporter;
    const worker = new Worker({ nodeId, executor, storage, reporter, clock, log });
    this.#worker = worker;
    const stop = new AbortController();
    const end = () => stop.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    const describing = this.#redescribe(stop.signal);
    try {
      // First: tasks that go on without a manager need their networks.
      await network.nodeIs(nodeId, storage.network);
      await worker.start(signal);
      await this.#session.run(signal);
    } finally {
      signal.removeEventListener("abort", end);
      stop.abort();
      this.#tunnels.close();
      await describing;
      await worker.close();
      await network.rest();
      await storage.close();
      this.#status = { connected: false, error: undefined };
    }
  }

  status(): AgentStatus {
    return this.#status;
  }

  managers(): readonly KnownManager[] {
    return this.#managers;
  }

  /** Adds a manager to try first: the node's own, when it has just started. */
  addManager(manager: KnownManager): void {
    this.#managers = [manager, ...this.#managers.filter((m) => m.nodeId !== manager.nodeId)];
  }

  /** Forgets a manager: the node's own, when it has stopped. */
  removeManager(nodeId: string): void {
    this.#managers = this.#managers.filter((m) => m.nodeId !== nodeId);
  }

  /** Tells the cluster that the node leaves. */
  sayGoodbye(): Promise<void> {
    return this.#session.sayGoodbye();
  }

  /** Leaves the present manager for another. */
  reconnect(): void {
    this.#session.reconnect();
  }

  /** Resolves once the agent is registered with a manager; rejects with the signal's reason. */
  registered(signal: AbortSignal): Promise<void> {
    if (this.#status.connected) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const stop = () => {
        this.#waiting.delete(wake);
        reject(signal.reason);
      };
      const wake = () => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** A node that cannot write to its disk still runs its tasks; only a restart without managers would not know them. */
  async #openStorage(): Promise<Storage> {
    try {
      return await this.#options.openStorage();
    } catch (error) {
      this.#options.log.error("tasks are kept in memory only", { err: errorText(error) });
      return memoryStorage();
    }
  }

  #describe(): NodeDescription {
    const description = this.#options.executor.describe();
    this.#described = NodeDescription.encode(description);
    return description;
  }

  /** Says how the node is whenever that has changed. */
  async #redescribe(signal: AbortSignal): Promise<void> {
    const { executor, clock } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(describeIntervalMs, signal).catch(() => {
        // Stopped: the loop's condition ends it.
      });
      if (signal.aborted || !this.#status.connected) continue;
      const before = this.#described;
      const now = NodeDescription.encode(executor.describe());
      if (Buffer.compare(before, now) !== 0) this.#session.say({ description: this.#describe() });
    }
  }

  #connected(connected: boolean, error: unknown): void {
    this.#status = { connected, error };
    if (!connected) this.#reporter.end();
    if (!connected) return;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  async #take(message: SessionMessage): Promise<void> {
    const managers = message.managers.flatMap(({ peer }) =>
      peer === undefined ? [] : [{ nodeId: peer.nodeId, address: peer.address }],
    );
    // An agent that knows no manager has no way back; the field is empty when nothing changed of it.
    if (managers.length > 0) {
      this.#managers = managers;
      this.#options.onManagers(managers);
    }
    if (message.rootCa.length > 0) this.#options.onRoots(Buffer.from(message.rootCa).toString());
    for (const tunnel of message.tunnels) this.#tunnels.open(tunnel);
    if (message.node !== undefined) {
      await this.#worker?.nodeChanged(message.node);
      this.#options.onNode(message.node);
    }
    if (message.sessionId !== "") this.#sessionBegan();
    if (message.statusesTaken > 0) this.#reporter.taken(message.statusesTaken);
    const { assignments, network } = message;
    // Before the tasks that need it.
    if (network !== undefined && !this.#options.network.take(network)) {
      this.#session.say({ resynchroniseNetwork: true });
    }
    this.#settle(message.settleNetwork);
    if (assignments === undefined) return;
    const follows = await this.#worker?.take(assignments, this.#session.seenIndex);
    if (follows === false) this.#session.say({ resynchronise: true });
  }

  /** Answers a manager that wants to know when the kernel holds what was said; not before all of it was. */
  #settle(asked: number): void {
    const { network, log } = this.#options;
    this.#settleAsked = Math.max(this.#settleAsked, asked);
    const networkSettled = this.#settleAsked;
    if (networkSettled === 0 || !network.isWhole()) return;
    this.#settleAsked = 0;
    const ofSession = this.#sessions;
    network.settled().then(
      // Numbers are those of the session in which it was asked.
      () => ofSession === this.#sessions && this.#session.say({ networkSettled }),
      (error: unknown) => log.debug("the data path is not settled", { err: errorText(error) }),
    );
  }

  #sessionBegan(): void {
    this.#settleAsked = 0;
    this.#sessions += 1;
    this.#worker?.sessionBegan();
    this.#options.network.sessionBegan();
    this.#reporter.begin((statuses) => this.#session.say({ statuses }));
  }
}
