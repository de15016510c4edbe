/**
 * The agent sessions that this manager serves.
 *
 * Every manager has one; sessions do not move when the leader changes. A session begins with the agent's hello, is kept
 * alive by its heartbeats, and is told of every change of its node object, of what is assigned to it, of the managers and
 * of the cluster's settings. What it learns of the node and its tasks goes to the leader, in batches.
 */
import {
  type AgentMessage,
  type Node,
  NodeDescription,
  NodeReport,
  SessionMessage,
  type Task,
  type TaskStatusReport,
  type TunnelRequest,
  type WeightedPeer,
} from "../../src/common/api/generated/api.ts";
import { aborting } from "../../src/common/clock/aborting.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { newId } from "../../src/common/ids/ids.ts";
import { statusesWaitingPerSessionMax } from "../../src/common/limits/agent.ts";
import { nodeDescriptionBytesMax } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { AssignmentFlow } from "./assignment-flow.ts";
import { type AssignmentSource, concernsAgent, isAssigned } from "./assignments.ts";
import { missedHeartbeatsMax } from "./heartbeat.ts";
import { NetworkFlow } from "./network-flow.ts";
import type { NetworkIndex } from "./network-index.ts";
import { outerAddressOf } from "./outer-address.ts";
import { SettlePoint } from "./settling.ts";
import { SharedWait } from "./shared-wait.ts";

/** What sessions need of their manager. */
export interface SessionsPorts {
  /** The node object as this manager's tables have it. */
  node(nodeId: string): Node | undefined;
  managers(): readonly WeightedPeer[];
  heartbeatPeriodMs(): number;
  /** PEM bundle agents are to trust. */
  roots(): Uint8Array;
  stateIndex(): number;
  /** Queues a report for the leader. */
  report(report: NodeReport): void;
  /** Notes a sign of life of a node with a session here. */
  alive(nodeId: string): void;
  readonly assignments: AssignmentSource;
  readonly network: NetworkIndex;
  /** Resolves once this manager knows all that was committed before the call. @throws ClusterError without a leader. */
  upToDate(signal: AbortSignal): Promise<void>;
  /** Brings statuses to the leader; resolves once they are committed or refused. */
  takeStatuses(nodeId: string, report: TaskStatusReport): Promise<void>;
}

/** One call of `Dispatcher.Session`. */
export interface SessionCall {
  /** From the client certificate. */
  readonly nodeId: string;
  /** Address the agent was seen from, without port. */
  readonly address: string;
  readonly messages: AsyncIterable<AgentMessage>;
  /** Resolves once the next message may follow; need not be waited for by what is small and rare. */
  send(message: SessionMessage): Promise<void>;
  readonly signal: AbortSignal;
}

interface OpenSession {
  readonly id: string;
  readonly call: SessionCall;
  readonly end: AbortController;
  lastBeatMs: number;
  /** The agent has said who it is. */
  hasHello: boolean;
  /** It was welcomed, too. */
  isRegistered: boolean;
  /** What the agent was last told of its node. */
  sentNode: string;
  readonly flow: AssignmentFlow;
  readonly networkFlow: NetworkFlow;
  readonly settlePoint: SettlePoint;
  /** Statuses that wait for the leader. */
  statusesWaiting: number;
}

/** Silence before the hello for this long ends the call, milliseconds. */
const helloTimeoutMs = 10_000;

/** Longest a manager catches up with what an agent has heard elsewhere; less than agents wait for their welcome. */
const catchUpMsMax = 3_000;
/** Pause between two looks whether it has, milliseconds. */
const catchUpLookMs = 50;
/** Pause before a manager without leader looks again whether it is up to date, milliseconds. */
const upToDateRetryMs = 500;

/** Serves sessions until the manager stops. */
export class Sessions {
  readonly #ports: SessionsPorts;
  readonly #tools: { readonly clock: Clock; readonly random: Random; readonly log: Log };
  readonly #open = new Map<string, OpenSession>();
  readonly #catchUp: SharedWait;
  readonly #end = new AbortController();
  #closed = false;

  constructor(
    ports: SessionsPorts,
    tools: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  ) {
    this.#ports = ports;
    this.#tools = tools;
    this.#catchUp = new SharedWait(() => ports.upToDate(this.#end.signal));
  }

