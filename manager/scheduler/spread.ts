/**
 * The best node for the next task of a group, again and again: a tree by spread preferences with a heap in every leaf. Pure.
 *
 * One level of the tree per preference, one branch per value of its label (a node without the label is in the branch of the
 * empty value). A task goes into the branch with the fewest tasks of the service, level by level, and there to the best
 * node. Since a placement only makes the node it chose less attractive, nothing but the way from the root to it has to be
 * ordered anew: a task costs the logarithm of the nodes, not their number. Nodes are only filtered once they are the best.
 */
import type { Resources } from "../../src/common/api/generated/api.ts";
import type { Group } from "./group.ts";
import type { Columns, NodeSet } from "./node-set.ts";

/** How nodes compare for a group; nodes are named by their positions in the set. Lower keys are better, `high` first. */
export interface Ranking {
  readonly high: Float64Array;
  readonly low: Float64Array;
  /** Reads the keys of a node anew, after a task was placed on it. */
  update(position: number): void;
  isFailing(position: number): boolean;
  /** Tasks of the service on the node. */
  tasksOn(position: number): number;
}

/** More than any number of tasks on a node. */
const failingWeight = 2 ** 40;
/** More than any share of a node that can be taken: a share is 1 at most, unless a node shrank. */
const usedWeight = 2 ** 10;
/** More than the number of nodes. */
const rankWeight = 2 ** 20;
/** More than the number of tasks on a node. */
const ownWeight = 2 ** 13;

/**
 * The order of nodes for a group:
 *
 * 1. nodes on which this version of the service failed too often lately come last;
 * 2. without reservations, the fewest tasks of the service, as in Docker; with reservations, nodes without a task of it,
 *    then the lowest share of the node that would be taken, then the fewest tasks of the service: so every node gets one,
 *    and beyond that a large node more than a small one;
 * 3. the fewest tasks at all; 4. the lower id.
 */
export function rankingOf(group: Group, nodes: NodeSet, now: number): Ranking {
  const { serviceId, specVersion, reserved } = group;
  const { ranks, tasks } = nodes.columns();
  const high = new Float64Array(nodes.size);
  const low = new Float64Array(nodes.size);
  const shares = reserved === undefined ? undefined : sharesOf(reserved, nodes.columns());
  const set = (at: number, own: number) => {
    const all = tasks[at] ?? 0;
    const rank = ranks[at] ?? 0;
    if (shares === undefined) {
      high[at] = own;
      low[at] = all * rankWeight + rank;
    } else {
      high[at] = (own > 0 ? usedWeight : 0) + shares(at);
      low[at] = (all + own * ownWeight) * rankWeight + rank;
    }
  };
  // Most nodes have no task of the service: only the others have to be looked up.
  for (let at = 0; at < nodes.size; at++) {
    if (shares !== undefined) high[at] = shares(at);
    low[at] = (tasks[at] ?? 0) * rankWeight + (ranks[at] ?? 0);
  }
  for (const [info, own] of nodes.tasksOf(serviceId)) set(info.position, own);
  const failing = new Set<number>();
  for (const { position } of nodes.failing(serviceId, specVersion, now)) failing.add(position);
  for (const at of failing) high[at] = (high[at] ?? 0) + failingWeight;
  const list = nodes.list();
  const tasksOn = (at: number) => {
    const info = list[at];
    return info === undefined ? 0 : (nodes.tasksOf(serviceId).get(info) ?? 0);
  };
  return {
    high,
    low,
    tasksOn,
    update: (at) => {
      set(at, tasksOn(at));
      if (failing.has(at)) high[at] = (high[at] ?? 0) + failingWeight;
    },
    isFailing: (at) => failing.has(at),
  };
}

/** The largest share of a node, of what the group reserves, that would be taken with one more of its tasks. */
function sharesOf({ nanoCpus, memoryBytes }: Resources, columns: Columns): (at: number) => number {
  const { usedCpus, totalCpus, usedMemory, totalMemory } = columns;
  return (at) => {
    const cpus =
      nanoCpus > 0 ? ((usedCpus[at] ?? 0) + nanoCpus) / Math.max(1, totalCpus[at] ?? 0) : 0;
    const memory =
      memoryBytes > 0
        ? ((usedMemory[at] ?? 0) + memoryBytes) / Math.max(1, totalMemory[at] ?? 0)
        : 0;
    return Math.max(cpus, memory);
  };
}

/** Whether the first node is better. */
function isBetter({ high, low }: Ranking, a: number, b: number): boolean {
  const difference = (high[a] ?? 0) - (high[b] ?? 0);
  return difference !== 0 ? difference < 0 : (low[a] ?? 0) < (low[b] ?? 0);
}

