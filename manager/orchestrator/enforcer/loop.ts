/**
 * Takes tasks from nodes that changed so that they are no place for them any more: the leader's loop around `decide.ts`.
 *
 * Such a task is shut down as on a drained node, and its successor starts once it has stopped. It is shown as rejected from
 * now on, as in Docker's swarm, where it counts as ended at once and both may run for a while: here its status stays what
 * the agent sees, and the rejection stands beside it.
 */
import { type Task, TaskStatus } from "../../../src/common/api/generated/api.ts";
import { type NodeMatcher, nodeMatcher } from "../../constraint/match.ts";
import { parseConstraints } from "../../constraint/parse.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { type Leadership, nap, slices, type Tools } from "../leadership.ts";
import { mattersTo } from "../node-match.ts";
import { RunTimes, repairAt } from "../restart/repair.ts";
import { fateOf, isWanted, type Place, placeOf } from "../slot.ts";
import { findMisplaced, type Misplaced } from "./decide.ts";

/** Parsed constraints that are remembered; then all are forgotten. */
const matchersMax = 1_000;

/** The loop of one leadership; run it with `follow`. */
export class EnforcerLoop implements Follower {
  readonly component = "enforcer";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #nodes = new Waiting<string>();
  readonly #matchers = new Map<string, NodeMatcher>();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    for (const { id } of this.#leadership.store.view().each("node")) this.#nodes.add(id, id);
  }

  changed(change: Change): void {
    if (change.table !== "node" || change.kind === "remove") return;
    const { object: node, old } = change;
    if (mattersTo(node, old)) this.#nodes.add(node.id, node.id);
  }

  async work(signal: AbortSignal): Promise<number> {
    await this.#nodes.drain(async (ids) => {
      const pause = slices(this.#tools.clock);
      for (const id of ids) {
        await this.#enforce(id, signal);
        if (pause()) await nap();
      }
    });
    return Number.POSITIVE_INFINITY;
  }

  async #enforce(nodeId: string, signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const view = store.view();
    // What is on a node that is lost or drained goes in any case.
    if (fateOf(view, nodeId) !== "up") return;
    const node = view.get("node", nodeId);
    // A paused node keeps what it has, as in Docker's swarm, until it is active again.
    if (node === undefined || node.spec?.availability === "pause") return;
    const misplaced = findMisplaced({
      node,
      tasks: view.find("task", "node", nodeId).filter(({ serviceId }) => serviceId !== ""),
      serviceOf: ({ serviceId }) => view.get("service", serviceId),
      meets: (constraints) => constraints.length === 0 || this.#matcherOf(constraints)(node),
    });
    await store.batch(misplaced, (tx, one) => this.#move(tx, one), { term, signal });
    for (const { task, why } of misplaced) {
      const fields = { "task.id": task.id, "node.id": nodeId, why };
      this.#tools.log.warn("task has to leave its node", fields);
    }
  }

  #move(tx: Tx, { task, why }: Misplaced): void {
    const { store } = this.#leadership;
    const service = tx.get("service", task.serviceId);
    const view = store.view();
    if (service === undefined) return;
    const place: Place = placeOf(task);
    const fate = (other: Task) => (other.id === task.id ? "drained" : fateOf(view, other.nodeId));
    const { jobIteration } = task;
    const run = jobIteration === undefined ? {} : { jobIteration };
    const runTimes = new RunTimes();
    repairAt({ tx, view, service, place, runTimes, fateOf: fate, ...run }, this.#tools);
    const stopped = tx.get("task", task.id);
    if (stopped === undefined || isWanted(stopped)) return;
    const rejection = rejected(stopped, why, this.#tools.clock.now());
    tx.update("task", { ...stopped, rejection });
  }

  #matcherOf(constraints: readonly string[]): NodeMatcher {
    const key = constraints.join("\n");
    let matcher = this.#matchers.get(key);
    if (matcher === undefined) {
      if (this.#matchers.size >= matchersMax) this.#matchers.clear();
      matcher = nodeMatcher(parseConstraints(constraints));
      this.#matchers.set(key, matcher);
    }
    return matcher;
  }
}

/** What is shown of a task from now on, in the words of Docker's enforcer. */
function rejected({ status }: Task, error: string, now: number): TaskStatus {
  const message = "task rejected by constraint enforcer";
  return TaskStatus.create({ ...status, state: "rejected", message, error, timestampMs: now });
}
