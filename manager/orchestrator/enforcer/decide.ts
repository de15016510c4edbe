/**
 * Which tasks do not belong on their node any more, since its labels, role, address or resources changed (docker-facts 1.6).
 * Pure.
 *
 * A task goes when its node meets neither the constraints of its service nor those it was made with: tasks that a change of
 * the service itself drives away are the update's, which takes them one by one. Where the node has less than its tasks
 * reserve, those go that came last.
 */
import type { Node, Resources, Service, Task } from "../../../src/common/api/generated/api.ts";
import { byAge, hasEnded, isWanted } from "../slot.ts";

/** One node and its tasks. */
export interface EnforcerInput {
  readonly node: Node;
  /** All tasks of services on the node. */
  readonly tasks: readonly Task[];
  readonly serviceOf: (task: Task) => Service | undefined;
  /** Whether the node meets constraints as they are written. */
  readonly meets: (constraints: readonly string[]) => boolean;
}

/** A task that has to go. */
export interface Misplaced {
  readonly task: Task;
  readonly why: string;
}

/** Docker's words for it. */
const constraintsText = "assigned node no longer meets constraints";

/** The tasks that have to go. */
export function findMisplaced({ node, tasks, serviceOf, meets }: EnforcerInput): Misplaced[] {
  const misplaced: Misplaced[] = [];
  const left = leftOf(node.description?.resources);
  for (const task of [...tasks].sort(byAge)) {
    if (!isWanted(task) || hasEnded(task)) continue;
    const isDriven = [serviceOf(task)?.spec?.task, task.spec].every(
      (spec) => !meets(spec?.placement?.constraints ?? []),
    );
    if (isDriven) misplaced.push({ task, why: constraintsText });
    else {
      const why = take(left, task);
      if (why !== undefined) misplaced.push({ task, why });
    }
  }
  return misplaced;
}

/** What a node has left for its next task. */
interface Left {
  nanoCpus: number;
  memoryBytes: number;
  readonly counted: Map<string, number>;
  /** Kinds with the names that are free. */
  readonly named: Map<string, Set<string>>;
}

/** Everything; more than can be asked for where the node does not say what it has. */
function leftOf(resources: Resources | undefined): Left {
  const left: Left = {
    nanoCpus: resources?.nanoCpus || Number.POSITIVE_INFINITY,
    memoryBytes: resources?.memoryBytes || Number.POSITIVE_INFINITY,
    counted: new Map(),
    named: new Map(),
  };
  for (const { kind, named, count } of resources?.generic ?? []) {
    if (named === "") left.counted.set(kind, (left.counted.get(kind) ?? 0) + count);
    else left.named.set(kind, (left.named.get(kind) ?? new Set()).add(named));
  }
  return left;
}

/** Takes what a task reserves; says what is missing otherwise, and takes nothing. */
function take(left: Left, { spec, assignedGeneric }: Task): string | undefined {
  const { nanoCpus = 0, memoryBytes = 0 } = spec?.resources?.reservations ?? {};
  if (nanoCpus > left.nanoCpus) return lacks("CPUs");
  if (memoryBytes > left.memoryBytes) return lacks("memory");
  for (const { kind, named, count } of assignedGeneric) {
    const has =
      named === "" ? (left.counted.get(kind) ?? 0) >= count : left.named.get(kind)?.has(named);
    if (!has) return lacks(kind);
  }
  left.nanoCpus -= nanoCpus;
  left.memoryBytes -= memoryBytes;
  for (const { kind, named, count } of assignedGeneric) {
    if (named === "") left.counted.set(kind, (left.counted.get(kind) ?? 0) - count);
    else left.named.get(kind)?.delete(named);
  }
  return undefined;
}

function lacks(what: string): string {
  return `assigned node no longer has enough ${what}`;
}
