/**
 * Services: the Engine API's `ServiceSpec` and `Service` ↔ the schema's. Pure.
 *
 * `ServiceStatus` (running and desired tasks) is counted by `engine/services.ts` and handed in.
 */
import {
  type Endpoint,
  EndpointModeValues,
  EndpointSpec,
  GlobalJobMode,
  GlobalMode,
  type JobFiring,
  PortConfig,
  PortProtocolValues,
  PublishModeValues,
  ReplicatedJobMode,
  ReplicatedMode,
  type Service,
  ServiceMode,
  ServiceSpec,
  UpdateConfig,
  UpdateFailureActionValues,
  UpdateOrderValues,
  type UpdateState,
  type UpdateStatus,
} from "../../common/api/generated/api.ts";
import {
  annotationsFromJson,
  annotationsToJson,
  type Json,
  listOrNothing,
  metaToJson,
  numberOrNothing,
  textOrNothing,
  timeToJson,
  wordFromJson,
} from "./common.ts";
import type { JsonObject } from "./reader.ts";
import { taskSpecFromJson, taskSpecToJson } from "./task-spec.ts";

/** How many tasks of a service run and should run. */
export interface ServiceStatus {
  readonly running: number;
  readonly desired: number;
  readonly completed: number;
}

/** @throws ClusterError `invalid-argument` naming the field. */
export function serviceSpecFromJson(json: JsonObject): ServiceSpec {
  return ServiceSpec.create({
    annotations: annotationsFromJson(json),
    task: taskSpecFromJson(json.objectOrEmpty("TaskTemplate"), json.objects("Networks")),
    mode: modeFromJson(json.objectOrEmpty("Mode")),
    update: updateFromJson(json.object("UpdateConfig")),
    rollback: updateFromJson(json.object("RollbackConfig")),
    endpoint: endpointSpecFromJson(json.object("EndpointSpec")),
  });
}

/** A service as the API shows it. */
export function serviceToJson(service: Service, status?: ServiceStatus): Json {
  const { previousSpec, jobStatus } = service;
  return {
    ID: service.id,
    ...metaToJson(service.meta),
    Spec: serviceSpecToJson(service.spec),
    PreviousSpec: previousSpec && serviceSpecToJson(previousSpec),
    Endpoint: endpointToJson(service.endpoint),
    UpdateStatus: updateStatusToJson(service.updateStatus),
    ServiceStatus: status && {
      RunningTasks: status.running,
      DesiredTasks: status.desired,
      CompletedTasks: status.completed,
    },
    JobStatus: jobStatus && {
      JobIteration: { Index: numberOrNothing(jobStatus.jobIteration) },
      LastExecution: timeToJson(jobStatus.lastExecutionMs),
      Firings: listOrNothing(jobStatus.firings.map(firingToJson)),
    },
  };
}

/** A run of a job on a schedule; an extension of ours. */
function firingToJson(firing: JobFiring): Json {
  const { nominalMs, startedAtMs, endedAtMs, outcome, jobIteration } = firing;
  return {
    DueAt: nominalMs === 0 ? undefined : timeToJson(nominalMs),
    StartedAt: timeToJson(startedAtMs),
    EndedAt: endedAtMs === 0 ? undefined : timeToJson(endedAtMs),
    JobIteration: { Index: numberOrNothing(jobIteration) },
    Outcome: outcome,
  };
}

/** A service spec as the API shows it. */
export function serviceSpecToJson(spec: ServiceSpec | undefined): Json {
  return {
    ...annotationsToJson(spec?.annotations),
    TaskTemplate: taskSpecToJson(spec?.task, true),
    Mode: modeToJson(spec?.mode),
    UpdateConfig: updateToJson(spec?.update),
    RollbackConfig: updateToJson(spec?.rollback),
    EndpointSpec: spec?.endpoint && endpointSpecToJson(spec.endpoint),
  };
}

/** `replicated`, `global`, `replicated-job` or `global-job`. */
export function modeName(mode: ServiceMode | undefined): string {
  if (mode?.global !== undefined) return "global";
  if (mode?.replicatedJob !== undefined) return "replicated-job";
  if (mode?.globalJob !== undefined) return "global-job";
  return "replicated";
}

function modeFromJson(json: JsonObject): ServiceMode {
  const names = ["Replicated", "Global", "ReplicatedJob", "GlobalJob"].filter((n) => json.has(n));
  if (names.length > 1) throw json.invalid("must specify only one service mode");
  switch (names[0]) {
    case "Global":
      return ServiceMode.create({ global: GlobalMode.create() });
    case "GlobalJob":
      return ServiceMode.create({ globalJob: GlobalJobMode.create() });
    case "ReplicatedJob": {
      const job = json.objectOrEmpty("ReplicatedJob");
      const maxConcurrent = job.optionalNatural("MaxConcurrent") ?? 1;
      const totalCompletions = job.optionalNatural("TotalCompletions") ?? maxConcurrent;
      return ServiceMode.create({
        replicatedJob: ReplicatedJobMode.create({ maxConcurrent, totalCompletions }),
      });
    }
    default: {
      const replicas = json.objectOrEmpty("Replicated").optionalNatural("Replicas") ?? 1;
      return ServiceMode.create({ replicated: ReplicatedMode.create({ replicas }) });
    }
  }
}