  /** Ids of the nodes with a session here. */
  nodeIds(): string[] {
    return [...this.#open.keys()];
  }

  /** Serves one call to its end. @throws ClusterError that tells the agent why. */
  async serve(call: SessionCall): Promise<void> {
    if (this.#closed) throw new ClusterError("unavailable", "the manager is stopping");
    if (this.#ports.node(call.nodeId) === undefined) {
      throw new ClusterError("not-found", `node ${call.nodeId} is not a member of this cluster`, {
        fields: { "node.id": call.nodeId },
      });
    }
    const session = this.#begin(call);
    const watching = this.#watchBeats(session);
    try {
      for await (const message of untilAborted(call.messages, session.end.signal)) {
        this.#take(session, message);
      }
    } finally {
      session.end.abort(new ClusterError("cancelled", "the session ended"));
      session.flow.close();
      session.networkFlow.close();
      session.settlePoint.end();
      if (this.#open.get(call.nodeId) === session) this.#open.delete(call.nodeId);
      await watching;
      this.#tools.log.info("session closed", {
        "node.id": call.nodeId,
        "session.id": session.id,
      });
    }
  }

  /** Tells a node's session, if it is here, that its node object changed; ends it when the node was removed. */
  nodeChanged(nodeId: string): void {
    const session = this.#open.get(nodeId);
    if (session === undefined) return;
    const node = this.#ports.node(nodeId);
    if (node === undefined) {
      session.end.abort(
        new ClusterError("permission-denied", `node ${nodeId} was removed from the cluster`),
      );
      return;
    }
    // Reports of liveness change the object too; only what the agent acts upon is worth a message.
    const relevant = relevantText(node);
    if (!session.isRegistered || relevant === session.sentNode) return;
    session.sentNode = relevant;
    this.#send(session, { node });
  }

  /** Tells the sessions that a task is, or was, the business of. @param before Undefined unless it was updated. */
  taskChanged(before: Task | undefined, after: Task): void {
    const session = this.#open.get(after.nodeId);
    if (before !== undefined && before.nodeId !== after.nodeId) {
      this.#open.get(before.nodeId)?.flow.taskChanged(before.id);
    }
    if (session === undefined) return;
    if (before === undefined ? isAssigned(after) : concernsAgent(before, after)) {
      session.flow.taskChanged(after.id);
    }
  }

  /** Tells the session of its node that a task was removed. */
  taskRemoved(task: Task): void {
    this.#open.get(task.nodeId)?.flow.taskChanged(task.id);
  }

  /** Tells the sessions whose agents have this secret or config that it changed. */
  dependencyChanged(id: string): void {
    for (const { flow } of this.#open.values()) flow.dependencyChanged(id);
  }

  /** Changes were missed: every agent is told everything again. */
  allChanged(): void {
    for (const { call, flow, networkFlow, isRegistered } of this.#open.values()) {
      this.nodeChanged(call.nodeId);
      if (!isRegistered) continue;
      networkFlow.restart();
      flow.restart();
    }
  }

  /** Tells every session that the managers or the cluster's settings changed. */
  clusterChanged(): void {
    for (const session of this.#open.values()) {
      if (!session.isRegistered) continue;
      this.#send(session, {
        managers: this.#ports.managers(),
        heartbeatPeriodMs: this.#ports.heartbeatPeriodMs(),
        rootCa: this.#ports.roots(),
      });
    }
  }

  /** Asks a node's agent to open a tunnel; false when the node has no session here. */
  askForTunnel(nodeId: string, tunnel: TunnelRequest): boolean {
    const session = this.#open.get(nodeId);
    if (session === undefined || !session.isRegistered) return false;
    this.#send(session, { tunnels: [tunnel] });
    return true;
  }

