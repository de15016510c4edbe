/**
 * Changes of the group's members on the leader: one after the other, each until it is in force.
 *
 * Changes of voters go through joint consensus. The core may refuse a change while another is under way; it is then
 * proposed again until its time is up. A change of leader ends the wait with an unknown outcome.
 */
import {
  RaftConfChange,
  type RaftConfChangeStep,
  type RaftMember,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { ConfState } from "./core/types.ts";
import { isJoint } from "./membership.ts";

/** What to change. */
export interface MemberChange {
  readonly steps: readonly RaftConfChangeStep[];
  /** Facts about members that are new. */
  readonly members: readonly RaftMember[];
}

interface Pending extends MemberChange {
  readonly requestId: number;
  readonly expiresAt: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  proposed: boolean;
  applied: boolean;
}

/** Hands a change to the core; `refused` says why a no-op took its place at `index`. */
type Propose = (data: Uint8Array) => {
  readonly refused: string | undefined;
  readonly index: number;
};

/** The changes under way. Time is counted in ticks. */
export class MemberChanges {
  readonly #propose: Propose;
  readonly #appliedIndex: () => number;
  readonly #expireTicks: number;
  readonly #newRequestId: () => number;
  #queue: Pending[] = [];
  #now = 0;
  /** Where the core put a no-op in place of a change it refused; the next try waits until that is applied. */
  #refusedAt = 0;

  constructor(options: {
    readonly propose: Propose;
    readonly appliedIndex: () => number;
    readonly expireTicks: number;
    readonly newRequestId: () => number;
  }) {
    this.#propose = options.propose;
    this.#appliedIndex = options.appliedIndex;
    this.#expireTicks = options.expireTicks;
    this.#newRequestId = options.newRequestId;
  }

  get busy(): boolean {
    return this.#queue.length > 0;
  }

  /**
   * Makes a change; resolves once it is in force and no joint phase is left.
   *
   * @throws ClusterError unavailable when leadership is lost, deadline-exceeded when no quorum answers in time.
   */
  change(change: MemberChange): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({
        ...change,
        requestId: this.#newRequestId(),
        expiresAt: this.#now + this.#expireTicks,
        resolve,
        reject,
        proposed: false,
        applied: false,
      });
      if (this.#queue.length === 1) this.#try();
    });
  }

  /** A change was applied; `confState` is the configuration now. */
  applied(requestId: number, confState: ConfState): void {
    const first = this.#queue[0];
    if (first === undefined) return;
    if (first.requestId === requestId) first.applied = true;
    if (!first.applied || isJoint(confState)) return;
    this.#queue.shift();
    first.resolve();
    this.#try();
  }

  /** A change turned out not to fit the configuration when it was applied. */
  refused(requestId: number, error: unknown): void {
    const first = this.#queue[0];
    if (first?.requestId !== requestId) return;
    this.#queue.shift();
    first.reject(error);
    this.#try();
  }

  /** Proposes again what was refused, and gives up what is overdue. */
  tick(): void {
    this.#now++;
    const overdue = this.#queue.filter((change) => change.expiresAt <= this.#now);
    if (overdue.length > 0) {
      this.#queue = this.#queue.filter((change) => change.expiresAt > this.#now);
      const text = "the change of members was not confirmed by a quorum of the managers in time";
      for (const change of overdue) change.reject(new ClusterError("deadline-exceeded", text));
    }
    this.#try();
  }

  /** Ends all waits. */
  fail(error: ClusterError): void {
    this.#refusedAt = 0;
    for (const change of this.#queue.splice(0)) change.reject(error);
  }

  #try(): void {
    const first = this.#queue[0];
    if (first === undefined || first.proposed) return;
    // Whatever was pending came before the no-op. Trying at every tick would fill the log with them while commits stall.
    if (this.#refusedAt > 0 && this.#appliedIndex() < this.#refusedAt) return;
    const data = RaftConfChange.encode({
      transition: first.steps.every((step) => step.kind === "add-learner")
        ? "auto"
        : "joint-implicit",
      steps: first.steps,
      members: first.members,
      requestId: first.requestId,
    });
    try {
      const { refused, index } = this.#propose(data);
      first.proposed = refused === undefined;
      this.#refusedAt = refused === undefined ? 0 : index;
    } catch (error) {
      this.#queue.shift();
      first.reject(error);
      this.#try();
    }
  }
}
