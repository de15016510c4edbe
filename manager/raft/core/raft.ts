/**
 * The state of one member and the moves between its roles.
 *
 * The protocol itself is in functions that take a `Raft`: `step.ts` (terms, dispatch, ticks), `election.ts`,
 * `step-leader.ts`, `step-follower.ts`, `replication.ts`, `proposal.ts`, `membership.ts`. `RawNode` is the only way in
 * from outside. Follows the Raft thesis; where it leaves room, the behaviour is that of etcd-io/raft 3.7.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { assert, fail } from "./assert.ts";
import { type Members, membersFromConfState } from "./conf-change.ts";
import { RaftLog, totalPayload } from "./log.ts";
import { isLocalThread, type MessageFields, message } from "./message.ts";
import { freshProgress, type Progress } from "./progress.ts";
import { ReadQueue } from "./read-index.ts";
import {
  type Entry,
  type HardState,
  type Message,
  none,
  type RaftConfig,
  type RaftLogger,
  type ReadState,
  type Role,
} from "./types.ts";

/** An entry before it has its place in the log. */
export type EntryDraft = Pick<Entry, "type" | "data">;

/** One member's state; only functions of this folder change it. */
export class Raft {
  readonly id: number;
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly logger: RaftLogger | undefined;

  term = 0;
  vote = none;
  role: Role = "follower";
  leader = none;
  /** The member leadership is being handed to, or `none`. */
  leadTransferee = none;
  members: Members;
  /** Answers to this member's own (pre-)vote requests. */
  votes = new Map<number, boolean>();

  /** At or above the index of the last conf-change this leader appended; another has to wait until it is applied. */
  pendingConfIndex = 0;
  /** Payload bytes this leader appended that are not yet applied; may count too little, never too much. */
  uncommittedBytes = 0;

  reads = new ReadQueue();
  /** Reads that came before this leader had committed an entry of its term, when it cannot know what is committed. */
  postponedReads: Message[] = [];
  /** Whether a round of heartbeats is to go out with the next `Ready` because reads have arrived. */
  readRoundWanted = false;
  readStates: ReadState[] = [];

  /** Ticks since the last sign of a leader, or on a leader since the last check of the quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Ticks after which an election starts; 0 until it is drawn, at the first tick after a change of role. */
  electionTimeout = 0;

  /** To other members, at once. */
  messages: Message[] = [];
  /** To others or to this member, once all that is unstable now is durable. */
  messagesAfterAppend: Message[] = [];

  constructor(config: RaftConfig) {
    checkConfig(config);
    this.id = config.id;
    this.config = config;
    this.logger = config.logger;
    this.log = new RaftLog({
      storage: config.storage,
      maxApplyingBytes: config.maxCommittedSizePerReady,
      logger: config.logger,
    });
    const { hardState, confState } = config.storage.initialState();
    const lastIndex = this.log.lastIndex();
    this.members = membersFromConfState(confState, { lastIndex, limits: config });
    this.#load(hardState);
    if (config.applied > 0) this.log.appliedTo(config.applied, 0);
    this.becomeFollower(this.term, none);
  }

  /** Queues a message; the sender and, where the type carries one, the term are filled in. */
  send(fields: MessageFields): void {
    const { type } = fields;
    const from = fields.from === undefined || fields.from === none ? this.id : fields.from;
    const term = this.#termFor(fields);
    const sent = message(fields, from, term);
    // What amounts to a vote, for a candidate or for an entry, must not be said before it is durable: after a crash this
    // member would not know of it (thesis 3.8). Refusals wait too, as they may rest on what is not stored yet.
    if (type === "app-resp" || type === "vote-resp" || type === "pre-vote-resp") {
      this.messagesAfterAppend.push(sent);
      return;
    }
    assert(sent.to !== this.id, "a message was addressed to its own sender");
    this.messages.push(sent);
  }