  /** How many nodes have a session here, once their kernels hold what is to be told of the data path now. */
  async settled(): Promise<number> {
    const answers = [...this.#open.values()].map((session) => hasSettled(session));
    return (await Promise.all(answers)).filter(Boolean).length;
  }

  /** Asks every agent to find another manager: this one lost the leader. Sessions end when the agents have gone. */
  sendElsewhere(): void {
    for (const session of this.#open.values()) this.#send(session, { goElsewhere: true });
  }

  /** Ends all sessions; the agents go to other managers. */
  close(): void {
    this.#closed = true;
    this.#end.abort(new ClusterError("unavailable", "the manager is stopping"));
    this.sendElsewhere();
    for (const session of this.#open.values()) {
      session.end.abort(new ClusterError("unavailable", "the manager is stopping"));
    }
  }

  #begin(call: SessionCall): OpenSession {
    const id = newId(this.#tools.random);
    const before = this.#open.get(call.nodeId);
    before?.end.abort(new ClusterError("aborted", "the node opened a new session"));
    const end = new AbortController();
    const common = {
      upToDate: () => this.#upToDate(end.signal),
      failed: (error: unknown) => end.abort(error),
    };
    const session: OpenSession = {
      id,
      call,
      end,
      flow: new AssignmentFlow(call.nodeId, this.#ports.assignments, {
        send: (assignments) => this.#sent(session, { assignments }),
        ...common,
      }),
      networkFlow: new NetworkFlow(call.nodeId, this.#ports.network, {
        send: (network) => this.#sent(session, { network }),
        ...common,
      }),
      settlePoint: new SettlePoint((settleNetwork) => this.#send(session, { settleNetwork })),
      statusesWaiting: 0,
      lastBeatMs: this.#tools.clock.monotonic(),
      hasHello: false,
      isRegistered: false,
      sentNode: "",
    };
    const stop = () => session.end.abort(call.signal.reason);
    if (call.signal.aborted) stop();
    else call.signal.addEventListener("abort", stop, { once: true });
    this.#open.set(call.nodeId, session);
    return session;
  }

  /** @throws ClusterError for a message that may not be, which ends the session. */
  #take(session: OpenSession, message: AgentMessage): void {
    const { hello } = message;
    if (!session.hasHello && hello === undefined) {
      throw new ClusterError("failed-precondition", "a session begins with the agent's hello");
    }
    session.lastBeatMs = this.#tools.clock.monotonic();
    if (message.leaving === true) {
      this.#leave(session);
      return;
    }
    if (message.statuses !== undefined) {
      void this.#takeStatuses(session, message.statuses);
      return;
    }
    if (message.resynchronise === true) {
      if (session.isRegistered) session.flow.restart();
      return;
    }
    if (message.resynchroniseNetwork === true) {
      if (session.isRegistered) session.networkFlow.restart();
      return;
    }
    if (message.networkSettled !== undefined) {
      session.settlePoint.answered(message.networkSettled);
      return;
    }
    const description = hello?.description ?? message.description;
    if (description !== undefined) checkSize(description);
    this.#ports.alive(session.call.nodeId);
    if (hello !== undefined) {
      const { advertiseAddress, dataPathAddress, ownAddresses } = hello;
      const outerAddress = outerAddressOf(session.call.address, ownAddresses);
      const address = advertiseAddress === "" ? session.call.address : hostOf(advertiseAddress);
      const seen = { address, dataPathAddress, outerAddress };
      this.#report(session, { state: "ready", description, ...seen });
      session.hasHello = true;
      void this.#welcomeFrom(session, hello.seenIndex);
    } else if (description !== undefined) {
      this.#report(session, { state: "ready", description });
    } else {
      // A heartbeat is answered with an empty message, so that the agent notices a dead way back.
      this.#send(session, {});
    }
  }

