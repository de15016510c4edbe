/**
 * What the leader does for the group beside replication: takes members in and out, promotes learners, hands leadership
 * over. Part of `raft-node.ts`.
 */
import type { RaftMember } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { noLeader } from "../../src/common/errors/no-leader.ts";
import { newRaftId } from "../../src/common/ids/ids.ts";
import { learnerLagMax, membershipTimeoutMs } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { RawNode } from "./core/raw-node.ts";
import { MemberChanges } from "./member-changes.ts";
import { canRemove, type Membership, successor } from "./membership.ts";
import type { RaftTiming } from "./timing.ts";

/** What the duties see of their node. */
export interface LeaderContext {
  readonly raftId: number;
  readonly raw: RawNode;
  readonly timing: RaftTiming;
  readonly random: Random;
  readonly log: Log;
  readonly membership: () => Membership;
  readonly leads: () => boolean;
  readonly reachable: () => Set<number>;
  /** Notes where a member says it is reached. */
  readonly learnAddress: (raftId: number, address: string) => void;
  /** Has the node take the work that came up. */
  readonly wake: () => void;
}

/** How often another manager is asked to take over. */
const transferAttempts = 4;

/** Ticks between looks at the learners. */
const learnerPeriodTicks = 5;

/** The duties of one node; they only act while it leads. */
export class LeaderDuties {
  readonly changes: MemberChanges;
  readonly #context: LeaderContext;
  readonly #nearSince = new Map<number, number>();
  readonly #lossWaiters = new Set<() => void>();
  #ticks = 0;

  constructor(context: LeaderContext) {
    this.#context = context;
    const { timing, random } = context;
    this.changes = new MemberChanges({
      propose: (data) => {
        this.mustLead();
        const result = context.raw.proposeConfChange(data);
        context.wake();
        return result;
      },
      appliedIndex: () => context.raw.status().applied,
      expireTicks: Math.ceil(membershipTimeoutMs / timing.tickMs) + 2 * timing.electionTicks,
      newRequestId: () => newRaftId(random),
    });
  }

  /** @throws ClusterError unavailable when this member does not lead. */
  mustLead(): void {
    if (this.#context.leads()) return;
    throw noLeader();
  }

  /** One tick of the clock. */
  tick(): void {
    this.#ticks++;
    this.changes.tick();
    if (this.#ticks % learnerPeriodTicks === 0 && this.#context.leads()) this.#promoteLearners();
  }

  /** Takes a new member in as a learner, or notes where a known one is now; a learner becomes a voter by itself. */
  async addMember(member: RaftMember): Promise<void> {
    this.mustLead();
    const known = this.#context.membership().members.get(member.raftId);
    if (known !== undefined && known.nodeId === member.nodeId) {
      this.#context.learnAddress(member.raftId, member.address);
      return;
    }
    await this.changes.change({
      steps: [{ kind: "add-learner", raftId: member.raftId }],
      members: [member],
    });
  }

  /** Puts a member's new id in place of the one whose log was lost. */
  async replaceMember(member: RaftMember, oldRaftId: number): Promise<void> {
    this.mustLead();
    const { members } = this.#context.membership();
    if (members.has(member.raftId)) return;
    // It may have been replaced before, and lost its log again before it knew.
    const old =
      members.get(oldRaftId) ?? [...members.values()].find((m) => m.nodeId === member.nodeId);
    if (old === undefined || old.nodeId !== member.nodeId) {
      const text = `member ${oldRaftId} of node ${member.nodeId} is not known`;
      throw new ClusterError("not-found", text);
    }
    await this.changes.change({
      steps: [
        { kind: "remove", raftId: old.raftId },
        { kind: "add-learner", raftId: member.raftId },
      ],
      members: [member],
    });
  }

  /**
   * Takes a member out of the group. The leader hands leadership over instead of removing itself.
   *
   * @throws ClusterError failed-precondition when the reachable rest would be no quorum; unavailable when this member
   *   does not lead (any more), with the change to be asked of the new leader.
   */
  async removeMember(raftId: number): Promise<void> {
    this.mustLead();
    const { members, confState } = this.#context.membership();
    if (!members.has(raftId)) return;
    if (!canRemove(confState, raftId, this.#context.reachable())) {
      throw new ClusterError(
        "failed-precondition",
        "can't remove member from the raft: this would result in a loss of quorum",
        { fields: { "raft.id": raftId } },
      );
    }
    if (raftId === this.#context.raftId) {
      await this.transferLeadership();
      throw new ClusterError("unavailable", "leadership was handed over: ask the new leader");
    }
    await this.changes.change({ steps: [{ kind: "remove", raftId }], members: [] });
  }

  /**
   * Hands leadership to `to`, or to the voter that is furthest; resolves once this member no longer leads.
   *
   * @throws ClusterError failed-precondition when there is nobody to hand it to, deadline-exceeded when it did not happen.
   */
  async transferLeadership(to?: number): Promise<void> {
    const { raw, raftId, timing, membership, reachable, wake, leads } = this.#context;
    for (let attempt = 0; attempt < transferAttempts; attempt++) {
      if (!leads()) return;
      const facts = { reachable: reachable(), progress: raw.status().progress };
      const target = to ?? successor(membership().confState, raftId, facts);
      if (target === undefined) {
        throw new ClusterError("failed-precondition", "no other manager can take over leadership");
      }
      raw.transferLeader(target);
      wake();
      // The core gives up after an election timeout; the target may have had a change of members still to apply.
      if (await this.#leadershipLost((timing.electionTicks + 1) * timing.tickMs)) return;
    }
    throw new ClusterError("deadline-exceeded", "leadership was not taken over in time");
  }

  /** This member led and does not any more. */
  lostLeadership(): void {
    this.#nearSince.clear();
    this.changes.fail(new ClusterError("unavailable", "this manager no longer leads"));
    for (const wake of [...this.#lossWaiters]) wake();
  }

  /** Ends all waits. */
  stop(error: ClusterError): void {
    this.changes.fail(error);
    for (const wake of [...this.#lossWaiters]) wake();
  }

  #promoteLearners(): void {
    const { raw, reachable, timing } = this.#context;
    const { progress, lastIndex, confState } = raw.status();
    const up = confState.learners.length > 0 ? reachable() : new Set<number>();
    for (const id of confState.learners) {
      const match = progress.get(id)?.match ?? 0;
      if (match === 0 || match + learnerLagMax < lastIndex || !up.has(id)) {
        this.#nearSince.delete(id);
        continue;
      }
      const since = this.#nearSince.get(id) ?? this.#ticks;
      this.#nearSince.set(id, since);
      if (this.changes.busy || this.#ticks - since < timing.electionTicks) continue;
      this.#promote(id);
      return;
    }
  }

  #promote(raftId: number): void {
    const { log } = this.#context;
    this.changes.change({ steps: [{ kind: "add-voter", raftId }], members: [] }).then(
      () => log.info("learner became a voter", { "raft.id": raftId }),
      (error: unknown) => {
        log.info("learner stays one for now", { "raft.id": raftId, err: error });
      },
    );
  }

  #leadershipLost(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#lossWaiters.delete(done);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#lossWaiters.delete(done);
        resolve(false);
      }, timeoutMs);
      this.#lossWaiters.add(done);
    });
  }
}
