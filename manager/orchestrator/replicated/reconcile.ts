/**
 * Which slots of a replicated service have to be filled and which emptied (docker-facts 1.7). Pure.
 *
 * Up: the lowest free slots are filled. Down: slots whose tasks do not run go first, then those on the nodes that hold
 * most of the service, the highest first. Slots that had their last task, since the restart policy wants no other, count
 * as held.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import { isFinished } from "../restart/policy.ts";
import { hasEnded, isRunning, isWanted, replicasOf } from "../slot.ts";

/** What is to be done about the slots of a service. */
export interface SlotSteps {
  /** Empty slots that are to get a task, lowest first. */
  readonly fill: readonly number[];
  /** Slots all of whose tasks are to be removed. */
  readonly empty: readonly number[];
  /** Slots with a task that has ended and was not replaced: somebody has to look. */
  readonly repair: readonly number[];
}

/** One slot in short. */
export interface SlotSummary {
  readonly slot: number;
  /** Whether a task is wanted in it, or the last one has been. */
  readonly isHeld: boolean;
  readonly isRunning: boolean;
  /** Node of its running task, empty when there is none. */
  readonly nodeId: string;
  /** Whether there are tasks that have not been told to go yet. */
  readonly hasTasks: boolean;
  readonly needsRepair: boolean;
}

/** What a slot looks like. */
export function summaryOf(
  service: Service,
  slot: number,
  tasks: readonly Task[],
  options: { readonly now: number; readonly isGone: (task: Task) => boolean },
): SlotSummary {
  const wanted = tasks.filter(isWanted);
  const running = wanted.find((task) => isRunning(task) && !options.isGone(task));
  return {
    slot,
    isHeld: wanted.length > 0 || isFinished(service, tasks, options.now),
    isRunning: running !== undefined,
    nodeId: running?.nodeId ?? "",
    hasTasks: tasks.some((task) => task.desiredState !== "remove"),
    needsRepair: wanted.some((task) => hasEnded(task) || options.isGone(task)),
  };
}

/** Compares the slots with the wanted number. */
export function reconcile(service: Service, slots: readonly SlotSummary[]): SlotSteps {
  const replicas = replicasOf(service) ?? 0;
  const held = slots.filter(({ isHeld }) => isHeld);
  const surplus = held.length - replicas;
  const leaving = new Set(surplus > 0 ? chooseLeaving(held, surplus) : []);
  // Slots that nobody holds keep their history only where the next task may come.
  const idle = slots.filter(({ isHeld, hasTasks, slot }) => !isHeld && hasTasks && slot > replicas);
  return {
    fill: surplus < 0 ? lowestFree(held, -surplus) : [],
    empty: [...leaving, ...idle.map(({ slot }) => slot)].sort((a, b) => a - b),
    repair: slots
      .filter(({ slot, needsRepair }) => needsRepair && !leaving.has(slot))
      .map(({ slot }) => slot),
  };
}

function lowestFree(held: readonly SlotSummary[], count: number): number[] {
  const taken = new Set(held.map(({ slot }) => slot));
  const free: number[] = [];
  for (let slot = 1; free.length < count; slot++) if (!taken.has(slot)) free.push(slot);
  return free;
}

function chooseLeaving(held: readonly SlotSummary[], count: number): number[] {
  const idle = held.filter((slot) => !slot.isRunning).map(({ slot }) => slot);
  idle.sort((a, b) => b - a);
  if (idle.length >= count) return idle.slice(0, count);
  return [...idle, ...fromFullest(held, count - idle.length)];
}

/** Takes running slots one by one from the node that holds most of them at the time. */
function fromFullest(held: readonly SlotSummary[], count: number): number[] {
  const byNode = new Map<string, number[]>();
  for (const { isRunning: runs, nodeId, slot } of held) {
    if (runs) listAt(byNode, nodeId).push(slot);
  }
  /** Slots of every node, ascending, by how many there are. */
  const bySize = new Map<number, number[][]>();
  for (const slots of byNode.values()) {
    slots.sort((a, b) => a - b);
    listAt(bySize, slots.length).push(slots);
  }
  const chosen: number[] = [];
  for (let size = Math.max(...bySize.keys()); size > 0 && chosen.length < count; size--) {
    const fullest = listAt(bySize, size);
    fullest.sort((a, b) => (b[size - 1] ?? 0) - (a[size - 1] ?? 0));
    for (const slots of fullest) {
      if (chosen.length === count) break;
      chosen.push(slots.pop() ?? 0);
      listAt(bySize, size - 1).push(slots);
    }
  }
  return chosen;
}

function listAt<K, V>(lists: Map<K, V[]>, key: K): V[] {
  let list = lists.get(key);
  if (list === undefined) {
    list = [];
    lists.set(key, list);
  }
  return list;
}
