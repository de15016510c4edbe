/**
 * A plan in words, as `skep stack plan` prints it. Pure.
 */
import type { PlannedChange } from "../../stack/plan.ts";
import type { ManagersPlan, PlanNode, PlannedService, PlannedTask } from "./planned.ts";

/** Everything a deployment would do. */
export interface Plan {
  readonly stack: string;
  /** Stands for the state of the stack and the nodes; `deploy --plan` refuses when it is another by then. */
  readonly index: number;
  readonly changes: readonly PlannedChange[];
  /** What would be refused, or would keep tasks from starting. */
  readonly conflicts: readonly string[];
  /** Per task and node, as the managers say it. */
  readonly services: ManagersPlan["Services"];
  readonly images: ManagersPlan["Images"];
}

/** Tasks of a service that are told one by one; more are counted by node. */
const tasksToldMax = 20;
/** Nodes that are named in one line. */
const nodesNamedMax = 8;

const signs = { create: "+", update: "~", remove: "-", none: " " } as const;

/** What is printed. */
export function planText({ stack, index, changes, conflicts }: Plan): string {
  const changed = changes.filter(({ action }) => action !== "none");
  const lines = changed.flatMap(({ kind, name, action, differences, effects }) => [
    `${signs[action]} ${kind} ${name}`,
    ...differences.map(
      ({ path, before, after }) =>
        `    ${path}: ${before ?? "(nothing)"} -> ${after ?? "(nothing)"}`,
    ),
    ...effects.map((effect) => `    ${effect}`),
  ]);
  const summary =
    changed.length === 0
      ? `Stack ${stack}: no change`
      : `Stack ${stack}: ${changed.length} of ${changes.length} objects change`;
  const warnings = conflicts.map((conflict) => `! ${conflict}`);
  return `${[...lines, ...warnings, summary, `Plan ${index}`].join("\n")}\n`;
}

/** What happens to the tasks of a service, and what its nodes pull for it. */
export function effectsOf(plan: ManagersPlan, name: string): readonly string[] {
  const object = plan.Objects.find((one) => one.Kind === "service" && one.Name === name);
  const service = plan.Services.find((one) => one.Name === name);
  if (service === undefined) return object?.Action === "update" ? ["touches no task"] : [];
  return [...summaryLines(service), ...placeLines(service), ...refusalLines(service)].concat(
    pullLines(plan, service),
  );
}

function summaryLines({
  Tasks,
  MoreTasks,
  Kept,
  Removed,
  Order,
  Parallelism,
  Absence,
}: PlannedService): readonly string[] {
  const count = (action: PlannedTask["Action"]) =>
    Tasks.filter((task) => task.Action === action).length;
  const [starts, replaces, stops] = [count("start"), count("replace"), count("stop")];
  const pace = Parallelism === 0 ? "all at once" : `${Parallelism} at a time`;
  const { Running, Away, Lost } = Absence;
  return [
    ...(stops > 0 ? [`stops ${tasks(stops)}`] : []),
    ...(starts > 0 ? [`starts ${tasks(starts)}`] : []),
    ...(replaces > 0 ? [`replaces ${tasks(replaces)}, ${pace}, ${Order}`] : []),
    ...(MoreTasks > 0 ? [`${MoreTasks} more tasks follow, for which no node was looked for`] : []),
    ...(Kept > 0 ? [`leaves ${tasks(Kept)} alone`] : []),
    ...(!Removed && Away > 0 ? [absenceText(Away, Running)] : []),
    ...(Lost > 0 ? [`${tasks(Lost)} would not come back: no node would take them`] : []),
  ];
}

function absenceText(away: number, running: number): string {
  if (away >= running) return "the service is away meanwhile";
  return `up to ${away} of its ${running} running tasks ${away === 1 ? "is" : "are"} away meanwhile`;
}

function placeLines({ Tasks }: PlannedService): readonly string[] {
  const told = Tasks.filter(({ Action }) => Action !== "stop");
  if (told.length <= tasksToldMax) return Tasks.slice(0, 2 * tasksToldMax).map(placeLine);
  const counts = new Map<string, number>();
  for (const { To, Error: reason } of told) {
    const where = To === undefined ? `no node: ${reason}` : nodeName(To);
    counts.set(where, (counts.get(where) ?? 0) + 1);
  }
  return [...counts].map(([where, count]) => `${tasks(count)} on ${where}`);
}

function placeLine({ Action, Slot, TaskID, From, To, Error: reason }: PlannedTask): string {
  const place = Slot === undefined ? "" : `slot ${Slot}: `;
  const from = From === undefined ? "" : nodeName(From);
  if (Action === "stop") return `${place}stops on ${from || `no node (${TaskID ?? ""})`}`;
  const to = To === undefined ? "no node" : nodeName(To);
  const where = Action === "replace" && from !== to ? `${from || "no node"} -> ${to}` : to;
  return `${place}${where}${reason === undefined ? "" : `: ${reason}`}`;
}

function refusalLines({ Refusals, Refusing }: PlannedService): readonly string[] {
  const byReason = new Map<string, string[]>();
  for (const { Node, Reason } of Refusals) {
    const nodes = byReason.get(Reason) ?? [];
    nodes.push(nodeName(Node));
    byReason.set(Reason, nodes);
  }
  const lines = [...byReason].map(([reason, nodes]) => {
    const more = nodes.length > nodesNamedMax ? ` and ${nodes.length - nodesNamedMax} more` : "";
    return `not on ${nodes.sort().slice(0, nodesNamedMax).join(", ")}${more}: ${reason}`;
  });
  const rest = Refusing - Refusals.length;
  return rest > 0 ? [...lines, `not on ${rest} more nodes`] : lines;
}

function pullLines(plan: ManagersPlan, { Tasks, Image: own }: PlannedService): readonly string[] {
  const nodes = new Set(Tasks.map(({ To }) => To?.ID));
  const needed = plan.Images.filter(({ Image, Node }) => Image === own && nodes.has(Node.ID));
  return needed.flatMap(({ Node, PullBytes = 0, TotalBytes = 0 }) =>
    PullBytes === 0
      ? []
      : [`pulls ${sizeText(PullBytes)} of ${sizeText(TotalBytes)} on ${nodeName(Node)}`],
  );
}

/** What stands in the way, apart from refusals. */
export function warningsOf(plan: ManagersPlan): readonly string[] {
  return [
    ...plan.Objects.flatMap(({ Kind, Name, Waits }) =>
      Waits === undefined ? [] : [`${Kind} ${Name} would wait: ${Waits}`],
    ),
    ...plan.MissingPaths.map(
      ({ Node, Service, Path }) =>
        `service ${Service} needs ${Path}, which is not there on ${nodeName(Node)}`,
    ),
    ...plan.SilentNodes.map(
      ({ Node, Reason }) => `node ${nodeName(Node)} did not say what it has: ${Reason}`,
    ),
    ...[...new Set(plan.Images.flatMap(({ Image, Unknown }) => unknownText(Image, Unknown)))],
    ...(plan.NodesNotAsked > 0
      ? [`${plan.NodesNotAsked} nodes were not asked what they have`]
      : []),
  ];
}

function unknownText(image: string, reason: string | undefined): readonly string[] {
  return reason === undefined
    ? []
    : [`what of image ${image} is to be pulled is not known: ${reason}`];
}

function nodeName({ ID, Hostname }: PlanNode): string {
  return Hostname === "" ? ID : Hostname;
}

function tasks(count: number): string {
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
