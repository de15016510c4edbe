/**
 * A group of Raft members driven by hand: their storage, the messages on their way, and the work each has to do.
 *
 * Members are `RawNode`s as the daemon runs them. The state machine joins the data of all entries.
 */

import { hardStateOfAppend, isLocalThread } from "../../../manager/raft/core/message.ts";
import { RawNode } from "../../../manager/raft/core/raw-node.ts";
import {
  type ConfState,
  type Entry,
  type HardState,
  localAppendThread,
  type Message,
  type MessageType,
  type RaftConfig,
  type Ready,
  type Snapshot,
} from "../../../manager/raft/core/types.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { decodeChange } from "./change-data.ts";
import { MemoryLog } from "./memory-log.ts";

/** Settings of new members; what is left out is without limits. */
export type MemberOptions = Partial<Omit<RaftConfig, "id" | "storage" | "random" | "applied">>;

/** One member with all that belongs to it. */
export interface Member {
  readonly id: number;
  readonly config: RaftConfig;
  readonly node: RawNode;
  readonly log: MemoryLog;
  /** States of the state machine after each applied entry, the present one last. */
  readonly history: Snapshot[];
  /** Work for the append and the apply thread, in order. */
  readonly appendWork: Message[];
  readonly applyWork: Message[];
  /** Ticks beyond the election tick that the next drawn timeout waits. */
  timeoutExtra: number;
}

/** Members with ids from 1 on, and what is on its way between them. */
export class Group {
  readonly members: Member[] = [];
  messages: Message[] = [];

  /** Adds a member that starts from `start`, or knows nothing of the group when that is left out. */
  add(options: MemberOptions, start?: Snapshot): Member {
    const id = this.members.length + 1;
    const log = new MemoryLog();
    if (start !== undefined) log.install(start);
    const random: Random = {
      float: () => 0,
      int: () => member.timeoutExtra,
      bytes: (length) => new Uint8Array(length),
    };
    const config: RaftConfig = {
      ...unlimited,
      ...options,
      id,
      storage: log,
      applied: start?.index ?? 0,
      random,
    };
    const member: Member = {
      id,
      config,
      node: new RawNode(config),
      log,
      history: start === undefined ? [] : [start],
      appendWork: [],
      applyWork: [],
      timeoutExtra: 0,
    };
    log.newestSnapshot = () => member.history[member.history.length - 1];
    this.members.push(member);
    return member;
  }

  /** The member with `id`. @throws Error when there is none. */
  member(id: number): Member {
    const found = this.members[id - 1];
    if (found === undefined) throw new Error(`there is no member ${id}`);
    return found;
  }

  /** Takes a round of work and does it, or queues it for the threads when storage is asynchronous. */
  processReady(member: Member): Ready {
    const ready = member.node.ready();
    const async = member.config.asyncStorageWrites;
    if (!async) {
      store(member, ready.hardState, ready.entries, ready.snapshot);
      apply(member, ready.committedEntries);
    }
    for (const one of ready.messages) {
      if (!isLocalThread(one.to)) this.messages.push(one);
      else if (one.to === localAppendThread) member.appendWork.push(one);
      else member.applyWork.push(one);
    }
    if (!async) member.node.advance();
    return ready;
  }

  /** Does the oldest work of the append thread; its responses are on their way then. */
  processAppend(member: Member): Message | undefined {
    const work = member.appendWork.shift();
    if (work === undefined) return undefined;
    store(member, hardStateOfAppend(work), work.entries, work.snapshot);
    this.messages.push(...work.responses);
    return work;
  }

  /** Does the oldest work of the apply thread; its responses are on their way then. */
  processApply(member: Member): Message | undefined {
    const work = member.applyWork.shift();
    if (work === undefined) return undefined;
    apply(member, work.entries);
    this.messages.push(...work.responses);
    return work;
  }

  /** Takes the messages to `id` (of `type`, if given) off the way; what belongs to storage is never dropped. */
  take(id: number, type: MessageType | undefined, drop: boolean): Message[] {
    const taken: Message[] = [];
    const rest: Message[] = [];
    for (const one of this.messages) {
      const wanted = one.to === id && (type === undefined || one.type === type);
      const local = one.from === one.to || isLocalThread(one.from);
      if (wanted && !(drop && local)) taken.push(one);
      else rest.push(one);
    }
    this.messages = rest;
    return taken;
  }
}

const unlimited = {
  electionTick: 3,
  heartbeatTick: 1,
  asyncStorageWrites: false,
  maxSizePerMsg: Number.POSITIVE_INFINITY,
  maxCommittedSizePerReady: Number.POSITIVE_INFINITY,
  maxUncommittedEntriesSize: Number.POSITIVE_INFINITY,
  maxInflightMsgs: Number.POSITIVE_INFINITY,
  maxInflightBytes: Number.POSITIVE_INFINITY,
  checkQuorum: false,
  preVote: false,
  readOnlyOption: "safe",
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: false,
} as const;

function store(
  member: Member,
  hardState: HardState | undefined,
  entries: readonly Entry[],
  snapshot: Snapshot | undefined,
): void {
  if (hardState !== undefined) member.log.hardState = hardState;
  if (snapshot === undefined) {
    member.log.append(entries);
    return;
  }
  if (entries.length > 0) throw new Error("a snapshot and entries came in one write");
  member.log.install(snapshot);
  member.history.push(snapshot);
}

function apply(member: Member, entries: readonly Entry[]): void {
  for (const { index, term, type, data } of entries) {
    const before = member.history[member.history.length - 1];
    let confState: ConfState = before?.confState ?? member.node.status().confState;
    let content = String(before?.data ?? "");
    if (type === "conf-change") confState = member.node.applyConfChange(decodeChange(data));
    else content += Buffer.from(data).toString("utf8");
    member.history.push({ index, term, confState, data: content });
  }
}