/** Nodes to choose from, by their positions. */
export interface Candidates {
  /** The best node that will do; -1 when none does. */
  best(): number;
  /** The best node got a task. */
  taken(): void;
}

/** What a tree is made from. */
export interface TreeOptions {
  /** How many nodes there are. */
  readonly size: number;
  readonly ranking: Ranking;
  readonly passes: (position: number) => boolean;
  /** One per spread preference: a node's branch. */
  readonly levels: readonly ((position: number) => string)[];
}

/** The tree over all nodes. */
export function candidatesOf(options: TreeOptions): Candidates {
  const positions = new Int32Array(options.size);
  for (let at = 0; at < options.size; at++) positions[at] = at;
  return treeOf(options, positions, 0);
}

function treeOf(options: TreeOptions, positions: Int32Array, level: number): Candidates {
  const branchOf = options.levels[level];
  if (branchOf === undefined) return new Leaf(options, positions);
  const branches = new Map<string, number[]>();
  for (const at of positions) {
    const value = branchOf(at);
    const branch = branches.get(value);
    if (branch === undefined) branches.set(value, [at]);
    else branch.push(at);
  }
  const { ranking } = options;
  const parts: Part[] = [];
  for (const members of branches.values()) {
    const candidates = treeOf(options, Int32Array.from(members), level + 1);
    const best = candidates.best();
    if (best < 0) continue;
    let tasks = 0;
    for (const at of members) tasks += ranking.tasksOn(at);
    parts.push({ candidates, best, tasks });
  }
  return new Branches(ranking, parts);
}

/** Nodes between which no preference distinguishes: a heap of their positions. */
class Leaf implements Candidates {
  readonly #o: TreeOptions;
  readonly #heap: Int32Array;
  #size: number;
  #isChecked = false;

  constructor(options: TreeOptions, positions: Int32Array) {
    this.#o = options;
    this.#heap = positions;
    this.#size = positions.length;
    for (let at = (this.#size >> 1) - 1; at >= 0; at--) this.#siftDown(at);
  }

  best(): number {
    while (this.#size > 0) {
      const top = this.#heap[0] ?? 0;
      if (this.#isChecked || this.#o.passes(top)) {
        this.#isChecked = true;
        return top;
      }
      // What does not pass now will not pass after further placements either.
      this.#heap[0] = this.#heap[--this.#size] ?? 0;
      this.#siftDown(0);
    }
    return -1;
  }

  taken(): void {
    this.#isChecked = false;
    this.#o.ranking.update(this.#heap[0] ?? 0);
    this.#siftDown(0);
  }

  #siftDown(from: number): void {
    const heap = this.#heap;
    const size = this.#size;
    const { ranking } = this.#o;
    const item = heap[from] ?? 0;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && isBetter(ranking, heap[child + 1] ?? 0, heap[child] ?? 0)) child++;
      if (!isBetter(ranking, heap[child] ?? 0, item)) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = item;
  }
}

interface Part {
  readonly candidates: Candidates;
  best: number;
  tasks: number;
}

/** Branches of one level: a heap of those that have a node left. */
class Branches implements Candidates {
  readonly #ranking: Ranking;
  readonly #heap: Part[];

  constructor(ranking: Ranking, parts: Part[]) {
    this.#ranking = ranking;
    this.#heap = parts;
    for (let at = (parts.length >> 1) - 1; at >= 0; at--) this.#siftDown(at);
  }

  best(): number {
    return this.#heap[0]?.best ?? -1;
  }

  taken(): void {
    const [top] = this.#heap;
    if (top === undefined) return;
    top.candidates.taken();
    top.tasks++;
    top.best = top.candidates.best();
    if (top.best < 0) {
      const last = this.#heap.pop();
      if (last !== undefined && last !== top) this.#heap[0] = last;
    }
    this.#siftDown(0);
  }

  /** A branch in which only failing nodes are left comes last; then the fewest tasks count, then the best node. */
  #isBefore(a: Part, b: Part): boolean {
    const [last, otherLast] = [this.#ranking.isFailing(a.best), this.#ranking.isFailing(b.best)];
    if (last !== otherLast) return otherLast;
    return a.tasks !== b.tasks ? a.tasks < b.tasks : isBetter(this.#ranking, a.best, b.best);
  }

  #siftDown(from: number): void {
    const heap = this.#heap;
    const item = heap[from];
    if (item === undefined) return;
    let at = from;
    for (;;) {
      let next = 2 * at + 1;
      let child = heap[next];
      if (child === undefined) break;
      const right = heap[next + 1];
      if (right !== undefined && this.#isBefore(right, child)) {
        next++;
        child = right;
      }
      if (!this.#isBefore(child, item)) break;
      heap[at] = child;
      at = next;
    }
    heap[at] = item;
  }
}
