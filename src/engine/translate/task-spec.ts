/**
 * What a service's tasks run and where: the Engine API's `TaskSpec` ↔ `TaskSpec` of the schema. Pure.
 */
import {
  NetworkAttachmentConfig,
  Placement,
  Platform,
  Preference,
  ResourceRequirements,
  Resources,
  RestartConditionValues,
  RestartPolicy,
  TaskSpec,
} from "../../common/api/generated/api.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import {
  driverFromJson,
  driverToJson,
  genericFromJson,
  genericToJson,
  type Json,
  listOrNothing,
  mapOrNothing,
  numberOrNothing,
  platformToJson,
  textOrNothing,
  wordFromJson,
} from "./common.ts";
import { containerFromJson, containerToJson } from "./container.ts";
import type { JsonObject } from "./reader.ts";

/**
 * @param legacyNetworks Networks of the service itself, as clients before API 1.25 send them; used when the task has none.
 * @throws ClusterError `invalid-argument` naming the field; `unimplemented` for plugin tasks.
 */
export function taskSpecFromJson(
  json: JsonObject,
  legacyNetworks: readonly JsonObject[] = [],
): TaskSpec {
  const runtime = json.string("Runtime");
  if (runtime === "plugin")
    throw new ClusterError("unimplemented", 'runtime type "plugin" is not supported');
  if (runtime !== "" && runtime !== "container") throw json.invalid("unsupported runtime");
  const container = json.object("ContainerSpec");
  if (container === undefined) throw json.invalid("mismatched Runtime and *Spec fields");
  const networks = json.objects("Networks");
  return TaskSpec.create({
    container: containerFromJson(container),
    resources: resourcesFromJson(json.object("Resources")),
    restart: restartFromJson(json.object("RestartPolicy")),
    placement: placementFromJson(json.object("Placement")),
    logDriver: driverFromJson(json.object("LogDriver")),
    networks: (networks.length > 0 ? networks : legacyNetworks).map(attachmentFromJson),
    forceUpdate: json.natural("ForceUpdate"),
    runtime: "container",
  });
}

/** The task spec as the API shows it; `Runtime` only where Docker shows it, in service specs. */
export function taskSpecToJson(spec: TaskSpec | undefined, showRuntime: boolean): Json {
  return {
    ContainerSpec: spec?.container && containerToJson(spec.container),
    NetworkAttachmentSpec: spec?.attachment && { ContainerID: spec.attachment.containerId },
    Resources: resourcesToJson(spec?.resources),
    RestartPolicy: restartToJson(spec?.restart),
    Placement: placementToJson(spec?.placement),
    Networks: listOrNothing((spec?.networks ?? []).map(attachmentToJson)),
    LogDriver: driverToJson(spec?.logDriver),
    ForceUpdate: spec?.forceUpdate ?? 0,
    Runtime:
      showRuntime || spec?.attachment !== undefined ? textOrNothing(runtimeOf(spec)) : undefined,
  };
}

/** `container`, `plugin` or `attachment`. */
export function runtimeOf(spec: TaskSpec | undefined): string {
  if (spec?.container !== undefined) return "container";
  if (spec?.plugin !== undefined) return "plugin";
  return spec?.attachment === undefined ? "" : "attachment";
}

function resourcesFromJson(json: JsonObject | undefined): ResourceRequirements | undefined {
  if (json === undefined) return undefined;
  const limits = json.object("Limits");
  const reservations = json.object("Reservations");
  const requirements = ResourceRequirements.create({
    limits:
      limits &&
      Resources.create({
        nanoCpus: limits.integer("NanoCPUs"),
        memoryBytes: limits.integer("MemoryBytes"),
        pids: limits.integer("Pids"),
      }),
    reservations:
      reservations &&
      Resources.create({
        nanoCpus: reservations.integer("NanoCPUs"),
        memoryBytes: reservations.integer("MemoryBytes"),
        generic: genericFromJson(reservations.objects("GenericResources")),
      }),
    swapBytes: json.optionalInteger("SwapBytes"),
    memorySwappiness: json.optionalInteger("MemorySwappiness"),
  });
  if (requirements.swapBytes !== undefined && (requirements.limits?.memoryBytes ?? 0) === 0)
    throw json.invalid("memory swap provided, but no memory-limit was set");
  return requirements;
}

