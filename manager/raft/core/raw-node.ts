/**
 * The one door to the Raft core: feed it messages, ticks and proposals, take work out with `ready()`.
 *
 * Used by `manager/raft/raft-node.ts` in the daemon and by the simulator. Not re-entrant; owns no time, disk or network.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { untried } from "../../../src/common/errors/no-leader.ts";
import { assert } from "./assert.ts";
import { applyConfChange } from "./membership.ts";
import { isLocalThread, isLocalType, isResponseType, message } from "./message.ts";
import { type ProposalOutcome, type ProposalRefusal, propose } from "./proposal.ts";
import { type EntryDraft, Raft } from "./raft.ts";
import {
  acceptWork,
  appendMessage,
  appendResponse,
  applyMessage,
  applyResponse,
  hasWork,
  type Told,
  takeWork,
} from "./ready.ts";
import { step, tick } from "./step.ts";
import {
  type ConfChange,
  type ConfState,
  type Message,
  none,
  type Position,
  type ProgressStatus,
  type RaftConfig,
  type RaftStatus,
  type Ready,
  type StepResult,
} from "./types.ts";

/** One member of a Raft group. */
export class RawNode {
  readonly #raft: Raft;
  readonly #async: boolean;
  #told: Told;
  /** Without asynchronous writes: what `advance()` tells this member about the last `Ready`. */
  #onAdvance: Message[] = [];

  /** @throws ClusterError `invalid-argument` when the settings contradict each other. */
  constructor(config: RaftConfig) {
    this.#raft = new Raft(config);
    this.#async = config.asyncStorageWrites;
    this.#told = toldNow(this.#raft);
  }

