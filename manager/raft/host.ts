/**
 * The main thread's side of Raft: proposals and reads in, committed batches, leadership and members out.
 *
 * `manager.ts` starts it and joins it with the store. The protocol, the log and the peers are in the worker thread
 * (`worker-session.ts`), so that nothing that happens here delays a heartbeat. Committed batches are handed over in order,
 * one at a time; the worker sends more only as they are taken.
 */
import { Worker } from "node:worker_threads";
import type { RaftMember } from "../../src/common/api/generated/api.ts";
import { aborting } from "../../src/common/clock/aborting.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import {
  proposalBytesMax,
  proposalsWaitingBytesMax,
  raftWorkerExitMs,
} from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import { drop, type HandedConnection } from "../../src/common/rpc/handed-connection.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import { type CommittedBatch, CommittedInbox, type ReceivedSnapshot } from "./committed-inbox.ts";
import {
  errorFromData,
  type HostCall,
  type MemberStatus,
  type RaftStats,
  type ToMain,
  type ToWorker,
  type WorkerStart,
} from "./host-messages.ts";
import { ProposalQueue } from "./proposal-queue.ts";
import { SnapshotServer, type SnapshotSource } from "./snapshot-server.ts";
import type { RaftProfile } from "./timing.ts";

/** How a host is started. */
export interface RaftHostOptions {
  /** `<data>/raft`: the log in `log`, the floor in `floor`. */
  readonly dataDir: string;
  /** This member; its Raft id counts only at the very first start, `raftId()` tells the one in force. */
  readonly member: RaftMember;
  readonly clusterId: string;
  /** The one TCP port of the manager. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Unix socket of the main thread's server, for everything that is not Raft and cannot be handed over. */
  readonly relayPath: string;
  /** Takes over a connection that is not Raft's. Without it all of them are relayed. */
  readonly onConnection?: (connection: HandedConnection) => void;
  readonly tls: TlsMaterial;
  readonly keys: DataKeys;
  /** First start of the first manager of a cluster. */
  readonly bootstrap?: boolean;
  /** Become the only manager, with the state that is here. */
  readonly forceNewCluster?: boolean;
  /** Managers known from elsewhere: of the group to join, or as a help when the log is lost. */
  readonly joinMembers?: readonly RaftMember[];
  /** The group has just taken `member` in under its id, in place of whatever this node was to it before. */
  readonly admitted?: boolean;
  readonly profile?: RaftProfile;
  /** What the store's durable checkpoint has applied; 0 without one. */
  readonly appliedIndex: number;
  /** Term of the entry at that index. */
  readonly appliedTerm?: number;
  readonly log: Log;
}

/** Who leads. */
export interface Leadership {
  readonly term: number;
  readonly leaderNodeId: string | undefined;
  readonly leaderAddress: string | undefined;
  /** Whether this manager leads and has applied everything committed in earlier terms. */
  readonly isLeader: boolean;
}

/** The running Raft member, seen from the main thread. */
export interface RaftHost {
  /** Where the front listens. */
  readonly address: { readonly host: string; readonly port: number };
  /** The member's id; a new one after it lost entries of its log. */
  raftId(): number;
  /**
   * Appends to the replicated log; resolves once this leader has appended it (it may still not come to be committed).
   *
   * @throws ClusterError unavailable when this manager does not lead, resource-exhausted when too much waits or the disk
   *   is full, invalid-argument when it is too large.
   */
  propose(data: Uint8Array): Promise<{ readonly index: number; readonly term: number }>;
  /** Takes committed entries, in order; the next batch comes when the returned promise has resolved. One taker. */
  onCommitted(take: (batch: CommittedBatch) => void | Promise<void>): void;
  /**
   * Waits until everything committed before the call is applied here.
   *
   * @returns The index that was applied.
   * @throws ClusterError unavailable without a leader that can be reached; the signal's reason.
   */
  readIndex(signal?: AbortSignal): Promise<number>;
  leadership(): Leadership;
  onLeadership(listener: (leadership: Leadership) => void): void;
  members(): readonly MemberStatus[];
  onMembers(listener: (members: readonly MemberStatus[]) => void): void;
  /** Takes a member in as a learner; it becomes a voter by itself. Leader only. */
  addMember(member: RaftMember): Promise<void>;
  /** @throws ClusterError failed-precondition when the reachable rest would be no quorum. Leader only. */
  removeMember(raftId: number): Promise<void>;
  transferLeadership(to?: number): Promise<void>;
  /** The store's checkpoint is durable up to `index`: the log may be cut. */
  compacted(index: number): void;
  /** Has frozen state streamed to a peer when asked. One source. */
  onSnapshotWanted(source: SnapshotSource): void;
  /**
   * Installs a received state, all or nothing and durable, before the promise resolves; it rejects only while the state
   * is as before, on disk too, and otherwise never settles. One taker.
   */
  onSnapshotReceived(install: (snapshot: ReceivedSnapshot) => Promise<void>): void;
  /** Why nothing can be written; undefined while it can. */
  stalled(): string | undefined;
  /** Why the group can have no leader until a person acts; undefined while it can. */
  standstill(): string | undefined;
  /** This member was removed from the group by others. */
  onRemoved(listener: () => void): void;
  /** Has the others know that this member is reached at `address` from now on. */
  readdress(address: string): Promise<void>;
  updateTls(tls: TlsMaterial): void;
  /** Resolves once nothing on disk is sealed with any other than the current key. */
  rotateKeys(keys: DataKeys): Promise<void>;
  stats(): RaftStats | undefined;
  stop(options: { readonly transfer: boolean }): Promise<void>;
  /** Ends the thread without ceremony, as a crash would. */
  terminate(): Promise<void>;
  /** Rejects when the worker died or cannot go on. */
  readonly fatal: Promise<never>;
}