function resourcesToJson(requirements: ResourceRequirements | undefined): Json | undefined {
  if (requirements === undefined) return undefined;
  const { limits, reservations } = requirements;
  return {
    Limits: limits && {
      NanoCPUs: numberOrNothing(limits.nanoCpus),
      MemoryBytes: numberOrNothing(limits.memoryBytes),
      Pids: numberOrNothing(limits.pids),
    },
    Reservations: reservations && resourceSetToJson(reservations),
    SwapBytes: requirements.swapBytes,
    MemorySwappiness: requirements.memorySwappiness,
  };
}

/** Resources of a node or a reservation. */
export function resourceSetToJson(resources: Resources): Json {
  return {
    NanoCPUs: numberOrNothing(resources.nanoCpus),
    MemoryBytes: numberOrNothing(resources.memoryBytes),
    GenericResources: genericToJson(resources.generic),
  };
}

function restartFromJson(json: JsonObject | undefined): RestartPolicy | undefined {
  if (json === undefined) return undefined;
  return RestartPolicy.create({
    condition: wordFromJson(json, "Condition", {
      words: RestartConditionValues,
      fallback: "any",
      message: "invalid RestartCondition:",
    }),
    delayNs: json.optionalInteger("Delay"),
    maxAttempts: json.natural("MaxAttempts"),
    windowNs: json.integer("Window"),
  });
}

function restartToJson(policy: RestartPolicy | undefined): Json | undefined {
  if (policy === undefined) return undefined;
  return {
    Condition: policy.condition,
    Delay: policy.delayNs,
    MaxAttempts: policy.maxAttempts,
    Window: numberOrNothing(policy.windowNs),
  };
}

function placementFromJson(json: JsonObject | undefined): Placement | undefined {
  if (json === undefined) return undefined;
  return Placement.create({
    constraints: json.strings("Constraints"),
    preferences: json.objects("Preferences").flatMap((preference) => {
      const spread = preference.object("Spread");
      if (spread === undefined) return [];
      return [Preference.create({ spreadOver: spread.string("SpreadDescriptor") })];
    }),
    platforms: json.objects("Platforms").map((platform) =>
      Platform.create({
        architecture: platform.string("Architecture"),
        os: platform.string("OS"),
        // Docker's API has none.
        variant: platform.string("Variant"),
      }),
    ),
    maxReplicas: json.natural("MaxReplicas"),
  });
}

function placementToJson(placement: Placement | undefined): Json | undefined {
  if (placement === undefined) return undefined;
  return {
    Constraints: listOrNothing(placement.constraints),
    Preferences: listOrNothing(
      placement.preferences.map((p) => ({ Spread: { SpreadDescriptor: p.spreadOver } })),
    ),
    MaxReplicas: numberOrNothing(placement.maxReplicas),
    Platforms: listOrNothing(
      placement.platforms.map((platform) => ({
        ...platformToJson(platform),
        Variant: textOrNothing(platform.variant),
      })),
    ),
  };
}

function attachmentFromJson(json: JsonObject): NetworkAttachmentConfig {
  return NetworkAttachmentConfig.create({
    target: json.string("Target"),
    aliases: json.strings("Aliases"),
    driverOptions: json.stringMap("DriverOpts"),
  });
}

function attachmentToJson(config: NetworkAttachmentConfig): Json {
  return {
    Target: textOrNothing(config.target),
    Aliases: listOrNothing(config.aliases),
    DriverOpts: mapOrNothing(config.driverOptions),
  };
}
