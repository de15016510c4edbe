/**
 * The vocabulary of the Raft core: entries, messages, configuration and what one round of work looks like.
 *
 * Follows the Raft thesis (Ongaro 2014) with the extensions of etcd-io/raft 3.7: pre-vote, check-quorum, learners, joint
 * consensus, asynchronous storage writes. Terms, indexes and member ids are positive integers below 2^53; zero stands for
 * "none". All byte counts are bytes, all spans are ticks. The core never changes an object it was given.
 */
import type { Random } from "../../../src/common/random/random.ts";

/** The id that means nobody: no leader, no vote, no sender. */
export const none = 0;

/** Pseudo member that stands for the storage of the log; `storage-append` messages go there. Never leaves the process. */
export const localAppendThread = Number.MAX_SAFE_INTEGER;

/** Pseudo member that stands for the state machine; `storage-apply` messages go there. Never leaves the process. */
export const localApplyThread = Number.MAX_SAFE_INTEGER - 1;

/** Every kind of message the core takes or gives; see `Message` for which fields each one uses. */
export type MessageType =
  | "hup"
  | "beat"
  | "prop"
  | "app"
  | "app-resp"
  | "vote"
  | "vote-resp"
  | "snap"
  | "heartbeat"
  | "heartbeat-resp"
  | "unreachable"
  | "snap-status"
  | "check-quorum"
  | "transfer-leader"
  | "timeout-now"
  | "read-index"
  | "read-index-resp"
  | "pre-vote"
  | "pre-vote-resp"
  | "storage-append"
  | "storage-append-resp"
  | "storage-apply"
  | "storage-apply-resp"
  | "forget-leader";

/** What an entry holds: bytes for the state machine, or a change of the configuration. */
export type EntryType = "normal" | "conf-change";

/**
 * One record of the replicated log.
 *
 * The data of a conf-change is opaque to the core, except that empty data means "leave the joint configuration". Empty
 * data in a normal entry is a no-op (a new leader's first entry, or a refused conf-change).
 */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** Where an entry stands in a log; two logs with the same (term, index) are equal up to there. */
export interface Position {
  readonly term: number;
  readonly index: number;
}

/** What must be durable before an answer that depends on it leaves the member. */
export interface HardState {
  readonly term: number;
  /** Whom this member voted for in `term`, or `none`. */
  readonly vote: number;
  readonly commit: number;
}

/** The part a member plays; a pre-candidate asks whether an election could be won before it raises the term. */
export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** What is known without being durable. */
export interface SoftState {
  /** The leader of the present term as far as known, or `none`. */
  readonly leader: number;
  readonly role: Role;
}

/** The members of the group as stored with snapshots; lists are in ascending order when the core made them. */
export interface ConfState {
  readonly voters: readonly number[];
  readonly learners: readonly number[];
  /** Voters of the configuration that is being left; empty outside the joint phase. */
  readonly votersOutgoing: readonly number[];
  /** Outgoing voters that become learners once the joint phase ends. */
  readonly learnersNext: readonly number[];
  /** Whether the leader ends the joint phase by itself. */
  readonly autoLeave: boolean;
}

/** The configuration of nobody: what a member that has yet to join starts with. */
export const emptyConfState: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

/** Stands for the whole log up to and including `index`. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState;
  /** Whatever the driver needs to find or carry the state; the core only passes it on. */
  readonly data?: unknown;
}

/**
 * One message between members, or between a member and its own storage.
 *
 * Build it with `message()` so that all objects have one shape. Fields that a type does not use are zero or empty:
 * - `app`: `index`, `logTerm` of the entry before `entries`; `commit` of the leader.
 * - `app-resp`: `index` acknowledged; when `reject`, `index` is the refused one and (`rejectHint`, `logTerm`) a guess where
 *   the logs meet.
 * - `vote`, `pre-vote`: `index`, `logTerm` of the last entry; a non-empty `context` marks a leadership transfer, which
 *   goes past the lease of the present leader. With them and their answers the driver sends `commit` and `commitTerm`, a
 *   position that is committed (`RawNode.learnCommit`).
 * - `heartbeat`: `commit`, and in `index` the read position that a reply confirms; `heartbeat-resp` sends `index` back.
 * - `read-index`: `context` of the reader; `read-index-resp`: `index` to wait for and that `context`.
 * - `transfer-leader`: `from` is the member that is to lead.
 * - `storage-append`: `entries`, `snapshot` and, unless all three are zero, the hard state in `term`, `vote`, `commit`.
 *   Its `responses` may go out, in order, once all this is durable; with none, it need not be synced.
 * - `storage-apply`: committed `entries`; its `responses` come after they are applied.
 */
