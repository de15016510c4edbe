/**
 * Brings the roles of nodes in line with what their users want: the leader's loop around `decide.ts`.
 *
 * Wakes on changes of nodes and of the Raft group, takes the steps one by one, and tries a refused step (a demotion that
 * would lose the quorum, say) again after a pause. Writes carry the term they were decided in.
 */
import { Node } from "../../src/common/api/generated/api.ts";
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Store } from "../state/store.ts";
import {
  decideMembership,
  type GroupMember,
  isAt,
  type MembershipStep,
  wantedRole,
} from "./decide.ts";

/** The Raft group as this loop needs it. */
export interface Group {
  members(): readonly GroupMember[];
  /** @throws ClusterError failed-precondition when the reachable voters would lose the quorum. */
  removeMember(raftId: number): Promise<void>;
}

/** Pause before a refused step is tried again, and the longest between two looks, milliseconds. */
const lookIntervalMs = 5000;
/** Pause after a change, so that the changes of one command are taken together. */
const settleMs = 20;

/** The loop of one leadership. */
export class MembershipLoop {
  readonly #store: Store;
  readonly #group: Group;
  readonly #term: number;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #alarm: Alarm;
  #woken = true;

  constructor(
    store: Store,
    group: Group,
    term: number,
    tools: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#store = store;
    this.#group = group;
    this.#term = term;
    this.#tools = tools;
    this.#alarm = new Alarm(tools.clock);
  }

  /** Something changed: look again. */
  changed(): void {
    this.#woken = true;
    this.#alarm.ring();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    while (!signal.aborted) {
      if (!this.#woken) await this.#alarm.pause(lookIntervalMs, signal);
      if (signal.aborted) return;
      this.#woken = false;
      const view = this.#store.view();
      // A cluster whose first objects are not committed yet has members without node objects.
      if (view.count("cluster") === 0) continue;
      const steps = decideMembership(
        view.list("node"),
        this.#group.members().map(({ raftId, nodeId, address }) => ({ raftId, nodeId, address })),
      );
      for (const step of steps) {
        try {
          await this.#take(step, signal);
          this.#woken = true;
        } catch (error) {
          if (signal.aborted) return;
          log.warn("role change put off", { "node.id": step.nodeId, err: errorText(error) });
        }
      }
      await clock.sleep(settleMs, signal).catch(() => {
        // Aborted: the loop's condition ends it.
      });
    }
  }

  async #take(step: MembershipStep, signal: AbortSignal): Promise<void> {
    switch (step.kind) {
      case "remove-member":
        await this.#group.removeMember(step.raftId);
        this.#tools.log.info("manager left the raft group", { "node.id": step.nodeId });
        return;
      case "promote":
        await this.#setRole(step.nodeId, "manager", signal);
        return;
      case "demote":
        await this.#setRole(step.nodeId, "worker", signal);
        return;
      case "readdress":
        await this.#setAddress(step.nodeId, step.member, signal);
        return;
    }
  }

  async #setAddress(nodeId: string, member: GroupMember, signal: AbortSignal): Promise<void> {
    const { raftId, address } = member;
    await this.#store.update(
      (tx) => {
        const node = tx.get("node", nodeId);
        // Demoted meanwhile: it is on its way out of the group.
        if (node?.role !== "manager" || wantedRole(node) !== "manager") return;
        if (!isAt(node, member)) {
          tx.update("node", Node.create({ ...node, manager: { raftId, address } }));
        }
      },
      { term: this.#term, signal },
    );
    this.#tools.log.info("manager is reached elsewhere", { "node.id": nodeId, address });
  }

  async #setRole(nodeId: string, role: "manager" | "worker", signal: AbortSignal): Promise<void> {
    const isChanged = await this.#store.update(
      (tx) => {
        const node = tx.get("node", nodeId);
        // Its user may have changed their mind since the decision.
        if (node === undefined || wantedRole(node) !== role || node.role === role) return false;
        const manager = role === "worker" ? undefined : node.manager;
        tx.update("node", Node.create({ ...node, role, manager }));
        return true;
      },
      { term: this.#term, signal },
    );
    if (isChanged) this.#tools.log.info("role changed", { "node.id": nodeId, role });
  }
}
