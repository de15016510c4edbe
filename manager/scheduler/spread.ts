/**
 * The best node for the next task of a group, again and again: a tree by spread preferences with a heap in every leaf. Pure.
 *
 * One level of the tree per preference, one branch per value of its label (a node without the label is in the branch of the
 * empty value). A task goes into the branch with the fewest tasks of the service, level by level, and there to the best
 * node. Since a placement only makes the node it chose less attractive, nothing but the way from the root to it has to be
 * ordered anew: a task costs the logarithm of the nodes, not their number. Nodes are only filtered once they are the best.
 */
import type { Group } from "./group.ts";
import type { NodeInfo } from "./node-info.ts";
import type { NodeSet } from "./node-set.ts";

/** How nodes compare for a group: lower is better, by `high` first. */
export interface Ranking {
  /** Reads the keys of a node anew, after a task was placed on it. */
  update(info: NodeInfo): void;
  /** Whether the first node is better. */
  isBetter(a: NodeInfo, b: NodeInfo): boolean;
  isFailing(info: NodeInfo): boolean;
  /** Tasks of the service on the node. */
  tasksOn(info: NodeInfo): number;
}

/** More than any number of tasks on a node, or any share of it. */
const failingWeight = 2 ** 40;
const usedWeight = 2 ** 10;
const rankWeight = 2 ** 20;

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
  nodes.rank();
  const { serviceId, specVersion, reserved } = group;
  const failing = nodes.failing(serviceId, specVersion, now);
  const high = new Float64Array(nodes.size);
  const low = new Float64Array(nodes.size);
  const tasksOn = (info: NodeInfo) => nodes.tasksOf(serviceId).get(info) ?? 0;
  const update = (info: NodeInfo) => {
    const own = tasksOn(info);
    const { position } = info;
    const last = failing.size > 0 && failing.has(info) ? failingWeight : 0;
    if (reserved === undefined) {
      high[position] = last + own;
      low[position] = info.tasks * rankWeight + info.rank;
      return;
    }
    const share = Math.max(
      shareOf(info.usedCpus + reserved.nanoCpus, info.totalCpus, reserved.nanoCpus),
      shareOf(info.usedMemory + reserved.memoryBytes, info.totalMemory, reserved.memoryBytes),
    );
    high[position] = last + (own > 0 ? usedWeight : 0) + share;
    low[position] = (own * 2 ** 13 + info.tasks) * rankWeight + info.rank;
  };
  for (const info of nodes.list()) update(info);
  return {
    update,
    tasksOn,
    isFailing: (info) => failing.has(info),
    isBetter: (a, b) => {
      const difference = (high[a.position] ?? 0) - (high[b.position] ?? 0);
      return difference !== 0 ? difference < 0 : (low[a.position] ?? 0) < (low[b.position] ?? 0);
    },
  };
}

/** Share of a resource taken; 0 where the group does not want any of it. */
function shareOf(used: number, total: number, wanted: number): number {
  if (wanted <= 0) return 0;
  return total > 0 ? used / total : 1;
}

/** Nodes to choose from. */
export interface Candidates {
  /** The best node that will do; undefined when none does. */
  best(): NodeInfo | undefined;
  /** The best node got a task. */
  taken(): void;
}

/** What a tree is made from. */
export interface TreeOptions {
  readonly nodes: readonly NodeInfo[];
  readonly ranking: Ranking;
  readonly passes: (info: NodeInfo) => boolean;
  /** One per spread preference: a node's branch. */
  readonly levels: readonly ((info: NodeInfo) => string)[];
}

/** The tree over the nodes. */
export function candidatesOf(options: TreeOptions): Candidates {
  return treeOf(options, options.nodes, 0);
}

function treeOf(options: TreeOptions, nodes: readonly NodeInfo[], level: number): Candidates {
  const branchOf = options.levels[level];
  if (branchOf === undefined) return new Leaf(options, nodes);
  const branches = new Map<string, NodeInfo[]>();
  for (const info of nodes) {
    const value = branchOf(info);
    const branch = branches.get(value);
    if (branch === undefined) branches.set(value, [info]);
    else branch.push(info);
  }
  const { ranking } = options;
  const parts: Part[] = [];
  for (const members of branches.values()) {
    const candidates = treeOf(options, members, level + 1);
    const best = candidates.best();
    if (best === undefined) continue;
    let tasks = 0;
    for (const info of members) tasks += ranking.tasksOn(info);
    parts.push({ candidates, best, tasks });
  }
  return new Branches(ranking, parts);
}

/** Nodes between which no preference distinguishes: a heap. */
class Leaf implements Candidates {
  readonly #o: TreeOptions;
  readonly #heap: NodeInfo[];
  #isChecked = false;

  constructor(options: TreeOptions, nodes: readonly NodeInfo[]) {
    this.#o = options;
    this.#heap = [...nodes];
    heapify(this.#heap, options.ranking.isBetter);
  }

  best(): NodeInfo | undefined {
    const { passes, ranking } = this.#o;
    for (;;) {
      const [top] = this.#heap;
      if (top === undefined || this.#isChecked || passes(top)) {
        this.#isChecked = top !== undefined;
        return top;
      }
      // What does not pass now will not pass after further placements either.
      removeTop(this.#heap, ranking.isBetter);
    }
  }

  taken(): void {
    const [top] = this.#heap;
    if (top === undefined) return;
    this.#isChecked = false;
    this.#o.ranking.update(top);
    siftDown(this.#heap, 0, this.#o.ranking.isBetter);
  }
}

interface Part {
  readonly candidates: Candidates;
  best: NodeInfo;
  tasks: number;
}

/** Branches of one level: a heap of those that have a node left. */
class Branches implements Candidates {
  readonly #isBefore: (a: Part, b: Part) => boolean;
  readonly #parts: Part[];

  constructor(ranking: Ranking, parts: Part[]) {
    this.#isBefore = (a, b) => {
      const [last, otherLast] = [ranking.isFailing(a.best), ranking.isFailing(b.best)];
      if (last !== otherLast) return otherLast;
      return a.tasks !== b.tasks ? a.tasks < b.tasks : ranking.isBetter(a.best, b.best);
    };
    this.#parts = parts;
    heapify(this.#parts, this.#isBefore);
  }

  best(): NodeInfo | undefined {
    return this.#parts[0]?.best;
  }

  taken(): void {
    const [top] = this.#parts;
    if (top === undefined) return;
    top.candidates.taken();
    top.tasks++;
    const best = top.candidates.best();
    if (best === undefined) removeTop(this.#parts, this.#isBefore);
    else {
      top.best = best;
      siftDown(this.#parts, 0, this.#isBefore);
    }
  }
}

function heapify<T>(heap: T[], isBefore: (a: T, b: T) => boolean): void {
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) siftDown(heap, at, isBefore);
}

function removeTop<T>(heap: T[], isBefore: (a: T, b: T) => boolean): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  heap[0] = last;
  siftDown(heap, 0, isBefore);
}

function siftDown<T>(heap: T[], from: number, isBefore: (a: T, b: T) => boolean): void {
  const item = heap[from];
  if (item === undefined) return;
  let at = from;
  for (;;) {
    let next = 2 * at + 1;
    let child = heap[next];
    if (child === undefined) break;
    const right = heap[next + 1];
    if (right !== undefined && isBefore(right, child)) {
      next++;
      child = right;
    }
    if (!isBefore(child, item)) break;
    heap[at] = child;
    at = next;
  }
  heap[at] = item;
}