  /** Campaigning speaks of a term that may not be this member's; what is forwarded to a leader belongs to none. */
  #termFor({ type, term = 0 }: MessageFields): number {
    switch (type) {
      case "vote":
      case "vote-resp":
      case "pre-vote":
      case "pre-vote-resp":
        assert(term !== 0, "a vote needs a term");
        return term;
      case "prop":
      case "read-index":
        assert(term === 0, "a forwarded request has no term");
        return 0;
      default:
        assert(term === 0, "the term of a message is filled in when it is sent");
        return this.term;
    }
  }

  becomeFollower(term: number, leader: number): void {
    this.#reset(term);
    this.role = "follower";
    this.leader = leader;
    this.logger?.info(`became follower at term ${term}`);
  }

  /** Raises nothing: a pre-candidate keeps its term and vote until it knows that it could win. */
  becomePreCandidate(): void {
    assert(this.role !== "leader", "a leader cannot become pre-candidate");
    this.votes.clear();
    this.role = "pre-candidate";
    this.leader = none;
    this.logger?.info(`became pre-candidate at term ${this.term}`);
  }

  becomeCandidate(): void {
    assert(this.role !== "leader", "a leader cannot become candidate");
    this.#reset(this.term + 1);
    this.role = "candidate";
    this.vote = this.id;
    this.logger?.info(`became candidate at term ${this.term}`);
  }

  becomeLeader(): void {
    assert(this.role === "candidate", "only a candidate can become leader");
    this.#reset(this.term);
    this.role = "leader";
    this.leader = this.id;
    const own = this.progressOf(this.id);
    own.becomeReplicate();
    own.recentActive = true;
    // Any entry not yet applied may be a conf-change; waiting for all of them is cheaper than looking through them.
    this.pendingConfIndex = this.log.lastIndex();
    const appended = this.appendEntries([{ type: "normal", data: noData }]);
    assert(appended, "the first entry of a term was refused");
    this.logger?.info(`became leader at term ${this.term}`);
  }

  /**
   * Appends to the log as leader; the leader acknowledges its own entries once they are durable, as others do.
   *
   * @returns False when too much is uncommitted already. What is empty always fits, as does anything after silence.
   */
  appendEntries(drafts: readonly EntryDraft[]): boolean {
    let index = this.log.lastIndex();
    const entries: Entry[] = [];
    for (const { type, data } of drafts) {
      index++;
      entries.push({ term: this.term, index, type, data });
    }
    const bytes = totalPayload(entries);
    const wouldBe = this.uncommittedBytes + bytes;
    if (this.uncommittedBytes > 0 && bytes > 0 && wouldBe > this.config.maxUncommittedEntriesSize) {
      return false;
    }
    assert(Number.isSafeInteger(index), "the log has run out of indexes");
    this.uncommittedBytes = wouldBe;
    this.log.append(entries);
    this.send({ type: "app-resp", to: this.id, index });
    return true;
  }

  /** Progress of a member that must be in the configuration. */
  progressOf(id: number): Progress {
    return this.members.progress.get(id) ?? fail(`member ${id} has no progress`);
  }

  /** Whether this member may become leader: it votes and its log is not about to be replaced. */
  get promotable(): boolean {
    const own = this.members.progress.get(this.id);
    return own !== undefined && !own.isLearner && !this.log.hasSnapshotPending();
  }

  /** Whether an entry of the present term is committed, so that the commit index is sure to cover all that ever was. */
  get committedInTerm(): boolean {
    return this.log.matches(this.log.committed, this.term);
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  #load({ term, vote, commit }: HardState): void {
    if (term === 0 && vote === none && commit === 0) return;
    const { committed } = this.log;
    if (commit < committed || commit > this.log.lastIndex()) {
      fail(
        `stored commit index ${commit} is outside the log, ${committed} to ${this.log.lastIndex()}`,
      );
    }
    this.log.committed = commit;
    this.term = term;
    this.vote = vote;
  }

  #reset(term: number): void {
    assert(term >= this.term, "the term fell");
    if (this.term !== term) {
      this.term = term;
      this.vote = none;
    }
    this.leader = none;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.electionTimeout = 0;
    this.leadTransferee = none;
    this.votes.clear();
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.reads = new ReadQueue();
    this.postponedReads = [];
    this.readRoundWanted = false;
    this.#resetProgress();
  }

  #resetProgress(): void {
    const last = this.log.lastIndex();
    const progress = new Map<number, Progress>();
    for (const [id, { isLearner }] of this.members.progress) {
      const match = id === this.id ? last : 0;
      const start = { match, next: last + 1, isLearner, recentActive: false };
      progress.set(id, freshProgress(start, this.config));
    }
    this.members = { conf: this.members.conf, progress };
  }
}

const noData = new Uint8Array(0);

function checkConfig(config: RaftConfig): void {
  const problem = configProblem(config);
  if (problem !== undefined) throw new ClusterError("invalid-argument", problem);
}

function configProblem(config: RaftConfig): string | undefined {
  const { id, electionTick, heartbeatTick, maxInflightBytes, maxInflightMsgs } = config;
  if (!Number.isSafeInteger(id) || id <= none) return "a raft member needs a positive id";
  if (isLocalThread(id)) return "this raft id is reserved for local storage";
  if (!(heartbeatTick > 0)) return "the heartbeat must take at least one tick";
  if (!(electionTick > heartbeatTick)) return "an election must take longer than a heartbeat";
  if (!(maxInflightMsgs > 0)) return "at least one message must be allowed in flight";
  if (!(maxInflightBytes >= config.maxSizePerMsg)) return "a message must fit into the window";
  if (!(config.maxCommittedSizePerReady > 0)) return "committed entries need room to be applied";
  if (config.readOnlyOption === "lease-based" && !config.checkQuorum) {
    return "reads by lease need the check of the quorum";
  }
  return undefined;
}
