/**
 * Picks the nodes on which the tasks of one group are to run. Pure: the set of nodes is its working copy of the cluster, in
 * which every decision is charged at once.
 *
 * Ties go to the lower node id, so equal input gives equal output.
 */
import {
  type GenericResource,
  type Node,
  Task,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import { labelReader } from "../constraint/match.ts";
import { explainNodes, type Filter, filtersOf, passesAll } from "./filters.ts";
import type { Group } from "./group.ts";
import { isWanted, type NodeInfo } from "./node-info.ts";
import type { NodeSet } from "./node-set.ts";
import { type Candidates, candidatesOf, rankingOf } from "./spread.ts";

/** A task and what it becomes: the same task, assigned to a node. */
export interface Placement {
  readonly task: Task;
  readonly next: Task;
  /** The node as it was when it was chosen. */
  readonly node: Node;
}

/** The decision for one group of tasks; it holds as long as nothing but itself changes the nodes. */
export class GroupDecision {
  readonly #group: Group;
  readonly #nodes: NodeSet;
  readonly #filters: readonly Filter[];
  readonly #now: number;
  #candidates: Candidates | undefined;

  /** @param now Milliseconds since the epoch: the time of the decision, and the end of the window of failures. */
  constructor(group: Group, nodes: NodeSet, now: number) {
    this.#group = group;
    this.#nodes = nodes;
    this.#filters = filtersOf(group, nodes);
    this.#now = now;
  }

  /** Places a task on the best node and charges it there; undefined when none will do, for this task or any other of the group. */
  place(task: Task): Placement | undefined {
    this.#candidates ??= this.#open();
    const best = this.#nodes.list()[this.#candidates.best()];
    if (best === undefined) return undefined;
    const next = this.#assigned(task, best, "scheduler assigned task to node");
    if (next === undefined) return undefined;
    this.#nodes.charge(next);
    this.#candidates.taken();
    return { task, next, node: best.node };
  }

  /** Places a task on the node it is for; undefined when that one will not do. */
  confirm(task: Task): Placement | undefined {
    const info = this.#nodes.get(task.nodeId);
    if (info === undefined || !passesAll(this.#filters, info)) return undefined;
    const next = this.#assigned(task, info, "scheduler confirmed task can run on preassigned node");
    if (next === undefined) return undefined;
    this.#nodes.charge(next);
    return { task, next, node: info.node };
  }

  /** Whether one of these nodes would do. */
  wouldDo(nodes: Iterable<NodeInfo>): boolean {
    for (const info of nodes) if (passesAll(this.#filters, info)) return true;
    return false;
  }

  /** Why no node will do, in Docker's words; why its own will not, for a task that is for one node. */
  explain(nodeId?: string): string {
    if (nodeId === undefined) return explainNodes(this.#filters, this.#nodes.list());
    const info = this.#nodes.get(nodeId);
    return explainNodes(this.#filters, info === undefined ? [] : [info]);
  }

  #open(): Candidates {
    const list = this.#nodes.list();
    const infoAt = (position: number) => list[position] as NodeInfo;
    const levels = (this.#group.spec.placement?.preferences ?? []).flatMap((preference) => {
      const read = labelReader(preference.spreadOver);
      return read === undefined ? [] : [(position: number) => read(infoAt(position).node)];
    });
    return candidatesOf({
      size: list.length,
      ranking: rankingOf(this.#group, this.#nodes, this.#now),
      passes: (position) => passesAll(this.#filters, infoAt(position)),
      levels,
    });
  }

  #assigned(task: Task, info: NodeInfo, message: string): Task | undefined {
    const wanted = this.#group.reserved?.generic ?? [];
    const given = wanted.length === 0 ? [] : info.generic.choose(wanted);
    return given && assignTask(task, { nodeId: info.id, given, message, now: this.#now });
  }
}

/** What is written into a task with its node. */
export interface Assignment {
  readonly nodeId: string;
  readonly given: readonly GenericResource[];
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The task with a node. What its status said before is over. */
export function assignTask(task: Task, { nodeId, given, message, now }: Assignment): Task {
  const status = TaskStatus.create({ state: "assigned", message, timestampMs: now });
  const assignedGeneric = given.length === 0 ? task.assignedGeneric : given;
  return { ...task, nodeId, status, assignedGeneric };
}

/** The task with the reason why it waits; undefined when it has that already. */
export function explainTask(task: Task, error: string, now: number): Task | undefined {
  if (task.status?.error === error) return undefined;
  const status = TaskStatus.create({ ...task.status, error, timestampMs: now });
  return Task.create({ ...task, status });
}

/** Whether the task waits for the scheduler: it is allocated, wanted, and not on a node yet. */
export function isWaiting(task: Task): boolean {
  return task.status?.state === "pending" && isWanted(task);
}
