/**
 * The agent's one stream to a manager: registers, beats, and hands on what the manager says.
 *
 * Sits between `agent.ts` and the dispatcher of any manager. One `run` is the life of the agent in the swarm: it goes from
 * manager to manager until its signal aborts.
 */
import {
  AgentMessage,
  type NodeDescription,
  type SessionMessage,
} from "../src/common/api/generated/api.ts";
import { Alarm } from "../src/common/clock/alarm.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import { isRemoval } from "../src/common/errors/removal.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import {
  chooseManager,
  heartbeatDelayMs,
  type KnownManager,
  retryDelayMs,
} from "./choose-manager.ts";
import { cutHealed } from "./path-watch.ts";

/** An open session stream. */
export interface DispatcherStream {
  send(message: AgentMessage): void;
  /** Messages of the manager; ends or throws when the stream does. */
  readonly messages: AsyncIterable<SessionMessage>;
  close(): void;
}

/** What a session needs from its node. */
export interface SessionPorts {
  /** The stream ends when the signal aborts. @throws ClusterError when the manager cannot be reached or is not one. */
  connect(manager: KnownManager, signal: AbortSignal): Promise<DispatcherStream>;
  /** Whether the way to the manager is free now. Never rejects. */
  probe(manager: KnownManager, signal: AbortSignal): Promise<boolean>;
  managers(): readonly KnownManager[];
  description(): NodeDescription;
  /** Asked for each registration: the addresses may be others by then. */
  identity(): SessionIdentity;
  /** Called for each message, in order; the session goes on when it resolves. */
  onMessage(message: SessionMessage): Promise<void>;
  /** Called whenever the session is registered or lost; with the last error while it is not. */
  onConnected(connected: boolean, error?: unknown): void;
  /** The cluster has removed the node: no manager will ever serve it again. */
  onRemoved(error: ClusterError): void;
  /** Highest state index that an earlier life of the agent heard of. */
  seenIndex(): number;
}

/** Who registers, and as what. */
export interface SessionIdentity {
  readonly nodeId: string;
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  /** Of the node's devices, as far as they are known. */
  readonly ownAddresses?: readonly string[];
}

/** Until a manager has said otherwise, milliseconds; Docker's default. */
const heartbeatPeriodDefaultMs = 5000;
/** How long a manager may take to answer the registration. */
const registrationTimeoutMs = 10_000;
/** Silence from the manager for this many heartbeat periods ends the stream: the way back may be cut. */
const silentPeriodsMax = 4;

/** What the beats of one stream depend on. */
interface Pulse {
  /** The manager has answered the registration. */
  isRegistered: boolean;
  lastMessageMs: number;
  lastBeatMs: number;
  periodMs: number;
  /** Rings when one of the above makes the next beat due earlier. */
  readonly alarm: Alarm;
}

/** Keeps one session open for as long as it runs. */
export class Session {
  readonly #ports: SessionPorts;
  readonly #tools: { readonly clock: Clock; readonly random: Random; readonly log: Log };
  readonly #failed = new Set<string>();
  #failures = 0;
  #seenIndex = 0;
  #current: DispatcherStream | undefined;
  /** Ends with the present stream. */
  #over: Promise<void> = Promise.resolve();

  constructor(
    ports: SessionPorts,
    tools: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  ) {
    this.#ports = ports;
    this.#tools = tools;
  }

  /** Leaves the present manager, if any; the loop goes on with the next. */
  reconnect(): void {
    this.#current?.close();
  }

  /** Says that the node leaves; resolves when a manager has heard it, or there is none to tell. */
  async sayGoodbye(): Promise<void> {
    const stream = this.#current;
    if (stream === undefined) return;
    stream.send(AgentMessage.create({ leaving: true }));
    await this.#over;
  }

  /** Highest state index heard of in this session, and in those before unless the cluster began again from less. */
  get seenIndex(): number {
    return this.#seenIndex;
  }

  /** Says something to the present manager, if any; for a registered session only. */
  say(message: Partial<AgentMessage>): void {
    this.#current?.send(AgentMessage.create(message));
  }

