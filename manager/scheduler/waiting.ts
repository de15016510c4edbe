/**
 * The tasks that wait for a node, in groups of tasks that any node suits alike, and which groups are due. Pure.
 *
 * Tasks are alike when service, version, spec and endpoint are the same; specs and endpoints are kept once by the store, so
 * that equal ones are one object. A group whose tasks fit nowhere rests until something happens that may change that.
 */
import type { Task } from "../../src/common/api/generated/api.ts";
import { localVolumesOf } from "../../src/common/spec/local-volumes.ts";
import type { NodeInfo } from "./node-info.ts";

/** Tasks that wait and are alike. */
export interface WaitingGroup {
  readonly key: string;
  readonly serviceId: string;
  /** Whether each of the tasks is for a node of its own already. */
  readonly isFixed: boolean;
  readonly tasks: Map<string, Task>;
  /** When the group came up, milliseconds of the monotonic clock. */
  readonly since: number;
  /** When its tasks were last told why they wait; 0 when never. */
  explainedAt: number;
}

/** All waiting tasks. */
export class Waiting {
  readonly #groups = new Map<string, WaitingGroup>();
  readonly #byTask = new Map<string, WaitingGroup>();
  readonly #byService = new Map<string, Set<WaitingGroup>>();
  /** Groups to be looked at, the longest due first. */
  readonly #due = new Set<WaitingGroup>();
  readonly #numbers = new WeakMap<object, number>();
  #next = 1;

  get size(): number {
    return this.#byTask.size;
  }

  /** Whether some group rests because it fitted nowhere. */
  hasResting(): boolean {
    return this.#groups.size > this.#due.size;
  }

  /** A task waits, or does so still; its group is due if it is new to it. @returns whether it is new. */
  put(task: Task, now: number): boolean {
    const key = this.#keyOf(task);
    const known = this.#byTask.get(task.id);
    if (known?.key === key) {
      known.tasks.set(task.id, task);
      return false;
    }
    this.remove(task.id);
    const group = this.#groups.get(key) ?? this.#newGroup(key, task, now);
    group.tasks.set(task.id, task);
    this.#byTask.set(task.id, group);
    this.#due.add(group);
    return true;
  }

  /** A task waits no more. */
  remove(id: string): void {
    const group = this.#byTask.get(id);
    if (group === undefined) return;
    this.#byTask.delete(id);
    group.tasks.delete(id);
    if (group.tasks.size > 0) return;
    this.#groups.delete(group.key);
    this.#due.delete(group);
    const groups = this.#byService.get(group.serviceId);
    groups?.delete(group);
    if (groups?.size === 0) this.#byService.delete(group.serviceId);
  }

  /** The group to be looked at next; it rests from now on, unless it is said to be due again. */
  takeDue(): WaitingGroup | undefined {
    for (const group of this.#due) {
      this.#due.delete(group);
      return group;
    }
    return undefined;
  }

  hasDue(): boolean {
    return this.#due.size > 0;
  }

  /** A group is to be looked at again, after those that are due already. */
  again(group: WaitingGroup): void {
    if (this.#groups.get(group.key) === group) this.#due.add(group);
  }

  /** All groups are to be looked at. */
  allDue(): void {
    for (const group of this.#groups.values()) this.#due.add(group);
  }

  /** The groups of a service are to be looked at. */
  serviceDue(serviceId: string): void {
    for (const group of this.#byService.get(serviceId) ?? []) this.#due.add(group);
  }

  /** The groups that rest; they may be said to be due meanwhile. */
  *resting(): Generator<WaitingGroup, undefined> {
    for (const group of this.#groups.values()) if (!this.#due.has(group)) yield group;
    return undefined;
  }

  #newGroup(key: string, task: Task, now: number): WaitingGroup {
    const group: WaitingGroup = {
      key,
      serviceId: task.serviceId,
      isFixed: task.nodeId !== "",
      tasks: new Map(),
      since: now,
      explainedAt: 0,
    };
    this.#groups.set(key, group);
    let groups = this.#byService.get(task.serviceId);
    if (groups === undefined) {
      groups = new Set();
      this.#byService.set(task.serviceId, groups);
    }
    groups.add(group);
    return group;
  }

  #keyOf(task: Task): string {
    const fixed = task.nodeId === "" ? "" : " fixed";
    const version = task.specVersion ?? "";
    const same = `${this.#number(task.spec)} ${this.#number(task.endpoint)}`;
    // Where its local volumes are depends on the place.
    const place = localVolumesOf(task.spec).length > 0 ? ` ${task.slot}` : "";
    return `${task.serviceId} ${version} ${same}${fixed}${place}`;
  }

  #number(value: object | undefined): number {
    if (value === undefined) return 0;
    let number = this.#numbers.get(value);
    if (number === undefined) {
      number = this.#next++;
      this.#numbers.set(value, number);
    }
    return number;
  }
}

/** Of these nodes, those that tasks of the group are for. */
export function ownNodes(group: WaitingGroup, nodes: ReadonlySet<NodeInfo>): NodeInfo[] {
  const own = new Set<string>();
  for (const task of group.tasks.values()) own.add(task.nodeId);
  return [...nodes].filter((info) => own.has(info.id));
}
