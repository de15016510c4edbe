/**
 * All nodes as the scheduler sees them, with what their tasks take, and how often tasks of a service failed on them. Pure.
 *
 * Kept up change by change; the same tasks and nodes give the same set, in whatever order they came.
 */
import type { Node, Task } from "../../src/common/api/generated/api.ts";
import { hasRefusedPlatform } from "./explain.ts";
import { isCharged, isWanted, NodeInfo } from "./node-info.ts";

/** So many failures of one version of a service, within this time, put a node last for it. */
export const failuresMax = 5;
/** How long a failure counts, milliseconds. */
export const failureWindowMs = 5 * 60_000;
/** After so many failures those that no longer count are forgotten. */
const sweepEvery = 1_000;
const noTasks: ReadonlyMap<NodeInfo, number> = new Map();

/** What ranking compares of all nodes, by position: close together in memory, as every group looks at all of it. */
export interface Columns {
  /** Places of the nodes in the order of ids, for ties. */
  readonly ranks: Float64Array;
  /** Wanted tasks. */
  readonly tasks: Float64Array;
  /** Nano CPUs and bytes: reserved by tasks, and there at all. */
  readonly usedCpus: Float64Array;
  readonly totalCpus: Float64Array;
  readonly usedMemory: Float64Array;
  readonly totalMemory: Float64Array;
}

/** The nodes of the cluster. */
export class NodeSet {
  readonly #byId = new Map<string, NodeInfo>();
  readonly #list: NodeInfo[] = [];
  /** Undefined after a node came or went. */
  #columns: Columns | undefined;
  /** Undefined after a node came, went or changed. */
  #isUniform: boolean | undefined;
  /** Wanted tasks per service and node. */
  readonly #services = new Map<string, Map<NodeInfo, number>>();
  /** Per version of a service and node: when its latest tasks failed there, at most `failuresMax`. */
  readonly #failures = new Map<string, Map<string, number[]>>();
  #sinceSweep = 0;
  #version = 0;

  /** Changes with everything that changes in the set. */
  get version(): number {
    return this.#version;
  }

  /** Whether all nodes run the same images. */
  get isUniform(): boolean {
    const [first] = this.#list;
    this.#isUniform ??= this.#list.every(({ kindKey }) => kindKey === first?.kindKey);
    return this.#isUniform;
  }

  get size(): number {
    return this.#list.length;
  }

  get(id: string): NodeInfo | undefined {
    return this.#byId.get(id);
  }

  /** All nodes; their `position` is their place in it, until a node goes. */
  list(): readonly NodeInfo[] {
    return this.#list;
  }

