/**
 * Drives the Raft core in the worker thread: time, messages and proposals in; storage, peers and the main thread out.
 *
 * The order is here. Input is stepped at once and the outstanding work is taken once per turn of the event loop, so that
 * everything that arrived together shares messages and writes. Storage work runs asynchronously: what depends on it
 * waits in the persister and comes back as responses; committed entries go to the main thread through the apply queue
 * and count as applied when it says so. Configuration changes are applied here, in the order of the log.
 */
import { RaftConfChange, type RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import {
  committedBytesMax,
  proposalsWaitingBytesMax,
  raftAppendBytesMax,
  raftInflightMax,
  readIndexTimeoutMs,
} from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { ApplyQueue, type CommittedEntries } from "./apply-queue.ts";
import { message as newMessage, noBytes } from "./core/message.ts";
import { RawNode } from "./core/raw-node.ts";
import {
  type ConfState,
  type Entry,
  type HardState,
  leaveJoint,
  localAppendThread,
  localApplyThread,
  type Message,
  type MessageType,
  none,
  type RaftConfig,
  type RaftStatus,
  type Role,
  type Snapshot,
  type SoftState,
} from "./core/types.ts";
import { LeaderDuties } from "./leader-duties.ts";
import type { LogTail } from "./log-tail.ts";
import {
  appliedChange,
  coreChange,
  isJoint,
  type Membership,
  membershipFromMeta,
  metaFromMembership,
} from "./membership.ts";
import { Persister } from "./persister.ts";
import { ReadRounds } from "./read-rounds.ts";
import { bootstrapIndex } from "./recovery.ts";
import type { RaftStorage } from "./storage.ts";
import type { RaftTiming } from "./timing.ts";
import { snapshotFromMeta } from "./wire.ts";

/** Who leads, as far as this member knows. */
export interface LeadershipState {
  readonly term: number;
  readonly leader: number;
  readonly role: Role;
  /** While this member leads: once this is applied, everything earlier terms committed is. */
  readonly readyIndex: number;
}

/** What the node tells; peers and main thread are behind it. */
export interface RaftNodeEvents {
  send(message: Message): void;
  flush(): void;
  sendSnapshot(message: Message): void;
  committed(batch: CommittedEntries): void;
  leadership(state: LeadershipState): void;
  membership(membership: Membership): void;
  /** This member has applied its own removal. */
  removed(): void;
  /** The leader knows of entries this member no longer has. */
  lost(reason: string): void;
  failed(error: unknown): void;
}

/** What a node is made of. */
export interface RaftNodeOptions {
  readonly raftId: number;
  readonly storage: RaftStorage;
  /** What the store has applied. */
  readonly appliedIndex: number;
  readonly timing: RaftTiming;
  readonly random: Random;
  readonly log: Log;
  readonly events: RaftNodeEvents;
  /** Bounds other than the usual ones; the simulator draws small ones, at which things go wrong sooner. */
  readonly bounds?: Partial<CoreBounds>;
}

/** What bounds the core's messages and queues. */
export type CoreBounds = Pick<
  RaftConfig,
  | "maxSizePerMsg"
  | "maxCommittedSizePerReady"
  | "maxUncommittedEntriesSize"
  | "maxInflightMsgs"
  | "maxInflightBytes"
>;

/** Configurations remembered, for snapshots frozen a moment before the latest change. */
const membershipsKept = 16;

/** One running member. */
export class RaftNode {
  readonly #options: RaftNodeOptions;
  readonly #raw: RawNode;
  readonly #persister: Persister;
  readonly #applies: ApplyQueue;
  readonly #reads: ReadRounds;
  readonly #duties: LeaderDuties;
  readonly #heard = new Map<number, number>();
  #memberships: Membership[];
  #leadership: LeadershipState = { term: 0, leader: none, role: "follower", readyIndex: 0 };
  #ticks = 0;
  #scheduled = false;
  #installing = false;
  /** The snapshot installed last; the log holds its position once the core's write is done. */
  #unlogged: { readonly index: number; readonly term: number } | undefined;
  #stopped = false;

  constructor(options: RaftNodeOptions) {
    this.#options = options;
    const { storage, timing } = options;
    this.#memberships = [membershipFromMeta(storage.config)];
    const applied = this.#prepareTail();
    storage.setSnapshotSource(() => this.#snapshotSource());
    this.#raw = new RawNode(coreConfig(options, applied));
    this.#persister = new Persister({
      write: (write) => storage.write(write),
      release: (responses) => this.#release(responses),
      onFailed: (error) => options.events.failed(error),
    });
    this.#applies = new ApplyQueue(options.appliedIndex, (batch) =>
      options.events.committed(batch),
    );
    this.#reads = new ReadRounds(
      (context) => {
        this.#raw.readIndex(context);
        this.#schedule();
      },
      { retry: timing.electionTicks, expire: Math.ceil(readIndexTimeoutMs / timing.tickMs) },
      options.random.int(2 ** 32) * 2 ** 16,
    );
    this.#duties = new LeaderDuties({
      raftId: options.raftId,
      raw: this.#raw,
      timing,
      random: options.random,
      log: options.log,
      membership: () => this.membership,
      leads: () => !this.#stopped && this.#leadership.role === "leader",
      reachable: () => this.reachable(),
      learnAddress: (raftId, address) => this.learnAddress(raftId, address),
      wake: () => this.#schedule(),
    });
    this.#replay(applied);
    // Nobody else to wait for.
    if (this.membership.confState.voters.join() === String(options.raftId)) this.#raw.campaign();
    this.#schedule();
  }

  /** The members as of the last applied change. */
  get membership(): Membership {
    const last = this.#memberships.at(-1);
    if (last === undefined) throw new Error("a node always has a membership");
    return last;
  }

  /** Changes of members and of the leader; they fail with `unavailable` on a member that does not lead. */
  get duties(): LeaderDuties {
    return this.#duties;
  }

  get leadership(): LeadershipState {
    return this.#leadership;
  }

  /** What the store has applied. */
  get appliedIndex(): number {
    return this.#applies.appliedIndex;
  }

  status(): RaftStatus {
    return this.#raw.status();
  }

  /** One tick of the clock. */
  tick(): void {
    if (this.#stopped) return;
    this.#ticks++;
    this.#raw.tick();
    this.#reads.tick();
    this.#duties.tick();
    this.#schedule();
  }

  /** Takes messages of peers. */
  step(messages: readonly Message[]): void {
    if (this.#stopped) return;
    for (const message of messages) {
      // Meant for the id this member had before it began anew.
      if (message.to !== this.#options.raftId) continue;
      this.#heard.set(message.from, this.#ticks);
      // While a snapshot replaces the state, the log must not grow towards it.
      if (this.#installing && (message.type === "app" || message.type === "snap")) continue;
      if (this.#tellsOfLoss(message)) return;
      this.#learnCommit(message);
      this.#raw.step(message);
    }
    this.#schedule();
  }

  /**
   * Appends proposals to the log.
   *
   * @throws ClusterError unavailable when this member does not lead, resource-exhausted when too much is uncommitted.
   */
  propose(list: readonly Uint8Array[]): { readonly firstIndex: number; readonly term: number } {
    this.#duties.mustLead();
    const position = this.#raw.proposeBatch(list);
    this.#schedule();
    return position;
  }

  /** A linearizable read point, on any member. */
  readIndex(): Promise<number> {
    return this.#reads.read();
  }

  /** The main thread has applied everything up to `index`. */
  applied(index: number): void {
    this.#applies.acknowledged(index);
    this.#schedule();
  }

  /** Members heard of within an election timeout, this one included. */
  reachable(): Set<number> {
    const ids = new Set<number>([this.#options.raftId]);
    for (const [id, at] of this.#heard) {
      if (this.#ticks - at <= this.#options.timing.electionTicks) ids.add(id);
    }
    return ids;
  }

  reportUnreachable(raftId: number): void {
    if (this.#stopped) return;
    this.#raw.reportUnreachable(raftId);
    this.#schedule();
  }

  reportSnapshot(raftId: number, ok: boolean): void {
    if (this.#stopped) return;
    this.#raw.reportSnapshot(raftId, ok);
    this.#schedule();
  }

  /** Term of the entry at `index`, while the log holds it. */
  termAt(index: number): number | undefined {
    return this.#options.storage.tail.term(index);
  }

  /** The configuration a snapshot frozen at `index` belongs to; `undefined` when it is not known any more. */
  membershipAt(index: number): Membership | undefined {
    return this.#memberships.findLast((membership) => membership.index <= index);
  }

  /**
   * Installs a received snapshot: `install` has the main thread replace its state.
   *
   * @throws ClusterError when it is stale, another one is under way, or the main thread could not install it.
   */
  async installSnapshot(message: Message, install: () => Promise<void>): Promise<void> {
    const { snapshot } = message;
    if (snapshot === undefined || message.term < this.status().term || this.#installing) {
      throw new ClusterError("aborted", "the snapshot is not wanted now");
    }
    // The log has yet to begin after the snapshot before; its note must not be overwritten by that of another one, or
    // a crash in between would leave a state ahead of the log with nothing to explain it. A state that is ahead for
    // another reason, because the log was lost and begun anew, has no note.
    if (this.#unlogged !== undefined && !holds(this.#options.storage.tail, this.#unlogged)) {
      throw new ClusterError("aborted", "the snapshot before is not installed yet");
    }
    if (snapshot.index <= this.status().commit) {
      this.#stepSnapshot(message);
      return;
    }
    this.#installing = true;
    this.#applies.hold();
    const { storage } = this.#options;
    const meta = snapshot.data as RaftSnapshotMeta;
    try {
      await storage.notePendingSnapshot(meta);
      await install();
    } catch (error) {
      this.#installing = false;
      this.#applies.release();
      await storage.notePendingSnapshot(undefined);
      throw error;
    }
    this.#installing = false;
    this.#unlogged = snapshot;
    this.#applies.release(snapshot.index);
    this.#stepSnapshot(message);
  }

  /** The store's checkpoint is durable up to `index`. */
  async compact(index: number): Promise<void> {
    const upTo = Math.min(index, this.#applies.appliedIndex, this.status().applied);
    const membership = this.membership;
    // The stored configuration must not be older than what is cut off, nor newer than what is applied.
    if (membership.index > this.status().applied) return;
    const meta = metaFromMembership({ ...membership, index: Math.max(membership.index, upTo) });
    await this.#options.storage.compact(Math.min(upTo, meta.index), meta);
  }

  /** Notes where a peer was reached, for the next start. */
  learnAddress(raftId: number, address: string): void {
    const membership = this.membership;
    const known = membership.members.get(raftId);
    if (known === undefined || known.address === address) return;
    const members = new Map(membership.members).set(raftId, { ...known, address });
    this.#memberships[this.#memberships.length - 1] = { ...membership, members };
    this.#persister.pushConfig(metaFromMembership(this.membership));
    this.#options.events.membership(this.membership);
  }

  /** Ends the node; nothing is sent or delivered any more. */
  stop(): void {
    this.#stopped = true;
    this.#persister.stop();
    const error = new ClusterError("unavailable", "the manager is stopping");
    this.#reads.stop(error);
    this.#duties.stop(error);
  }

  /** What the core begins with: everything the store or the configuration has applied is committed. */
  #prepareTail(): number {
    const { storage, appliedIndex } = this.#options;
    const { tail } = storage;
    const applied = Math.max(this.membership.index, tail.firstIndex() - 1);
    const known = Math.min(appliedIndex, tail.lastIndex());
    const commit = Math.max(storage.hardState.commit, applied, known);
    tail.beginWith({
      hardState: { ...storage.hardState, commit },
      confState: this.membership.confState,
    });
    return applied;
  }

  /** Delivers what the core takes for applied and the store, from its checkpoint, does not have. */
  #replay(applied: number): void {
    const { tail } = this.#options.storage;
    let from = this.#options.appliedIndex + 1;
    if (from > applied) return;
    const entries: Entry[] = [];
    if (from === bootstrapIndex) {
      // What a group's log begins after; the store sees it as a no-op, so that indexes have no gap.
      entries.push({ index: from, term: 1, type: "normal", data: noBytes });
      from++;
    }
    entries.push(...(tail.entries(from, applied + 1, Number.POSITIVE_INFINITY) ?? []));
    if (entries.length > 0) this.#applies.push(entries, () => {});
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      try {
        this.#process();
      } catch (error) {
        this.#options.events.failed(error);
      }
    });
  }

  #process(): void {
    while (!this.#stopped && this.#raw.hasReady()) {
      const ready = this.#raw.ready();
      const isVote = ({ type }: Message) => type === "vote";
      for (const message of ready.messages) if (!isVote(message)) this.#dispatch(message);
      this.#holdVotes(ready.messages.filter(isVote));
      this.#observeLeadership(ready.softState, ready.hardState);
      for (const state of ready.readStates) this.#reads.answered(state);
    }
    this.#options.events.flush();
  }

  #dispatch(message: Message): void {
    if (message.to === localAppendThread) {
      if (message.snapshot !== undefined) this.#adoptSnapshot(message.snapshot);
      this.#persister.push(message);
    } else if (message.to === localApplyThread) this.#apply(message);
    else if (message.type === "snap") this.#options.events.sendSnapshot(message);
    else this.#send(message);
  }

  /**
   * Asks for votes once the term and the candidate's own vote are on its disk. The core would ask at once, and counts the
   * own vote only when it is stored; but the others alone can be a majority. The candidate would then lead in a term that a
   * crash makes it forget, stand in the same term again, be given the same votes, and lead with another log.
   */
  #holdVotes(votes: readonly Message[]): void {
    if (votes.length === 0) return;
    // Behind the write that has the term: what is released goes out in the order of the writes.
    this.#persister.push(
      newMessage({ type: "storage-append", to: localAppendThread, responses: [...votes] }),
    );
  }

  #release(responses: readonly Message[]): void {
    if (this.#stopped) return;
    for (const response of responses) {
      if (response.to === this.#options.raftId) this.#raw.step(response);
      else this.#send(response);
    }
    this.#options.events.flush();
    this.#schedule();
  }

  /**
   * Votes, asked for, given or refused, tell what is committed. A change of members counts for whoever has applied it: one
   * that it removed stands for election no more, but may have entries beyond it and refuse its vote to those who have yet
   * to hear that the change is committed, and need that vote until then. No leader would come to tell them.
   */
  #send(message: Message): void {
    const { events } = this.#options;
    if (!isAboutVote(message.type)) events.send(message);
    else {
      const { index, term } = this.#raw.commitPosition();
      events.send({ ...message, commit: index, commitTerm: term });
    }
  }

  #learnCommit({ type, commit, commitTerm }: Message): void {
    // A snapshot that is being put in place is committed further than the log reaches.
    if (this.#installing || !isAboutVote(type)) return;
    this.#raw.learnCommit({ index: commit, term: commitTerm });
  }

  #apply(message: Message): void {
    for (const entry of message.entries) {
      if (entry.type === "conf-change") this.#applyChange(entry);
    }
    this.#applies.push(message.entries, () => {
      if (this.#stopped) return;
      for (const response of message.responses) this.#raw.step(response);
      this.#schedule();
    });
  }

  #applyChange(entry: Entry): void {
    const change = entry.data.length === 0 ? undefined : RaftConfChange.decode(entry.data);
    let confState: ConfState;
    try {
      confState = this.#raw.applyConfChange(change === undefined ? leaveJoint : coreChange(change));
    } catch (error) {
      this.#options.log.warn("change of members does not fit", {
        "raft.index": entry.index,
        err: error,
      });
      if (change !== undefined) this.#duties.changes.refused(change.requestId, error);
      return;
    }
    const before = this.membership;
    if (entry.index <= before.index) return;
    const after = appliedChange(before, {
      index: entry.index,
      confState,
      members: change?.members ?? [],
    });
    this.#setMembership(after);
    this.#persister.pushConfig(metaFromMembership(after));
    this.#duties.changes.applied(change?.requestId ?? 0, confState);
    const self = this.#options.raftId;
    if (before.members.has(self) && !after.members.has(self)) this.#options.events.removed();
  }

  #setMembership(membership: Membership): void {
    this.#memberships.push(membership);
    if (this.#memberships.length > membershipsKept) this.#memberships.shift();
    const { voters, learners } = membership.confState;
    this.#options.log.info("raft members changed", {
      "raft.index": membership.index,
      voters: voters.join(),
      learners: learners.join(),
      joint: isJoint(membership.confState),
    });
    this.#options.events.membership(membership);
  }

  #adoptSnapshot(snapshot: Snapshot): void {
    const membership = membershipFromMeta(snapshot.data as RaftSnapshotMeta);
    this.#memberships = [];
    this.#setMembership(membership);
  }

  #observeLeadership(soft: SoftState | undefined, hard: HardState | undefined): void {
    const before = this.#leadership;
    const term = hard?.term ?? before.term;
    const leader = soft?.leader ?? before.leader;
    const role = soft?.role ?? before.role;
    if (before.term === term && before.leader === leader && before.role === role) return;
    const began = role === "leader" && (before.role !== "leader" || before.term !== term);
    const readyIndex = role !== "leader" ? 0 : began ? this.status().lastIndex : before.readyIndex;
    this.#leadership = { term, leader, role, readyIndex };
    if (before.role === "leader" && role !== "leader") {
      this.#duties.lostLeadership();
    }
    if (before.leader !== leader || before.role !== role) {
      this.#options.log.info("raft role changed", { role, leader, "raft.term": term });
    }
    this.#options.events.leadership(this.#leadership);
  }

  /** Whether a message proves that this member once had more of the log than it has; then nothing more is stepped. */
  #tellsOfLoss(message: Message): boolean {
    if (message.type !== "heartbeat") return false;
    const { term, lastIndex } = this.#raw.status();
    if (message.term < term || message.commit <= lastIndex) return false;
    this.#options.events.lost(
      `the leader counts on index ${message.commit}, but the log ends at ${lastIndex}`,
    );
    return true;
  }

  #stepSnapshot(message: Message): void {
    // The leader may have changed while the snapshot was put in place. What it holds is committed whoever leads, so it
    // is handed to the core in the present term: otherwise the log would stay behind the state.
    const term = Math.max(message.term, this.status().term);
    this.#raw.step({ ...message, term });
    this.#schedule();
  }

  #snapshotSource(): Snapshot | undefined {
    const index = this.#applies.appliedIndex;
    const term = this.#options.storage.tail.term(index);
    // A receiver has to find itself in the configuration, so the state must be past the latest change.
    if (term === undefined || index < this.membership.index) return undefined;
    return snapshotFromMeta(metaFromMembership({ ...this.membership, index }, term));
  }
}

