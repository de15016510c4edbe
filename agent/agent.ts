/**
 * The part of a node that talks to the dispatcher: joins session and node.
 *
 * Knows the managers, keeps one session open, and tells the node of changes of role, of manager addresses and of the root
 * certificate. Tasks come with later work.
 */
import type { Node, NodeDescription, SessionMessage } from "../src/common/api/generated/api.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import type { ClusterError } from "../src/common/errors/cluster-error.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import type { KnownManager } from "./choose-manager.ts";
import { type DispatcherStream, Session, type SessionIdentity } from "./session.ts";

/** What an agent is made with. */
export interface AgentOptions {
  readonly identity: () => SessionIdentity;
  readonly managers: readonly KnownManager[];
  readonly description: () => NodeDescription;
  readonly connect: (manager: KnownManager, signal: AbortSignal) => Promise<DispatcherStream>;
  /** The managers changed; the node stores them. */
  readonly onManagers: (managers: readonly KnownManager[]) => void;
  /** The node object changed; the node renews its certificate when the role did. */
  readonly onNode: (node: Node) => void;
  /** The cluster has removed the node; the agent has stopped. */
  readonly onRemoved: (error: ClusterError) => void;
  /** PEM bundle of the roots to trust changed. */
  readonly onRoots: (pem: string) => void;
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

/** One agent; `run` is its life. */
export class Agent {
  readonly #options: AgentOptions;
  readonly #session: Session;
  #managers: readonly KnownManager[];
  #status: AgentStatus = { connected: false, error: undefined };
  readonly #waiting = new Set<() => void>();

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#managers = options.managers;
    this.#session = new Session(
      {
        connect: options.connect,
        managers: () => this.#managers,
        description: options.description,
        identity: options.identity,
        onMessage: (message) => this.#take(message),
        onConnected: (connected, error) => this.#connected(connected, error),
        onRemoved: options.onRemoved,
      },
      options,
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#session.run(signal);
    this.#status = { connected: false, error: undefined };
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

  #connected(connected: boolean, error: unknown): void {
    this.#status = { connected, error };
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
    if (message.node !== undefined) this.#options.onNode(message.node);
  }
}