function modeToJson(mode: ServiceMode | undefined): Json {
  return {
    Replicated: mode?.replicated && { Replicas: mode.replicated.replicas },
    Global: mode?.global && {},
    ReplicatedJob: mode?.replicatedJob && {
      MaxConcurrent: mode.replicatedJob.maxConcurrent,
      TotalCompletions: mode.replicatedJob.totalCompletions,
    },
    GlobalJob: mode?.globalJob && {},
  };
}

function updateFromJson(json: JsonObject | undefined): UpdateConfig | undefined {
  if (json === undefined) return undefined;
  const monitorNs = json.integer("Monitor");
  return UpdateConfig.create({
    parallelism: json.natural("Parallelism"),
    delayNs: json.integer("Delay"),
    failureAction: wordFromJson(json, "FailureAction", {
      words: UpdateFailureActionValues,
      fallback: "pause",
      message: "unrecognized update failure action",
      isBare: true,
    }),
    monitorNs: monitorNs === 0 ? undefined : monitorNs,
    maxFailureRatio: json.number("MaxFailureRatio"),
    order: wordFromJson(json, "Order", {
      words: UpdateOrderValues,
      fallback: "stop-first",
      message: "unrecognized update order",
      isBare: true,
    }),
  });
}

function updateToJson(config: UpdateConfig | undefined): Json | undefined {
  if (config === undefined) return undefined;
  return {
    Parallelism: config.parallelism,
    Delay: numberOrNothing(config.delayNs),
    FailureAction: config.failureAction,
    Monitor: numberOrNothing(config.monitorNs ?? 0),
    MaxFailureRatio: config.maxFailureRatio,
    Order: config.order,
  };
}

function endpointSpecFromJson(json: JsonObject | undefined): EndpointSpec | undefined {
  if (json === undefined) return undefined;
  return EndpointSpec.create({
    mode: wordFromJson(json, "Mode", {
      words: EndpointModeValues,
      fallback: "vip",
      message: "invalid resolution mode:",
    }),
    ports: json.objects("Ports").map(portFromJson),
  });
}

function endpointSpecToJson(spec: EndpointSpec): Json {
  return { Mode: spec.mode, Ports: listOrNothing(spec.ports.map(portToJson)) };
}

function portFromJson(json: JsonObject): PortConfig {
  const targetPort = json.uint32("TargetPort");
  const publishedPort = json.uint32("PublishedPort");
  if (targetPort > 65535 || publishedPort > 65535)
    throw json.invalid(`invalid JSON: ${json.path}: a port is at most 65535`);
  return PortConfig.create({
    name: json.string("Name"),
    protocol: wordFromJson(json, "Protocol", {
      words: PortProtocolValues,
      fallback: "tcp",
      message: "invalid port protocol:",
    }),
    targetPort,
    publishedPort,
    publishMode: wordFromJson(json, "PublishMode", {
      words: PublishModeValues,
      fallback: "ingress",
      message: "invalid publish mode:",
    }),
  });
}

/** A published port as the API shows it. */
export function portToJson(port: PortConfig): Json {
  return {
    Name: textOrNothing(port.name),
    Protocol: port.protocol,
    TargetPort: numberOrNothing(port.targetPort),
    PublishedPort: numberOrNothing(port.publishedPort),
    PublishMode: port.publishMode,
  };
}

function endpointToJson(endpoint: Endpoint | undefined): Json {
  // As in Docker's swarm, where nothing is allocated for a service without ports and networks.
  const isBare = endpoint?.ports.length === 0 && endpoint.virtualIps.length === 0;
  const spec = isBare && endpoint.spec?.mode === "vip" ? undefined : endpoint?.spec;
  return {
    Spec: spec === undefined ? {} : endpointSpecToJson(spec),
    Ports: listOrNothing((endpoint?.ports ?? []).map(portToJson)),
    VirtualIPs: listOrNothing(
      (endpoint?.virtualIps ?? []).map((ip) => ({
        NetworkID: textOrNothing(ip.networkId),
        Addr: textOrNothing(ip.address),
      })),
    ),
  };
}

function updateStatusToJson(status: UpdateStatus | undefined): Json | undefined {
  if (status === undefined) return undefined;
  return {
    State: updateStateText(status.state),
    StartedAt: status.startedAtMs === 0 ? undefined : timeToJson(status.startedAtMs),
    CompletedAt: status.completedAtMs === 0 ? undefined : timeToJson(status.completedAtMs),
    Message: textOrNothing(status.message),
  };
}

/** Docker's word for an update state, `rollback_started` for `rollback-started`; undefined for `unknown`. */
export function updateStateText(state: UpdateState): string | undefined {
  return state === "unknown" ? undefined : state.replaceAll("-", "_");
}