export interface Message {
  readonly type: MessageType;
  readonly to: number;
  readonly from: number;
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly vote: number;
  readonly reject: boolean;
  readonly rejectHint: number;
  readonly commitTerm: number;
  readonly context: Uint8Array;
  readonly snapshot: Snapshot | undefined;
  readonly responses: readonly Message[];
}

/** One step of a configuration change. */
export interface ConfChangeStep {
  /** `update` changes nothing in the core; it lets the driver replicate facts about a member. */
  readonly kind: "add-voter" | "add-learner" | "remove" | "update";
  /** The member; a step for `none` is skipped. */
  readonly id: number;
}

/**
 * A change of the configuration.
 *
 * `auto` goes through the joint phase only when there is more than one step, `joint-implicit` always; both leave it by
 * themselves. `joint-explicit` stays joint until `leaveJoint` is proposed. `auto` without steps leaves the joint phase.
 */
export interface ConfChange {
  readonly transition: "auto" | "joint-implicit" | "joint-explicit";
  readonly steps: readonly ConfChangeStep[];
}

/** The change that ends a joint phase; what an entry with empty data means. */
export const leaveJoint: ConfChange = { transition: "auto", steps: [] };

/**
 * What the core reads of the stable log, synchronously.
 *
 * It must show everything whose `storage-append-resp` (or `advance`) the core has taken, and may show more. Answers hold
 * until the driver next changes the log.
 */
export interface LogStorage {
  /** The state at the start; zeros and an empty configuration for a new member. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /**
   * Entries with indexes in [lo, hi), fewer if their `entrySize` would pass `bytesMax`, but at least one.
   *
   * @returns `undefined` when `lo` has been compacted away.
   */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined;
  /**
   * Term of the entry at `index`, known from one before `firstIndex()` up to `lastIndex()`.
   *
   * @returns `undefined` outside that range.
   */
  term(index: number): number | undefined;
  /** Index of the first entry that can be read: one past the compacted part, 1 for a new log. */
  firstIndex(): number;
  /** Index of the last entry, `firstIndex() - 1` when there is none. */
  lastIndex(): number;
  /**
   * The newest snapshot there is, with an index of at least `firstIndex() - 1`.
   *
   * @returns `undefined` when none can be had right now; the core asks again later.
   */
  snapshot(): Snapshot | undefined;
}