  /** Lets one tick pass: counts towards the next heartbeat or election. */
  tick(): void {
    tick(this.#raft);
  }

  /** Starts an election now, if this member may lead. */
  campaign(): void {
    step(this.#raft, message({ type: "hup" }));
  }

  /**
   * Appends `data` to the log if this member leads, or sends it on to the leader.
   *
   * @returns Where it was appended; index 0 when it was sent on, in which case it may get lost silently.
   * @throws ClusterError `unavailable` without a leader or during a transfer, `resource-exhausted` when too much is uncommitted.
   */
  propose(data: Uint8Array): Position {
    const { firstIndex } = this.#propose([{ type: "normal", data }]);
    return { index: firstIndex, term: this.#raft.term };
  }

  /** Like `propose` for several entries at once, all or none; their indexes follow each other. */
  proposeBatch(list: readonly Uint8Array[]): {
    readonly firstIndex: number;
    readonly term: number;
  } {
    assert(list.length > 0, "a batch of proposals is empty");
    const { firstIndex } = this.#propose(list.map((data) => ({ type: "normal", data })));
    return { firstIndex, term: this.#raft.term };
  }

  /**
   * Proposes a configuration change, encoded by the driver; empty data means "leave the joint phase".
   *
   * @returns As `propose`; `refused` says why the change was replaced by a no-op (another one is pending, or it does not
   *   fit the present configuration).
   * @throws ClusterError as `propose`.
   */
  proposeConfChange(data: Uint8Array): Position & { readonly refused: string | undefined } {
    const { firstIndex, changeRefused } = this.#propose([{ type: "conf-change", data }]);
    return { index: firstIndex, term: this.#raft.term, refused: changeRefused };
  }

  /**
   * Puts a committed configuration change into force; the driver calls it when it applies the entry.
   *
   * @throws ClusterError `failed-precondition` when it does not fit the present configuration; nothing has changed then,
   *   and as all members see the same configuration at that entry, all refuse it alike.
   */
  applyConfChange(change: ConfChange): ConfState {
    return applyConfChange(this.#raft, change);
  }

  /** Takes a message of another member, or of the local threads. */
  step(message: Message): StepResult {
    if (!isLocalThread(message.from)) {
      if (isLocalType(message.type)) return "local-message";
      if (isResponseType(message.type) && !this.#raft.members.progress.has(message.from)) {
        return "unknown-peer";
      }
    }
    return step(this.#raft, message);
  }

  /** Whether `ready()` would return anything. */
  hasReady(): boolean {
    return hasWork(this.#raft, this.#told, !this.#async);
  }

  /** Takes the outstanding work; it must all be done. */
  ready(): Ready {
    const r = this.#raft;
    assert(this.#onAdvance.length === 0, "the last work was not finished by advance()");
    const work = takeWork(r, this.#told, !this.#async);
    const waiting = r.messagesAfterAppend;
    r.messagesAfterAppend = [];
    if (work.softState !== undefined || work.hardState !== undefined) this.#told = toldNow(r);
    const messages = this.#async
      ? this.#forThreads(work, waiting)
      : this.#forAdvance(work, waiting);
    acceptWork(r, work, !this.#async);
    return { ...work, messages };
  }

  /** Says that the last `Ready` is stored, sent and applied; not used with asynchronous storage writes. */
  advance(): void {
    assert(!this.#async, "advance() was called although storage writes are asynchronous");
    const messages = this.#onAdvance;
    this.#onAdvance = [];
    for (const one of messages) step(this.#raft, one);
  }

  /**
   * Asks for a point from which a read is linearizable; the answer is a `readStates` item with this `context`.
   *
   * There may be no answer (no leader, lost messages, change of leader): the caller needs a deadline and asks again. One
   * round of messages confirms all reads asked for before the same `ready()`.
   */
  readIndex(context: Uint8Array): void {
    step(this.#raft, message({ type: "read-index", context }));
  }

  /** Hands leadership to member `to`; given up after an election timeout. On a follower the request is sent on. */
  transferLeader(to: number): void {
    step(this.#raft, message({ type: "transfer-leader", from: to }));
  }

  /** Makes a follower forget its leader, so that it grants votes; it stays a follower. */
  forgetLeader(): void {
    step(this.#raft, message({ type: "forget-leader" }));
  }

  /** Says that a message to `id` could not be sent: the leader goes back to probing it. */
  reportUnreachable(id: number): void {
    step(this.#raft, message({ type: "unreachable", from: id }));
  }

  /** Says how sending a snapshot to `id` ended; every `snap` message needs this report. */
  reportSnapshot(id: number, ok: boolean): void {
    step(this.#raft, message({ type: "snap-status", from: id, reject: !ok }));
  }

  /** The last position that this member knows to be committed. */
  commitPosition(): Position {
    const { log } = this.#raft;
    return { index: log.committed, term: log.term(log.committed) ?? 0 };
  }

  /** Learns of another member, whoever leads, that the entry at a position is committed. */
  learnCommit({ index, term }: Position): void {
    const { role, log } = this.#raft;
    if (role !== "leader" && index > log.committed && log.matches(index, term)) log.commitTo(index);
  }

  /** The state of this member; allocates, so not for hot paths. */
  status(): RaftStatus {
    const r = this.#raft;
    const progress = new Map<number, ProgressStatus>();
    if (r.role === "leader") {
      for (const [id, one] of r.members.progress) progress.set(id, one.status());
    }
    return {
      id: r.id,
      role: r.role,
      leader: r.leader,
      ...r.hardState(),
      applied: r.log.applied,
      firstIndex: r.log.firstIndex(),
      lastIndex: r.log.lastIndex(),
      confState: r.members.conf,
      leadTransferee: r.leadTransferee,
      progress,
    };
  }

  #propose(drafts: readonly EntryDraft[]): ProposalOutcome {
    const outcome = propose(this.#raft, drafts, none);
    if (outcome.refusal !== undefined) throw refusalError(outcome.refusal, this.#raft.id);
    return outcome;
  }

  #forThreads(work: Ready, waiting: readonly Message[]): readonly Message[] {
    const messages = [...work.messages];
    const append = appendMessage(this.#raft, work, waiting);
    if (append !== undefined) messages.push(append);
    if (work.committedEntries.length > 0) {
      messages.push(applyMessage(this.#raft, work.committedEntries));
    }
    return messages;
  }

  /** The driver stores before it sends, so what waits for the write can go along; answers to itself wait for `advance()`. */
  #forAdvance(work: Ready, waiting: readonly Message[]): readonly Message[] {
    const r = this.#raft;
    this.#onAdvance = waiting.filter((one) => one.to === r.id);
    const stored = appendResponse(r, work);
    if (stored !== undefined) this.#onAdvance.push(stored);
    if (work.committedEntries.length > 0) {
      this.#onAdvance.push(applyResponse(r, work.committedEntries));
    }
    return [...work.messages, ...waiting.filter((one) => one.to !== r.id)];
  }
}

function toldNow(r: Raft): Told {
  return { softState: { leader: r.leader, role: r.role }, hardState: r.hardState() };
}

const refusalTexts: Record<ProposalRefusal, string> = {
  "no-leader": "the group has no leader at the moment",
  "not-forwarded": "this member does not lead the group",
  "not-a-member": "this member was removed from the group",
  "transfer-under-way": "leadership is being handed over",
  "too-much-uncommitted": "too many proposals wait to be committed",
};

function refusalError(refusal: ProposalRefusal, id: number): ClusterError {
  const fields = { "raft.id": id, reason: refusal };
  const text = refusalTexts[refusal];
  if (refusal === "too-much-uncommitted") {
    return new ClusterError("resource-exhausted", text, { fields });
  }
  return untried(text, fields);
}