  /** What ranking compares; kept up as long as no node comes or goes. */
  columns(): Columns {
    if (this.#columns !== undefined) return this.#columns;
    const column = () => new Float64Array(this.#list.length);
    const columns = {
      ranks: column(),
      tasks: column(),
      usedCpus: column(),
      totalCpus: column(),
      usedMemory: column(),
      totalMemory: column(),
    };
    this.#columns = columns;
    const sorted = this.#list.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    for (const [rank, info] of sorted.entries()) {
      columns.ranks[info.position] = rank;
      this.#note(info);
    }
    return columns;
  }

  /** A node is there, or has changed. */
  put(node: Node): NodeInfo {
    this.#version++;
    this.#isUniform = undefined;
    const known = this.#byId.get(node.id);
    if (known !== undefined) {
      known.update(node);
      this.#note(known);
      return known;
    }
    const info = new NodeInfo(node);
    info.position = this.#list.push(info) - 1;
    this.#byId.set(info.id, info);
    this.#columns = undefined;
    return info;
  }

  remove(id: string): void {
    const info = this.#byId.get(id);
    if (info === undefined) return;
    this.#version++;
    this.#isUniform = undefined;
    this.#byId.delete(id);
    const last = this.#list.pop();
    if (last !== undefined && last !== info) {
      this.#list[info.position] = last;
      last.position = info.position;
    }
    this.#columns = undefined;
    for (const counts of this.#services.values()) counts.delete(info);
    for (const nodes of this.#failures.values()) nodes.delete(id);
  }

  /** A task is on its node from now on. */
  charge(task: Task): void {
    const info = this.#byId.get(task.nodeId);
    if (info === undefined) return;
    info.charge(task);
    this.#countService(info, task, 1);
    this.#note(info);
  }

  /** A task that was charged is on its node no longer. */
  release(task: Task): void {
    const info = this.#byId.get(task.nodeId);
    if (info === undefined) return;
    info.release(task);
    this.#countService(info, task, -1);
    this.#note(info);
  }

  /**
   * A task became another version of itself, appeared or went.
   *
   * @param now Milliseconds since the epoch.
   * @param digest What is known of the image of a task that was refused for its platform; empty when nothing is.
   * @returns the node that has more room now, if one has.
   */
  taskChanged(
    change: { readonly old: Task | undefined; readonly next: Task | undefined },
    now: number,
    digest: (reference: string) => string,
  ): NodeInfo | undefined {
    const { old, next } = change;
    const was = old !== undefined && isCharged(old);
    const is = next !== undefined && isCharged(next);
    if (was && is && sameCharge(old, next)) return undefined;
    if (was) this.release(old);
    if (is) this.charge(next);
    if (next !== undefined && hasFailed(next) && !(old !== undefined && hasFailed(old))) {
      this.#failed(next, now);
      const reference = next.spec?.container?.image ?? "";
      if (hasRefusedPlatform(next)) this.get(next.nodeId)?.refuse(reference, digest(reference));
    }
    return was ? this.#byId.get(old.nodeId) : undefined;
  }

  /** Wanted tasks of a service by node. */
  tasksOf(serviceId: string): ReadonlyMap<NodeInfo, number> {
    return serviceId === "" ? noTasks : (this.#services.get(serviceId) ?? noTasks);
  }

  /** Nodes on which a version of a service failed too often lately. */
  failing(serviceId: string, specVersion: number | undefined, now: number): ReadonlySet<NodeInfo> {
    const failing = new Set<NodeInfo>();
    for (const [id, times] of this.#failures.get(versionKey(serviceId, specVersion)) ?? []) {
      const info = this.#byId.get(id);
      if (info !== undefined && recent(times, now).length >= failuresMax) failing.add(info);
    }
    return failing;
  }

  #note(info: NodeInfo): void {
    this.#version++;
    const columns = this.#columns;
    if (columns === undefined) return;
    const { position } = info;
    columns.tasks[position] = info.tasks;
    columns.usedCpus[position] = info.usedCpus;
    columns.totalCpus[position] = info.totalCpus;
    columns.usedMemory[position] = info.usedMemory;
    columns.totalMemory[position] = info.totalMemory;
  }

  #failed(task: Task, now: number): void {
    this.#version++;
    const at = Math.min(now, task.status?.timestampMs || now);
    if (task.serviceId === "" || at <= now - failureWindowMs) return;
    const key = versionKey(task.serviceId, task.specVersion);
    let nodes = this.#failures.get(key);
    if (nodes === undefined) {
      nodes = new Map();
      this.#failures.set(key, nodes);
    }
    const times = [...(nodes.get(task.nodeId) ?? []), at].sort((a, b) => a - b);
    nodes.set(task.nodeId, times.slice(-failuresMax));
    if (++this.#sinceSweep >= sweepEvery) this.#sweep(now);
  }

  #sweep(now: number): void {
    this.#sinceSweep = 0;
    for (const [key, nodes] of this.#failures) {
      for (const [id, times] of nodes) if (recent(times, now).length === 0) nodes.delete(id);
      if (nodes.size === 0) this.#failures.delete(key);
    }
  }

  #countService(info: NodeInfo, task: Task, sign: 1 | -1): void {
    if (task.serviceId === "" || !isWanted(task)) return;
    let counts = this.#services.get(task.serviceId);
    if (counts === undefined) {
      counts = new Map();
      this.#services.set(task.serviceId, counts);
    }
    const count = (counts.get(info) ?? 0) + sign;
    if (count > 0) counts.set(info, count);
    else counts.delete(info);
    if (counts.size === 0) this.#services.delete(task.serviceId);
  }
}

function hasFailed(task: Task): boolean {
  const state = task.status?.state;
  return task.nodeId !== "" && (state === "failed" || state === "rejected");
}

/** Whether two versions of a task take the same of the same node. */
function sameCharge(old: Task, next: Task): boolean {
  return (
    old.nodeId === next.nodeId &&
    old.spec === next.spec &&
    old.endpoint === next.endpoint &&
    old.assignedGeneric === next.assignedGeneric &&
    isWanted(old) === isWanted(next)
  );
}

function versionKey(serviceId: string, specVersion: number | undefined): string {
  return `${serviceId}/${specVersion ?? ""}`;
}

function recent(times: readonly number[], now: number): number[] {
  return times.filter((at) => at > now - failureWindowMs);
}