  /** Runs until `signal` aborts, or the cluster says that the node was removed. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#tools;
    this.#seenIndex = Math.max(this.#seenIndex, this.#ports.seenIndex());
    while (!signal.aborted) {
      const manager = chooseManager({
        managers: this.#ports.managers(),
        ownNodeId: this.#ports.identity().nodeId,
        failed: this.#failed,
        random: random.float(),
      });
      if (manager !== undefined) {
        try {
          await this.#serve(manager, signal);
        } catch (error) {
          if (signal.aborted) return;
          this.#failed.add(manager.address);
          this.#ports.onConnected(false, error);
          log.info("session ended", { peer: manager.address, err: errorText(error) });
          if (isRemoval(error)) {
            this.#ports.onRemoved(error);
            return;
          }
        }
      }
      await clock.sleep(retryDelayMs(this.#failures++, random.float()), signal).catch(() => {
        // Aborted: the loop's condition ends it.
      });
    }
  }

  async #serve(manager: KnownManager, signal: AbortSignal): Promise<void> {
    const { clock } = this.#tools;
    const stop = new AbortController();
    const end = () => stop.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    try {
      // A connection that is begun while the way is cut would be tried again after ever longer pauses.
      if (!(await this.#ports.probe(manager, stop.signal))) {
        throw new ClusterError("unavailable", `no answer from the manager at ${manager.address}`);
      }
      const stream = await this.#ports.connect(manager, stop.signal);
      const now = clock.monotonic();
      const pulse: Pulse = {
        isRegistered: false,
        lastMessageMs: now,
        lastBeatMs: now,
        periodMs: heartbeatPeriodDefaultMs,
        alarm: new Alarm(clock),
      };
      const beating = this.#beat(stream, pulse, stop.signal);
      const watching = this.#watch({ manager, stream, pulse }, stop.signal);
      try {
        await this.#converse(manager, stream, pulse);
      } finally {
        stop.abort();
        stream.close();
        await Promise.all([beating, watching]);
      }
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  /** Registers and takes what the manager says. @throws Error always: a session ends for a reason. */
  async #converse(manager: KnownManager, stream: DispatcherStream, pulse: Pulse): Promise<never> {
    let end: () => void = () => {};
    this.#current = stream;
    this.#over = new Promise((resolve) => {
      end = resolve;
    });
    try {
      const { advertiseAddress, dataPathAddress, ownAddresses = [] } = this.#ports.identity();
      stream.send(
        AgentMessage.create({
          hello: {
            description: this.#ports.description(),
            advertiseAddress,
            dataPathAddress,
            seenIndex: this.#seenIndex,
            ownAddresses: [...ownAddresses],
          },
        }),
      );
      for await (const message of stream.messages) {
        this.#feel(pulse, message);
        await this.#take(manager, message);
        if (message.goElsewhere) throw new Error("the manager asked the agent to go elsewhere");
      }
      throw new Error("the manager ended the session");
    } finally {
      this.#current = undefined;
      end();
    }
  }

  #feel(pulse: Pulse, message: SessionMessage): void {
    pulse.lastMessageMs = this.#tools.clock.monotonic();
    if (message.heartbeatPeriodMs > 0) pulse.periodMs = message.heartbeatPeriodMs;
    if (message.sessionId !== "") pulse.isRegistered = true;
    // The period may be another one now; a beat is sent when it is due under that.
    if (message.heartbeatPeriodMs > 0 || message.sessionId !== "") pulse.alarm.ring();
  }

  async #take(manager: KnownManager, message: SessionMessage): Promise<void> {
    if (message.sessionId !== "") {
      this.#failed.clear();
      this.#failures = 0;
      this.#tools.log.info("session opened", {
        "session.id": message.sessionId,
        peer: manager.address,
      });
    }
    // Not the highest ever: a cluster that was made anew from an older state begins again from there.
    const before = message.sessionId === "" ? this.#seenIndex : 0;
    this.#seenIndex = Math.max(before, message.stateIndex);
    await this.#ports.onMessage(message);
    if (message.sessionId !== "") this.#ports.onConnected(true);
  }

  /** Closes the stream when the way was cut for a while: it could go on being silent. */
  async #watch(
    o: { readonly manager: KnownManager; readonly stream: DispatcherStream; readonly pulse: Pulse },
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, log } = this.#tools;
    const { manager, stream, pulse } = o;
    const unansweredMs = () =>
      pulse.lastBeatMs > pulse.lastMessageMs ? clock.monotonic() - pulse.lastBeatMs : 0;
    const probe = (over: AbortSignal) => this.#ports.probe(manager, over);
    if (!(await cutHealed({ unansweredMs, probe }, { clock, signal }))) return;
    log.info("the way to the manager was cut, the session begins anew", { peer: manager.address });
    stream.close();
  }

  /** Beats until the signal aborts, and closes the stream of a manager that does not answer, or has fallen silent. */
  async #beat(stream: DispatcherStream, pulse: Pulse, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#tools;
    while (!signal.aborted) {
      const delayMs = pulse.isRegistered
        ? heartbeatDelayMs(pulse.periodMs, random.float())
        : registrationTimeoutMs;
      const leftMs = Math.max(0, pulse.lastBeatMs + delayMs - clock.monotonic());
      const isDue = await pulse.alarm.pause(leftMs, signal);
      if (!isDue) continue;
      const silentMs = clock.monotonic() - pulse.lastMessageMs;
      if (!pulse.isRegistered || silentMs > pulse.periodMs * silentPeriodsMax) {
        stream.close();
        return;
      }
      pulse.lastBeatMs = clock.monotonic();
      stream.send(AgentMessage.create({ heartbeat: {} }));
    }
  }
}
