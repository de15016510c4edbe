/**
 * Tasks over HTTP: list and inspect; nobody writes tasks from outside.
 */
import { type Task, TaskStateValues } from "../common/api/generated/api.ts";
import { isTaskDirty } from "../common/task/dirty.ts";
import { type EngineContext, readView } from "./context.ts";
import {
  type Filters,
  matchesLabels,
  matchesPrefix,
  parseFilters,
  valuesFor,
  wordsFor,
} from "./filters.ts";
import type { ObjectView } from "./ports.ts";
import { json, list, type Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import { taskName, taskToJson } from "./translate/task.ts";
import { runtimeOf } from "./translate/task-spec.ts";

/** `_up-to-date` is what the docker command's progress display asks: tasks made from the present spec. */
const accepted = [
  "name",
  "id",
  "label",
  "service",
  "node",
  "desired-state",
  "_up-to-date",
  "runtime",
];

/** Routes of tasks. */
export function taskRoutes(context: EngineContext): readonly Route[] {
  return [
    { method: "GET", pattern: "/tasks", handler: (request) => listTasks(context, request) },
    { method: "GET", pattern: "/tasks/{id}", handler: (request) => inspectTask(context, request) },
  ];
}

async function listTasks(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters = parseFilters(request.query.get("filters"), accepted);
  const states = wordsFor(filters, "desired-state", TaskStateValues);
  const view = await readView(context, request);
  const services = idsFor(filters, "service", (text) => view.lookup("service", text).id);
  const nodes = idsFor(filters, "node", (text) => view.lookup("node", text).id);
  const runtimes = valuesFor(filters, "runtime");
  const upToDate = valuesFor(filters, "_up-to-date").length > 0;
  const found = [...candidates(view, services, nodes)].filter(
    (task) =>
      (states.length === 0 || states.includes(task.desiredState)) &&
      (nodes === undefined || nodes.has(task.nodeId)) &&
      isOfRuntime(task, runtimes) &&
      isWanted(task, filters) &&
      (!upToDate || isUpToDate(view, task)),
  );
  return list(found, (task) => taskToJson(task, (id) => view.get("network", id)));
}

/** The smallest set the indexes give. */
function candidates(
  view: ObjectView,
  services: ReadonlySet<string> | undefined,
  nodes: ReadonlySet<string> | undefined,
): Iterable<Task> {
  if (services !== undefined) return concat(services, (id) => view.tasksOfService(id));
  if (nodes !== undefined) return concat(nodes, (id) => view.tasksOfNode(id));
  return view.list("task");
}

function* concat(ids: Iterable<string>, tasksOf: (id: string) => Iterable<Task>): Iterable<Task> {
  for (const id of ids) yield* tasksOf(id);
}

/** Ids for names, ids and prefixes; undefined when the key is not given. @throws ClusterError when one is unknown. */
function idsFor(
  filters: Filters,
  key: string,
  lookup: (text: string) => string,
): ReadonlySet<string> | undefined {
  const values = valuesFor(filters, key);
  return values.length === 0 ? undefined : new Set(values.map(lookup));
}

function isWanted(task: Task, filters: Filters): boolean {
  return (
    matchesPrefix(filters, "name", taskName(task)) &&
    matchesPrefix(filters, "id", task.id) &&
    matchesLabels(filters, "label", task.serviceAnnotations?.labels ?? {})
  );
}

/** Without a filter only container tasks are shown, as in Docker. */
function isOfRuntime(task: Task, runtimes: readonly string[]): boolean {
  const runtime = runtimeOf(task.spec);
  if (runtimes.length > 0) return runtimes.includes(runtime);
  return runtime === "container" || runtime === "";
}

function isUpToDate(view: ObjectView, task: Task): boolean {
  const service = view.get("service", task.serviceId);
  return service !== undefined && !isTaskDirty(service, task, view.get("node", task.nodeId));
}

async function inspectTask(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const view = await readView(context, request);
  const task = view.lookup("task", param(request, "id"));
  return json(taskToJson(task, (id) => view.get("network", id)));
}
