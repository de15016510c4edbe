/**
 * Services over HTTP: list, create, inspect, update, roll back, remove.
 */
import {
  ControlService,
  type Node,
  type Service,
  type ServiceSpec,
  type Task,
} from "../common/api/generated/api.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { withServiceDefaults } from "../common/spec/service-defaults.ts";
import { type EngineContext, readView, write } from "./context.ts";
import {
  type Filters,
  matchesExactly,
  matchesLabels,
  matchesPrefix,
  parseFilters,
  valuesFor,
} from "./filters.ts";
import { randomName } from "./names.ts";
import { resolveNetworks } from "./network-targets.ts";
import { empty, json, list, type Reply } from "./reply.ts";
import { type EngineRequest, param, strictFlag, versionOf } from "./request.ts";
import type { Route } from "./router.ts";
import {
  modeName,
  type ServiceStatus,
  serviceSpecFromJson,
  serviceToJson,
} from "./translate/service.ts";
import { runtimeOf } from "./translate/task-spec.ts";
import { olderThan } from "./versions.ts";

const accepted = ["name", "id", "label", "mode", "runtime"];

/** Routes of services. */
export function serviceRoutes(context: EngineContext): readonly Route[] {
  const on = (handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>) => {
    return (request: EngineRequest) => handler(context, request);
  };
  return [
    { method: "GET", pattern: "/services", handler: on(listServices) },
    { method: "POST", pattern: "/services/create", handler: on(createService) },
    { method: "GET", pattern: "/services/{id}", handler: on(inspectService) },
    { method: "DELETE", pattern: "/services/{id}", handler: on(removeService) },
    { method: "POST", pattern: "/services/{id}/update", handler: on(updateService) },
  ];
}

async function listServices(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const filters = parseFilters(request.query.get("filters"), accepted);
  const withStatus = !olderThan(request.version, "1.41") && strictFlag(request, "status");
  const view = await readView(context, request);
  const found = [...view.list("service")].filter((service) => isWanted(service, filters));
  return list(found, (service) =>
    serviceToJson(
      service,
      withStatus
        ? statusOf(service, view.tasksOfService(service.id), (id) => isLost(view.get("node", id)))
        : undefined,
    ),
  );
}

function isWanted(service: Service, filters: Filters): boolean {
  const { spec } = service;
  const runtimes = valuesFor(filters, "runtime");
  return (
    matchesPrefix(filters, "name", spec?.annotations?.name ?? "") &&
    matchesPrefix(filters, "id", service.id) &&
    matchesLabels(filters, "label", spec?.annotations?.labels ?? {}) &&
    matchesExactly(filters, "mode", modeName(spec?.mode)) &&
    (runtimes.length === 0 ? ["container"] : runtimes).includes(runtimeOf(spec?.task))
  );
}

/** A node whose tasks are only said to run: nobody has heard of it. */
function isLost(node: Node | undefined): boolean {
  return node === undefined || node.status?.state === "down";
}

/**
 * Counts as Docker's manager does: jobs by their present iteration, global services by the tasks made for them. Pure.
 *
 * What last ran on a node that is lost does not count as running: it has been replaced elsewhere.
 */
export function statusOf(
  service: Service,
  tasks: Iterable<Task>,
  isOnLostNode: (nodeId: string) => boolean = () => false,
): ServiceStatus {
  const mode = service.spec?.mode;
  const wanted = mode?.replicated?.replicas ?? mode?.replicatedJob?.maxConcurrent;
  const iteration = service.jobStatus?.jobIteration;
  let desired = wanted ?? 0;
  let running = 0;
  let completed = 0;
  for (const task of tasks) {
    const state = task.status?.state ?? "new";
    if (iteration !== undefined) {
      if (task.jobIteration !== iteration) continue;
      if (state === "complete") completed++;
    }
    if (state === "running" && !isOnLostNode(task.nodeId)) running++;
    if (wanted !== undefined) continue;
    if (task.desiredState === "running") desired++;
    if (task.desiredState === "complete" && state !== "complete") desired++;
  }
  return { running, desired, completed };
}

async function createService(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const parsed = serviceSpecFromJson(await request.body());
  const view = await readView(context, request);
  const spec = resolveNetworks(context, view, named(context, parsed));
  const created = await write(context, request, ControlService.createService, {
    spec,
    id: "",
    registryAuth: request.header("x-registry-auth"),
  });
  return json({ ID: created.id, Warnings: warnings(created.warnings) }, 201);
}

/** A service without a name gets one of two words, as containers do. */
function named(context: EngineContext, spec: ServiceSpec): ServiceSpec {
  const { annotations } = spec;
  if (annotations === undefined || annotations.name !== "") return spec;
  return { ...spec, annotations: { ...annotations, name: randomName(context.random) } };
}

async function inspectService(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const insertDefaults = strictFlag(request, "insertDefaults");
  const view = await readView(context, request);
  const service = view.lookup("service", param(request, "id"));
  if (!insertDefaults || service.spec === undefined) return json(serviceToJson(service));
  return json(serviceToJson({ ...service, spec: withServiceDefaults(service.spec) }));
}

async function updateService(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const version = versionOf(request, "service");
  const parsed = serviceSpecFromJson(await request.body());
  const view = await readView(context, request);
  const spec = resolveNetworks(context, view, parsed);
  const { id } = view.lookup("service", param(request, "id"));
  const changed = await write(context, request, ControlService.updateService, {
    id,
    version,
    spec,
    rollback: rollbackFrom(request),
    rollbackTo: revisionFrom(request),
    rebalance: false,
    registryAuthFrom: authSourceFrom(request),
    registryAuth: request.header("x-registry-auth"),
  });
  return json({ Warnings: warnings(changed.warnings) });
}

function rollbackFrom(request: EngineRequest): "none" | "previous" {
  const text = request.query.get("rollback") ?? "";
  if (text === "" || text === "none") return "none";
  if (text === "previous") return "previous";
  throw new ClusterError("invalid-argument", `unrecognized rollback option ${text}`);
}

/** An extension: the number of the revision to go back to. */
function revisionFrom(request: EngineRequest): number {
  const text = request.query.get("rollbackTo") ?? "";
  if (text === "") return 0;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new ClusterError(
    "invalid-argument",
    `invalid rollbackTo '${text}': give the number of a revision`,
  );
}

function authSourceFrom(request: EngineRequest): string {
  const text = request.query.get("registryAuthFrom") ?? "";
  if (text === "") return "spec";
  if (text === "spec" || text === "previous-spec") return text;
  throw new ClusterError("invalid-argument", `invalid registryAuthFrom '${text}'`);
}

async function removeService(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const view = await readView(context, request);
  const { id } = view.lookup("service", param(request, "id"));
  await write(context, request, ControlService.removeService, { id, force: false });
  return empty();
}

/** Docker sends null for none. */
function warnings(list: readonly string[]): readonly string[] | null {
  return list.length === 0 ? null : list;
}