/**
 * Starts the worker and waits until it takes part.
 *
 * @throws ClusterError when disk, address or group do not allow it.
 */
export async function startRaftHost(options: RaftHostOptions): Promise<RaftHost> {
  const start: WorkerStart = {
    dataDir: options.dataDir,
    member: options.member,
    clusterId: options.clusterId,
    listen: options.listen,
    relayPath: options.relayPath,
    handsOver: options.onConnection !== undefined,
    tls: options.tls,
    keys: options.keys,
    bootstrap: options.bootstrap ?? false,
    forceNewCluster: options.forceNewCluster ?? false,
    joinMembers: options.joinMembers ?? [],
    admitted: options.admitted ?? false,
    profile: options.profile ?? "normal",
    appliedIndex: options.appliedIndex,
    appliedTerm: options.appliedTerm ?? 0,
  };
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: start,
    name: "raft",
  });
  const host = new WorkerHost(worker, options);
  try {
    await host.started;
    return host;
  } catch (error) {
    await host.stop({ transfer: false });
    throw error;
  }
}

/** How long the thread may take to exit before it is stopped by force, milliseconds. */
const exitTimeoutMs = 2000;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

class WorkerHost implements RaftHost {
  readonly fatal: Promise<never>;
  readonly started: Promise<void>;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #log: Log;
  readonly #onConnection: (connection: HandedConnection) => void;
  readonly #inbox: CommittedInbox;
  readonly #proposals: ProposalQueue;
  readonly #snapshots: SnapshotServer;
  readonly #calls = new Map<number, Waiting>();
  readonly #reads = new Map<
    number,
    { resolve: (index: number) => void; reject: (e: unknown) => void }
  >();
  readonly #leadershipListeners: ((leadership: Leadership) => void)[] = [];
  readonly #memberListeners: ((members: readonly MemberStatus[]) => void)[] = [];
  readonly #removedListeners: (() => void)[] = [];
  #address = { host: "", port: 0 };
  #raftId = 0;
  #raw = { term: 0, leader: 0, leads: false, readyIndex: 0 };
  #leadership: Leadership = {
    term: 0,
    leaderNodeId: undefined,
    leaderAddress: undefined,
    isLeader: false,
  };
  #members: readonly MemberStatus[] = [];
  #stats: RaftStats | undefined;
  #removed = false;
  #stalled: string | undefined;
  #standstill: string | undefined;
  #nextId = 1;
  #stopping = false;
  #ended: ClusterError | undefined;
  #resolveStarted: () => void = () => {};
  #rejectStarted: (error: unknown) => void = () => {};
  #rejectFatal: (error: unknown) => void = () => {};

  constructor(worker: Worker, options: RaftHostOptions) {
    this.#worker = worker;
    this.#exited = new Promise((resolve) => worker.once("exit", () => resolve()));
    this.#log = options.log;
    this.#onConnection = options.onConnection ?? drop;
    this.started = new Promise((resolve, reject) => {
      this.#resolveStarted = resolve;
      this.#rejectStarted = reject;
    });
    this.fatal = new Promise((_, reject) => {
      this.#rejectFatal = reject;
    });
    this.fatal.catch(() => {
      // Its owner may come to look only later; that is no unhandled rejection.
    });
    const post = (message: ToWorker, transfer: readonly ArrayBuffer[] = []) =>
      this.#post(message, transfer);
    this.#proposals = new ProposalQueue(post, {
      itemMax: proposalBytesMax,
      totalMax: proposalsWaitingBytesMax,
    });
    this.#inbox = new CommittedInbox({
      appliedIndex: options.appliedIndex,
      post,
      onApplied: (index) => this.#applied(index),
      onFailed: (error) => this.#end(error),
    });
    this.#snapshots = new SnapshotServer({
      post,
      appliedAtLeast: (index) => this.#inbox.reached(index),
    });
    worker.on("message", (message: ToMain) => this.#handle(message));
    worker.on("error", (error) => this.#end(error));
    this.#exited = new Promise((resolve) => {
      worker.on("exit", () => {
        this.#end(new ClusterError("internal", "the raft worker ended"));
        resolve();
      });
    });
  }

  get address(): { readonly host: string; readonly port: number } {
    return this.#address;
  }

  raftId(): number {
    return this.#raftId;
  }

  propose(data: Uint8Array): Promise<{ readonly index: number; readonly term: number }> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (this.#stalled !== undefined) {
      return Promise.reject(
        new ClusterError(
          "resource-exhausted",
          `no space left on the manager's disk, nothing can be written until there is: ${this.#stalled}`,
        ),
      );
    }
    return this.#proposals.propose(data);
  }

  onCommitted(take: (batch: CommittedBatch) => void | Promise<void>): void {
    this.#inbox.setTaker(take);
  }

  async readIndex(signal?: AbortSignal): Promise<number> {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#nextId++;
    const point = new Promise<number>((resolve, reject) => {
      this.#reads.set(id, { resolve, reject });
      this.#post({ type: "read", id });
    });
    try {
      const index = await (signal === undefined ? point : aborting(point, signal));
      await this.#inbox.reached(index, signal);
      return index;
    } finally {
      this.#reads.delete(id);
    }
  }

  leadership(): Leadership {
    return this.#leadership;
  }

  onLeadership(listener: (leadership: Leadership) => void): void {
    this.#leadershipListeners.push(listener);
  }

  members(): readonly MemberStatus[] {
    return this.#members;
  }

  onMembers(listener: (members: readonly MemberStatus[]) => void): void {
    this.#memberListeners.push(listener);
  }

  addMember(member: RaftMember): Promise<void> {
    return this.#call({ kind: "add-member", member });
  }

  removeMember(raftId: number): Promise<void> {
    return this.#call({ kind: "remove-member", raftId });
  }

  transferLeadership(to?: number): Promise<void> {
    return this.#call({ kind: "transfer", to });
  }

  compacted(index: number): void {
    this.#post({ type: "compacted", index });
  }

  onSnapshotWanted(source: SnapshotSource): void {
    this.#snapshots.setSource(source);
  }

  onSnapshotReceived(install: (snapshot: ReceivedSnapshot) => Promise<void>): void {
    this.#inbox.setInstaller(install);
  }

  stalled(): string | undefined {
    return this.#stalled;
  }

  standstill(): string | undefined {
    return this.#standstill;
  }

  onRemoved(listener: () => void): void {
    this.#removedListeners.push(listener);
    if (this.#removed) listener();
  }

  readdress(address: string): Promise<void> {
    return this.#call({ kind: "readdress", address });
  }

  updateTls(tls: TlsMaterial): void {
    this.#call({ kind: "update-tls", tls }).catch((error: unknown) => {
      this.#log.warn("raft certificates were not replaced", { err: error });
    });
  }

  rotateKeys(keys: DataKeys): Promise<void> {
    return this.#call({ kind: "rotate-keys", keys });
  }

  stats(): RaftStats | undefined {
    return this.#stats;
  }

  async stop(options: { readonly transfer: boolean }): Promise<void> {
    if (this.#ended === undefined) {
      await this.#call({ kind: "stop", transfer: options.transfer }).catch((error: unknown) => {
        this.#log.warn("raft did not stop cleanly", { err: error });
      });
    } else {
      // What failed may be on this side: then the thread still runs.
      this.#worker.postMessage({ type: "call", id: 0, call: { kind: "stop", transfer: false } });
    }
    this.#stopping = true;
    this.#end(new ClusterError("unavailable", "the manager has stopped"));
    // The thread ends by itself once all is closed. Ended from outside while a peer's data comes in, Node 20 aborts the
    // whole process, so that is for a thread that hangs.
    const timer = setTimeout(() => {
      this.#log.warn("raft thread does not end by itself");
      void this.terminate();
    }, raftWorkerExitMs);
    await this.#exited;
    clearTimeout(timer);
  }

  async terminate(): Promise<void> {
    this.#stopping = true;
    // Asked to exit, the thread ends between two events. `Worker.terminate` would stop it anywhere, and in the middle of
    // HTTP/2 data that ends the whole process with a failed assertion (Node 20); it is for a thread that does not answer.
    this.#worker.postMessage({ type: "exit" } satisfies ToWorker);
    this.#end(new ClusterError("unavailable", "the manager has stopped"));
    const timer = setTimeout(() => void this.#worker.terminate(), exitTimeoutMs);
    await this.#exited;
    clearTimeout(timer);
  }

  #post(message: ToWorker, transfer: readonly ArrayBuffer[] = []): void {
    if (this.#ended === undefined) this.#worker.postMessage(message, transfer);
  }

  #call(call: HostCall): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#post({ type: "call", id, call });
    });
  }

  #handle(message: ToMain): void {
    if (message.type === "several") {
      for (const one of message.messages) this.#handle(one);
      return;
    }
    if (message.type === "connection") {
      if (this.#ended === undefined) this.#onConnection(message.connection);
      else drop(message.connection);
      return;
    }
    if (this.#ended !== undefined) return;
    if (this.#inbox.handle(message) || this.#snapshots.handle(message)) return;
    switch (message.type) {
      case "proposed":
        this.#proposals.proposed(message);
        return;
      case "proposal-failed":
        this.#proposals.failed(message.id, errorFromData(message.error));
        return;
      case "read-point":
        this.#reads.get(message.id)?.resolve(message.index);
        this.#reads.delete(message.id);
        return;
      case "read-failed":
        this.#reads.get(message.id)?.reject(errorFromData(message.error));
        this.#reads.delete(message.id);
        return;
      case "answer":
        this.#answered(message.id, message.error && errorFromData(message.error));
        return;
      case "ping":
        this.#post({ type: "pong" });
        return;
      case "fatal":
        this.#end(errorFromData(message.error));
        return;
      default:
        this.#observe(message);
    }
  }

  #observe(message: ToMain): void {
    switch (message.type) {
      case "started":
        this.#address = { host: message.host, port: message.port };
        this.#raftId = message.raftId;
        this.#resolveStarted();
        return;
      case "leadership":
        if (message.term !== this.#raw.term) this.#proposals.termBegan(message.term);
        this.#raw = message;
        this.#tellLeadership();
        return;
      case "members":
        this.#raftId = message.raftId;
        this.#members = message.members;
        for (const listener of this.#memberListeners) listener(message.members);
        this.#tellLeadership();
        return;
      case "stats":
        this.#stats = message.stats;
        return;
      case "log":
        this.#log[message.level](message.message, message.fields);
        return;
      case "removed":
        this.#removed = true;
        for (const listener of this.#removedListeners) listener();
        return;
      case "standstill":
        this.#standstill = message.reason;
        return;
      case "stalled":
        this.#stalled = message.reason;
        return;
      default:
    }
  }

  #answered(id: number, error: ClusterError | undefined): void {
    const waiting = this.#calls.get(id);
    this.#calls.delete(id);
    if (error === undefined) waiting?.resolve();
    else waiting?.reject(error);
  }

  #applied(index: number): void {
    this.#proposals.applied(index);
    this.#tellLeadership();
  }

  #tellLeadership(): void {
    const { term, leader, leads, readyIndex } = this.#raw;
    const member = this.#members.find((m) => m.raftId === leader);
    const next: Leadership = {
      term,
      leaderNodeId: member?.nodeId,
      leaderAddress: member?.address,
      isLeader: leads && this.#inbox.appliedIndex >= readyIndex,
    };
    const before = this.#leadership;
    if (
      before.term === next.term &&
      before.leaderNodeId === next.leaderNodeId &&
      before.leaderAddress === next.leaderAddress &&
      before.isLeader === next.isLeader
    ) {
      return;
    }
    this.#leadership = next;
    for (const listener of this.#leadershipListeners) listener(next);
  }

  #end(reason: unknown): void {
    if (this.#ended !== undefined) return;
    const error =
      reason instanceof ClusterError
        ? reason
        : new ClusterError("internal", `the raft worker failed: ${errorText(reason)}`, {
            cause: reason,
          });
    this.#ended = error;
    if (this.#leadership.isLeader) {
      this.#leadership = { ...this.#leadership, isLeader: false };
      for (const listener of this.#leadershipListeners) listener(this.#leadership);
    }
    this.#proposals.end(error);
    this.#inbox.end(error);
    this.#snapshots.end(error);
    for (const read of this.#reads.values()) read.reject(error);
    for (const call of this.#calls.values()) call.reject(error);
    this.#reads.clear();
    this.#calls.clear();
    this.#rejectStarted(error);
    if (!this.#stopping) this.#rejectFatal(error);
  }
}