function isAboutVote(type: MessageType): boolean {
  return type === "vote" || type === "vote-resp" || type === "pre-vote" || type === "pre-vote-resp";
}

/** Whether the durable log reaches over a position, or begins after it. */
function holds(tail: LogTail, at: { readonly index: number; readonly term: number }): boolean {
  return tail.firstIndex() > at.index + 1 || tail.term(at.index) === at.term;
}

function coreConfig(options: RaftNodeOptions, applied: number) {
  const { log } = options;
  return {
    id: options.raftId,
    electionTick: options.timing.electionTicks,
    heartbeatTick: options.timing.heartbeatTicks,
    storage: options.storage.tail,
    applied,
    asyncStorageWrites: true,
    maxSizePerMsg: raftAppendBytesMax,
    maxCommittedSizePerReady: committedBytesMax,
    maxUncommittedEntriesSize: proposalsWaitingBytesMax,
    maxInflightMsgs: raftInflightMax,
    maxInflightBytes: raftInflightMax * raftAppendBytesMax,
    ...options.bounds,
    checkQuorum: true,
    preVote: true,
    readOnlyOption: "safe" as const,
    disableProposalForwarding: true,
    disableConfChangeValidation: false,
    stepDownOnRemoval: true,
    random: options.random,
    logger: {
      debug: (text: string) => log.debug("raft core", { text }),
      info: (text: string) => log.debug("raft core", { text }),
      warn: (text: string) => log.warn("raft core", { text }),
      error: (text: string) => log.error("raft core", { text: errorText(text) }),
    },
  };
}
