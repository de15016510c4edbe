/**
 * A plan in words, as `skep stack plan` prints it. Pure.
 */
import type { Difference, PlannedChange } from "../../stack/plan.ts";
import {
  nodeName,
  nodesText,
  ofOneNode,
  placeLines,
  pullLines,
  refusalLines,
  tasksText,
  waitLines,
} from "./plan-nodes.ts";
import type { ManagersPlan, PlannedConflict, PlannedService, PlannedTask } from "./planned.ts";

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

const signs = { create: "+", update: "~", remove: "-", none: " " } as const;

/** What is printed. */
export function planText({ stack, index, changes, conflicts }: Plan): string {
  const changed = changes.filter(({ action }) => action !== "none");
  const lines = changed.flatMap(({ kind, name, action, differences, effects }) => [
    `${signs[action]} ${kind} ${name}`,
    ...toldOf(differences).map(
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

/** What the client makes of the image goes without saying beside it. */
function toldOf(differences: readonly Difference[]): readonly Difference[] {
  const ofImage = ["Labels.com.docker.stack.image", "TaskTemplate.Placement.Platforms"];
  const hasImage = differences.some(({ path }) => path === "TaskTemplate.ContainerSpec.Image");
  return hasImage ? differences.filter(({ path }) => !ofImage.includes(path)) : differences;
}

/** What happens to the tasks of a service, and what its nodes pull for it. */
export function effectsOf(plan: ManagersPlan, name: string): readonly string[] {
  const object = plan.Objects.find((one) => one.Kind === "service" && one.Name === name);
  const service = plan.Services.find((one) => one.Name === name);
  if (service === undefined) return object?.Action === "update" ? ["touches no task"] : [];
  return [
    ...[...summaryLines(service), ...placeLines(service), ...waitLines(service)],
    ...[...refusalLines(service), ...pullLines(plan, service)],
  ];
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
    ...(stops > 0 ? [`stops ${tasksText(stops)}`] : []),
    ...(starts > 0 ? [`starts ${tasksText(starts)}`] : []),
    ...(replaces > 0 ? [`replaces ${tasksText(replaces)}, ${pace}, ${Order}`] : []),
    ...(MoreTasks > 0 ? [`${MoreTasks} more tasks follow, for which no node was looked for`] : []),
    ...(Kept > 0 ? [`leaves ${tasksText(Kept)} alone`] : []),
    ...(!Removed && Away > 0 ? [absenceText(Away, Running)] : []),
    ...(Lost > 0
      ? [`${tasksText(Lost)} would not come back: no node would take ${Lost === 1 ? "it" : "them"}`]
      : []),
  ];
}

function absenceText(away: number, running: number): string {
  if (away >= running) return "the service is away meanwhile";
  return `up to ${away} of its ${running} running tasks ${away === 1 ? "is" : "are"} away meanwhile`;
}

/** A port or a volume in the way: where it is, whose it is, and what comes of it. */
function conflictText(
  service: string,
  { Kind, Name, Nodes, Services, Effect, To, Reason = "" }: PlannedConflict,
): string {
  const others = Services.map((name) => (name === service ? "its own tasks" : `service ${name}`));
  const whose = others.length === 0 ? "" : ` (${others.join(", ")})`;
  const where = `${nodesText(Nodes.map(nodeName))}${whose}`;
  const to = To === undefined ? "" : nodeName(To);
  const what = `service ${service}: ${Kind === "port" ? "host port" : "volume"} ${Name}`;
  if (Kind === "port") return `${what} is taken on ${where}${Reason === "" ? "" : `: ${Reason}`}`;
  if (Effect === "empty") return `${what} starts empty on ${to}; what it has by now is on ${where}`;
  if (Effect === "rejected") return `${what} would be refused on ${where}: ${Reason}`;
  return `${what} is on ${where}, where the task cannot go: ${ofOneNode(Reason)}`;
}

/** What stands in the way, apart from refusals. */
export function warningsOf(plan: ManagersPlan): readonly string[] {
  return [
    ...plan.Objects.flatMap(({ Kind, Name, Waits }) =>
      Waits === undefined ? [] : [`${Kind} ${Name} would wait: ${Waits}`],
    ),
    ...plan.Services.flatMap(({ Name, Conflicts }) =>
      Conflicts.map((conflict) => conflictText(Name, conflict)),
    ),
    ...plan.MissingPaths.map(
      ({ Node, Service, Path }) =>
        `service ${Service} needs ${Path}, which is not there on ${nodeName(Node)}`,
    ),
    ...plan.SilentNodes.map(
      ({ Node, Reason }) => `node ${nodeName(Node)} did not say what it has: ${Reason}`,
    ),
    ...imageLines(plan),
    ...(plan.NodesNotAsked > 0
      ? [`${plan.NodesNotAsked} nodes were not asked what they have`]
      : []),
  ];
}

/** What registries did not tell, each reason once. */
function imageLines({ Unresolved, Images }: ManagersPlan): readonly string[] {
  const unresolved = new Set(Unresolved.map(({ Image }) => Image));
  const others = Images.filter(({ Image }) => !unresolved.has(Image));
  const unknown = others.flatMap(({ Image, Unknown: Reason }) =>
    Reason === undefined ? [] : [{ Image, Reason }],
  );
  return [
    ...byReason(Unresolved).map(([reason, images]) => {
      const [noun, verb, whose] =
        images.length === 1 ? ["image", "was", "its"] : ["images", "were", "their"];
      return `${noun} ${images.join(", ")} ${verb} not resolved, so that ${whose} platforms and what is to be pulled are not known: ${reason}`;
    }),
    ...byReason(unknown).map(([reason, images]) => {
      const noun = images.length === 1 ? "image" : "images";
      return `what of ${noun} ${images.join(", ")} is to be pulled is not known: ${reason}`;
    }),
  ];
}

function byReason(
  list: readonly { readonly Image: string; readonly Reason: string }[],
): readonly (readonly [string, readonly string[]])[] {
  const images = new Map<string, Set<string>>();
  for (const { Image, Reason } of list) {
    const known = images.get(Reason) ?? new Set();
    images.set(Reason, known.add(Image));
  }
  return [...images].map(([reason, names]) => [reason, [...names]]);
}