/** Where the core's life goes to be read; called only at changes of state and oddities, never per message in normal flow. */
export interface RaftLogger {
  debug(text: string): void;
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

/** How reads are confirmed: by a round to a quorum, or by trusting clocks for the length of an election timeout. */
export type ReadOnlyOption = "safe" | "lease-based";

/** How one member behaves; the same settings belong on all members. Use `Infinity` where no limit is wanted. */
export interface RaftConfig {
  readonly id: number;
  /** Ticks without a leader before an election; the actual span is random in [electionTick, 2 x electionTick). */
  readonly electionTick: number;
  /** Ticks between heartbeats of the leader; about a tenth of `electionTick`. */
  readonly heartbeatTick: number;
  readonly storage: LogStorage;
  /** Index the state machine has applied already; 0 for a new member. */
  readonly applied: number;
  /** Whether storage work comes as messages to the local threads instead of `Ready` and `advance()`. */
  readonly asyncStorageWrites: boolean;
  /** Most bytes of entries in one `app` message (one entry always fits). */
  readonly maxSizePerMsg: number;
  /** Most bytes of committed entries that are handed out and not yet acknowledged as applied. */
  readonly maxCommittedSizePerReady: number;
  /** Most bytes of proposals that are appended by this leader and not yet applied; beyond it proposals are refused. */
  readonly maxUncommittedEntriesSize: number;
  /** Most `app` messages in flight to one member. */
  readonly maxInflightMsgs: number;
  /** Bytes of entries in flight to one member at which sending pauses; at least `maxSizePerMsg`. */
  readonly maxInflightBytes: number;
  /** Whether a leader that hears from no quorum for an election timeout steps down, and followers keep a lease for it. */
  readonly checkQuorum: boolean;
  /** Whether an election is first asked for without raising the term. */
  readonly preVote: boolean;
  /** `lease-based` needs `checkQuorum` and clocks that run alike. */
  readonly readOnlyOption: ReadOnlyOption;
  /** Whether proposals on a follower are refused instead of being sent on to the leader. */
  readonly disableProposalForwarding: boolean;
  /** Whether conf-changes are appended unchecked; only for a driver that serialises them itself. */
  readonly disableConfChangeValidation: boolean;
  /** Whether a leader that is removed or becomes a learner steps down when it applies that change. */
  readonly stepDownOnRemoval: boolean;
  readonly random: Random;
  readonly logger?: RaftLogger | undefined;
}

/** A read that may be served once the state machine has applied `index`. */
export interface ReadState {
  readonly index: number;
  readonly context: Uint8Array;
}

/**
 * Work that has come up since the last one.
 *
 * Without asynchronous writes: make `hardState`, `entries` and `snapshot` durable, then send `messages`, apply
 * `committedEntries`, and call `advance()`. With them: send `messages` at once, those to the local threads to their
 * queues; the other fields only inform.
 */
export interface Ready {
  /** Set when it changed. */
  readonly softState: SoftState | undefined;
  /** Set when it changed. */
  readonly hardState: HardState | undefined;
  /** To be appended to the stable log, replacing what is there from the first one's index on. */
  readonly entries: readonly Entry[];
  readonly committedEntries: readonly Entry[];
  /** To be installed in place of log and state. */
  readonly snapshot: Snapshot | undefined;
  readonly messages: readonly Message[];
  readonly readStates: readonly ReadState[];
  /** Whether the write must be synced: entries, term or vote are new. */
  readonly mustSync: boolean;
}

/** How the leader sends to a member: feeling its way, streaming, or waiting for a snapshot to arrive. */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** What a leader knows about one member; a copy. */
export interface ProgressStatus {
  /** Last index known to be in the member's durable log. */
  readonly match: number;
  /** Next index to send. */
  readonly next: number;
  readonly state: ProgressState;
  /** Whether nothing is sent until the member answers. */
  readonly paused: boolean;
  /** Index of the snapshot under way, or 0. */
  readonly pendingSnapshot: number;
  /** Whether it was heard of since the last check of the quorum. */
  readonly recentActive: boolean;
  readonly isLearner: boolean;
  /** `app` messages in flight, their bytes, and whether that is as many as allowed. */
  readonly inflightMsgs: number;
  readonly inflightBytes: number;
  readonly inflightFull: boolean;
}

/** The member as it sees itself; a copy. */
export interface RaftStatus {
  readonly id: number;
  readonly role: Role;
  readonly leader: number;
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly confState: ConfState;
  /** The member leadership is being handed to, or `none`. */
  readonly leadTransferee: number;
  /** By member id in ascending order; empty unless this member leads. */
  readonly progress: ReadonlyMap<number, ProgressStatus>;
}

/**
 * What became of a message: taken, or ignored because its sender is not a member, because its type must not come from
 * outside, or because the proposals in it were refused.
 */
export type StepResult = "ok" | "unknown-peer" | "local-message" | "dropped";

/** Bytes counted per entry in addition to its data: about what term, index and framing take on the wire. */
export const entryOverheadBytes = 16;

/** Size of an entry against `maxSizePerMsg` and `maxCommittedSizePerReady`. */
export function entrySize(entry: Entry): number {
  return entry.data.length + entryOverheadBytes;
}
