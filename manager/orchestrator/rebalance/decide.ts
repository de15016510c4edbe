/**
 * Which tasks of a service are to move so that its nodes have as many of them as the scheduler would give them now. Pure.
 *
 * Nothing moves unless it leaves nodes more even: level by level of the spread preferences, then between nodes, by tasks of
 * the service, and where these differ by one, by tasks at all. Where a service reserves resources, the scheduler goes by
 * what nodes have left, so that a task only moves from a node with several to one with none. What is on nodes that get no
 * new tasks stays there.
 */
import type { Node, Service, Task } from "../../../src/common/api/generated/api.ts";
import { rebalanceMovesMax } from "../../../src/common/limits/orchestrator.ts";
import { labelReader } from "../../constraint/match.ts";

/** A service, and the nodes that may get its tasks. */
export interface RebalanceInput {
  readonly service: Service;
  readonly nodes: readonly Node[];
  /** Its tasks on any node, of the present spec, wanted and running. */
  readonly tasks: readonly Task[];
  /** Whether a task may move: it has nothing on its node that would stay behind. */
  readonly isMovable: (task: Task) => boolean;
  /** All wanted tasks on a node, of every service. */
  readonly totalOn: (nodeId: string) => number;
}

/** A task that is to move, and where there is room; the scheduler has the last word. */
export interface Move {
  readonly task: Task;
  readonly to: string;
}

/** A node while moves are thought through. */
interface Place {
  readonly node: Node;
  readonly tasks: Task[];
  total: number;
}

/** Moves in the order in which they are to be made. */
export function planMoves(input: RebalanceInput): Move[] {
  const { service, nodes, tasks, isMovable, totalOn } = input;
  const places = new Map<string, Place>();
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1)))
    places.set(node.id, { node, tasks: [], total: totalOn(node.id) });
  for (const task of [...tasks].sort((a, b) => a.slot - b.slot))
    places.get(task.nodeId)?.tasks.push(task);
  const { placement, resources } = service.spec?.task ?? {};
  const reserved = resources?.reservations;
  const rules: Rules = {
    reserves: (reserved?.nanoCpus ?? 0) > 0 || (reserved?.memoryBytes ?? 0) > 0,
    levels: (placement?.preferences ?? []).flatMap(
      ({ spreadOver }) => labelReader(spreadOver) ?? [],
    ),
    isMovable,
  };
  const moves: Move[] = [];
  while (moves.length < rebalanceMovesMax) {
    const next = nextMove([...places.values()], rules, 0);
    if (next === undefined) break;
    const { from, to, task } = next;
    from.tasks.splice(from.tasks.indexOf(task), 1);
    // It is not asked to move again, and counts where it goes.
    to.tasks.push({ ...task, nodeId: to.node.id, id: "" });
    from.total--;
    to.total++;
    moves.push({ task, to: to.node.id });
  }
  return moves;
}

interface Rules {
  readonly reserves: boolean;
  readonly levels: readonly ((node: Node) => string)[];
  readonly isMovable: (task: Task) => boolean;
}

interface Step {
  readonly from: Place;
  readonly to: Place;
  readonly task: Task;
}

function nextMove(places: readonly Place[], rules: Rules, level: number): Step | undefined {
  const read = rules.levels[level];
  if (read === undefined) return betweenNodes(places, rules);
  const byLabel = new Map<string, Place[]>();
  for (const place of places) {
    const label = read(place.node);
    byLabel.set(label, [...(byLabel.get(label) ?? []), place]);
  }
  const branches = [...byLabel.values()];
  const across = betweenBranches(branches, rules);
  if (across !== undefined) return across;
  for (const branch of branches) {
    const within = nextMove(branch, rules, level + 1);
    if (within !== undefined) return within;
  }
  return undefined;
}

function betweenBranches(branches: readonly Place[][], rules: Rules): Step | undefined {
  const size = (branch: readonly Place[]) =>
    branch.reduce((sum, { tasks }) => sum + tasks.length, 0);
  const bySize = [...branches].sort((a, b) => size(b) - size(a));
  const least = bySize[bySize.length - 1];
  if (least === undefined) return undefined;
  const [to] = [...least].sort(emptierFirst);
  for (const branch of bySize) {
    if (size(branch) - size(least) < 2 || to === undefined) return undefined;
    for (const from of [...branch].sort(emptierFirst).reverse()) {
      const task = movableOf(from, rules);
      if (task !== undefined) return { from, to, task };
    }
  }
  return undefined;
}

function betweenNodes(places: readonly Place[], rules: Rules): Step | undefined {
  const sorted = [...places].sort(emptierFirst);
  const [to] = sorted;
  if (to === undefined) return undefined;
  for (const from of sorted.reverse()) {
    const task = isMoreEven(from, to, rules.reserves) ? movableOf(from, rules) : undefined;
    if (task !== undefined) return { from, to, task };
  }
  return undefined;
}

function isMoreEven(from: Place, to: Place, reserves: boolean): boolean {
  const difference = from.tasks.length - to.tasks.length;
  if (reserves) return to.tasks.length === 0 && difference >= 2;
  return difference >= 2 || (difference === 1 && from.total - to.total >= 2);
}

function emptierFirst(a: Place, b: Place): number {
  return a.tasks.length - b.tasks.length || a.total - b.total || (a.node.id < b.node.id ? -1 : 1);
}

/** The one of the highest slot, as in scaling down. */
function movableOf({ tasks }: Place, { isMovable }: Rules): Task | undefined {
  return tasks.findLast((task) => task.id !== "" && isMovable(task));
}
