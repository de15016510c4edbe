/**
 * The nodes of a plan in words: which tasks go where, which find none and why, and what is pulled. Pure.
 */
import type { ManagersPlan, PlanNode, PlannedService, PlannedTask } from "./planned.ts";

/** Tasks of a service that are told one by one; more are counted by node. */
const tasksToldMax = 20;
/** Nodes, or slots, that are named in one line. */
const namedMax = 8;

/** Which tasks stop, and where new ones go. */
export function placeLines({ Tasks }: PlannedService): readonly string[] {
  const told = Tasks.filter((task) => task.Action === "stop" || task.To !== undefined);
  if (told.length <= tasksToldMax) return told.toSorted(inOrder).map(placeLine);
  const counts = new Map<string, number>();
  for (const { Action, From, To } of told) {
    const node = Action === "stop" ? From : To;
    const where = node === undefined ? "no node" : nodeName(node);
    const what = Action === "stop" ? `stopped on ${where}` : `on ${where}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].map(([what, count]) => `${tasksText(count)} ${what}`);
}

function inOrder(one: PlannedTask, other: PlannedTask): number {
  return (one.Slot ?? 0) - (other.Slot ?? 0);
}

function placeLine({ Action, Slot, From, To, Error: reason }: PlannedTask): string {
  const place = Slot === undefined ? "" : `slot ${Slot}: `;
  const from = From === undefined ? "" : nodeName(From);
  if (Action === "stop")
    return from === "" ? `${place}stops before it had a node` : `${place}stops on ${from}`;
  const to = To === undefined ? "" : nodeName(To);
  const moved = from === "" ? to : `${from} -> ${to}`;
  const where = from === to ? `again on ${to}` : moved;
  return `${place}${where}${reason === undefined ? "" : `: ${reason}`}`;
}

/** The tasks that find no node, by the reason. */
export function waitLines({ Tasks }: PlannedService): readonly string[] {
  const waiting = Tasks.filter(({ Action, To }) => Action !== "stop" && To === undefined);
  const nameOf = ({ Slot, From, Node }: PlannedTask) => {
    if (Slot === undefined) return Node === undefined ? "a node" : nodeName(Node);
    return `slot ${Slot}${From === undefined ? "" : ` (now on ${nodeName(From)})`}`;
  };
  const byReason = new Map<string, string[]>();
  for (const task of waiting.toSorted(inOrder)) {
    const what = task.Slot === undefined ? "not yet on" : "no node for";
    const key = JSON.stringify([what, withoutOpening(task.Error ?? "")]);
    byReason.set(key, [...(byReason.get(key) ?? []), nameOf(task)]);
  }
  return [...byReason].map(([key, names]) => {
    const [what = "", reason = ""] = JSON.parse(key) as readonly string[];
    const isOne = what === "not yet on";
    return `${what} ${someOf(names)}: ${isOne ? ofOneNode(reason) : reason}`;
  });
}

/** The nodes that would take no task, by the reason; those of a global service that wait are told already. */
export function refusalLines({ Refusals, Refusing, Tasks }: PlannedService): readonly string[] {
  const told = new Set(
    Tasks.flatMap(({ Node, To, Error: reason = "" }) =>
      Node === undefined || To !== undefined ? [] : `${Node.ID} ${reason}`,
    ),
  );
  const byReason = new Map<string, string[]>();
  for (const { Node, Reason } of Refusals) {
    if (told.has(`${Node.ID} ${Reason}`)) continue;
    const name = nodeName(Node);
    const reason = ofOneNode(Reason).replace(`, ${name} runs `, `, ${pronoun} `);
    byReason.set(reason, [...(byReason.get(reason) ?? []), name]);
  }
  const lines = [...byReason].map(([reason, nodes]) => {
    const runs = nodes.length === 1 ? "it runs" : "they run";
    return `not on ${nodesText(nodes)}: ${reason.replace(pronoun, runs)}`;
  });
  const rest = Refusing - Refusals.length;
  return rest > 0 ? [...lines, `not on ${rest} more nodes`] : lines;
}

/** Stands for the name of a node, until it is known how many there are. */
const pronoun = "\0";

/** What nodes pull, each image told once: with the first service that needs it there. */
export function pullLines(plan: ManagersPlan, service: PlannedService): readonly string[] {
  const nodesOf = ({ Tasks }: PlannedService) => new Set(Tasks.map(({ To }) => To?.ID));
  const before = new Set<string | undefined>();
  for (const one of plan.Services) {
    if (one === service) break;
    if (one.Image === service.Image) for (const id of nodesOf(one)) before.add(id);
  }
  const nodes = nodesOf(service);
  const bySize = new Map<string, string[]>();
  for (const { Image, Node, PullBytes = 0, TotalBytes = 0 } of plan.Images) {
    if (Image !== service.Image || !nodes.has(Node.ID) || before.has(Node.ID)) continue;
    if (PullBytes === 0) continue;
    const size = `pulls ${sizeText(PullBytes)} of ${sizeText(TotalBytes)}`;
    bySize.set(size, [...(bySize.get(size) ?? []), nodeName(Node)]);
  }
  return [...bySize].map(
    ([size, names]) => `${size} on ${names.length > 1 ? "each of " : ""}${nodesText(names)}`,
  );
}

/** The scheduler's words on a single node, which is named beside them. */
export function ofOneNode(reason: string): string {
  return withoutOpening(reason)
    .replace(/^1 node not /, "not ")
    .replace(" on 1 node", "");
}

/** How the scheduler's words begin, which is said already. */
function withoutOpening(reason: string): string {
  return reason.replace(/^no suitable node \((.*)\)$/s, "$1");
}

/** What people call a node. */
export function nodeName({ ID, Hostname }: PlanNode): string {
  return Hostname === "" ? ID : Hostname;
}

/** Names of nodes, as many as are read. */
export function nodesText(names: readonly string[]): string {
  return someOf(names.toSorted());
}

function someOf(names: readonly string[]): string {
  const more = names.length > namedMax ? ` and ${names.length - namedMax} more` : "";
  return `${names.slice(0, namedMax).join(", ")}${more}`;
}

/** `1 task`, `2 tasks`. */
export function tasksText(count: number): string {
  return count === 1 ? "1 task" : `${count} tasks`;
}

/** With the units of `docker images`. */
function sizeText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let at = 0;
  for (; size >= 1000 && at < units.length - 1; at++) size /= 1000;
  return `${at === 0 ? size : size.toPrecision(3)}${units[at] ?? ""}`;
}