  /** Passes statuses on, and tells the agent when they are there. */
  async #takeStatuses(session: OpenSession, report: TaskStatusReport): Promise<void> {
    session.statusesWaiting += report.statuses.length;
    if (session.statusesWaiting > statusesWaitingPerSessionMax) {
      const text = "too many task statuses wait for the leader";
      session.end.abort(new ClusterError("resource-exhausted", text));
      return;
    }
    await this.#ports.takeStatuses(session.call.nodeId, report);
    session.statusesWaiting -= report.statuses.length;
    if (!session.end.signal.aborted) this.#send(session, { statusesTaken: report.number });
  }

  /** Waits for a leader for as long as the session lasts: an agent without news goes on with what it has. */
  async #upToDate(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await aborting(this.#catchUp.wait(), signal);
        return;
      } catch {
        if (signal.aborted) throw signal.reason;
        // No leader just now; if that lasts, the agents are sent elsewhere.
        await this.#tools.clock.sleep(upToDateRetryMs, signal);
      }
    }
  }

  /** The node is down at once, not only when its heartbeats are missed. */
  #leave(session: OpenSession): void {
    this.#report(session, { state: "down", message: "node left" });
    session.end.abort(new ClusterError("cancelled", "the node left"));
  }

  #report(session: OpenSession, fields: Partial<NodeReport>): void {
    const { nodeId } = session.call;
    this.#ports.report(NodeReport.create({ ...fields, nodeId }));
  }

  /** An agent that comes from a manager further on is not told an older state, unless the newer one does not come. */
  async #welcomeFrom(session: OpenSession, seenIndex: number): Promise<void> {
    const { clock } = this.#tools;
    const end = clock.monotonic() + catchUpMsMax;
    try {
      while (this.#ports.stateIndex() < seenIndex && clock.monotonic() < end) {
        await clock.sleep(catchUpLookMs, session.end.signal);
      }
      this.#welcome(session);
    } catch (error) {
      session.end.abort(error);
    }
  }

  #welcome(session: OpenSession): void {
    const node = this.#ports.node(session.call.nodeId);
    session.isRegistered = true;
    session.sentNode = node === undefined ? "" : relevantText(node);
    this.#tools.log.info("session opened", {
      "node.id": session.call.nodeId,
      "session.id": session.id,
    });
    this.#send(session, {
      sessionId: session.id,
      node,
      managers: this.#ports.managers(),
      heartbeatPeriodMs: this.#ports.heartbeatPeriodMs(),
      rootCa: this.#ports.roots(),
    });
    session.networkFlow.restart();
    session.flow.restart();
  }

  #send(session: OpenSession, fields: Partial<SessionMessage>): void {
    this.#sent(session, fields).catch((error: unknown) => session.end.abort(error));
  }

  #sent(session: OpenSession, fields: Partial<SessionMessage>): Promise<void> {
    const stateIndex = this.#ports.stateIndex();
    return session.call.send(SessionMessage.create({ ...fields, stateIndex }));
  }

  async #watchBeats(session: OpenSession): Promise<void> {
    const { clock } = this.#tools;
    const { signal } = session.end;
    try {
      await clock.sleep(helloTimeoutMs, signal);
      if (!session.isRegistered) {
        session.end.abort(new ClusterError("deadline-exceeded", "the agent did not register"));
        return;
      }
      for (;;) {
        const limit = this.#ports.heartbeatPeriodMs() * missedHeartbeatsMax;
        const silent = clock.monotonic() - session.lastBeatMs;
        if (silent >= limit) {
          session.end.abort(new ClusterError("deadline-exceeded", "heartbeat failure"));
          return;
        }
        await clock.sleep(limit - silent, signal);
      }
    } catch {
      // The session ended while this waited.
    }
  }
}

/** Host of `HOST:PORT`, without brackets. */
function hostOf(address: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(address);
  return match?.[1] ?? match?.[2] ?? address;
}

/** @throws ClusterError invalid-argument: a description that fits nowhere would hold up the reports of all nodes. */
function checkSize(description: NodeDescription): void {
  const { length } = NodeDescription.encode(description);
  if (length <= nodeDescriptionBytesMax) return;
  throw new ClusterError(
    "invalid-argument",
    `the description of the node has ${length} bytes, ${nodeDescriptionBytesMax} are allowed: use fewer or shorter engine labels`,
  );
}

/** Whether the session's node holds what there was to say; false when the session ended, or has not begun. */
function hasSettled({
  isRegistered,
  networkFlow,
  settlePoint,
}: OpenSession): boolean | Promise<boolean> {
  if (!isRegistered) return false;
  const saying = networkFlow.saying();
  if (saying === undefined) {
    return settlePoint.has(networkFlow.said) || settlePoint.reaches(networkFlow.said);
  }
  return saying.then(() => settlePoint.reaches(networkFlow.said));
}

/** Changes exactly when a part of the node changed that its agent acts upon. */
function relevantText(node: Node): string {
  return JSON.stringify([node.role, node.spec, node.number, node.certificate?.state]);
}

/** Yields from `source` until it ends or the signal aborts, in which case the signal's reason is thrown. */
async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  for (;;) {
    const next = await aborting(iterator.next(), signal);
    if (next.done === true) return;
    yield next.value;
  }
}
