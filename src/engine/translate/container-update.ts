/**
 * `POST /containers/{id}/update` → `ContainerUpdate`. Pure.
 *
 * Clients send every field; what is zero or empty stays as it is.
 */
import { ResourceRequirements, Resources } from "../../common/api/generated/api.ts";
import type { ContainerUpdate } from "../../common/container/containers.ts";
import type { ContainerConfig, ExtraLimits } from "../../common/container/types.ts";
import { hostResourcesFromJson, restartPolicyFromJson } from "./host-resources.ts";
import type { JsonObject } from "./reader.ts";

const noLimits: ExtraLimits = {
  cpuShares: 0,
  cpuPeriodUs: 0,
  cpuQuotaUs: 0,
  cpusetCpus: "",
  cpusetMems: "",
  blkioWeight: 0,
  memoryReservationBytes: 0,
  oomKillDisable: false,
};

/** @throws ClusterError `invalid-argument` with Docker's texts. */
export function containerUpdateFromJson(
  json: JsonObject,
  config: ContainerConfig,
  cpus: number,
): ContainerUpdate {
  const policy = json.object("RestartPolicy");
  const changesPolicy = policy !== undefined && policy.string("Name") !== "";
  if (changesPolicy && config.autoRemove)
    throw json.invalid(
      "Restart policy cannot be updated because AutoRemove is enabled for the container",
    );
  checkCpuConflicts(json, config);
  const memoryBefore = config.resources?.limits?.memoryBytes ?? 0;
  const { resources, extraLimits } = hostResourcesFromJson(json, cpus, memoryBefore);
  return {
    restartPolicy: changesPolicy ? restartPolicyFromJson(policy, false) : undefined,
    resources: resources && withResources(json, config, resources),
    extraLimits: extraLimits && withLimits(config.extraLimits ?? noLimits, extraLimits),
  };
}

/** Shares of the CPU are given in one of two ways, and an update cannot change which. */
function checkCpuConflicts(json: JsonObject, config: ContainerConfig): void {
  const hasNano = (config.resources?.limits?.nanoCpus ?? 0) > 0;
  const conflict = (what: string, before: string) =>
    json.invalid(
      `Conflicting options: ${what} cannot be updated as ${before} has already been set.`,
    );
  if (hasNano && json.integer("CpuPeriod") > 0) throw conflict("CPU Period", "NanoCPUs");
  if (hasNano && json.integer("CpuQuota") > 0) throw conflict("CPU Quota", "NanoCPUs");
  if (json.integer("NanoCpus") <= 0) return;
  if ((config.extraLimits?.cpuQuotaUs ?? 0) > 0) throw conflict("Nano CPUs", "CPU Quota");
  if ((config.extraLimits?.cpuPeriodUs ?? 0) > 0) throw conflict("Nano CPUs", "CPU Period");
}

function withResources(
  json: JsonObject,
  config: ContainerConfig,
  change: ResourceRequirements,
): ResourceRequirements {
  const old = config.resources;
  const memoryBytes = change.limits?.memoryBytes || (old?.limits?.memoryBytes ?? 0);
  const changesMemory = (change.limits?.memoryBytes ?? 0) > 0;
  const oldTotal = (old?.limits?.memoryBytes ?? 0) + (old?.swapBytes ?? 0);
  if (
    changesMemory &&
    change.swapBytes === undefined &&
    (old?.swapBytes ?? -1) >= 0 &&
    memoryBytes > oldTotal
  )
    throw json.invalid(
      "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
    );
  return ResourceRequirements.create({
    limits: Resources.create({
      memoryBytes,
      nanoCpus: change.limits?.nanoCpus || (old?.limits?.nanoCpus ?? 0),
      // -1 takes the limit away, which reads as 0 here.
      pids: json.integer("PidsLimit") < 0 ? 0 : change.limits?.pids || (old?.limits?.pids ?? 0),
    }),
    reservations: old?.reservations,
    swapBytes: change.swapBytes ?? keptSwap(old, changesMemory, memoryBytes),
    memorySwappiness: change.memorySwappiness ?? old?.memorySwappiness,
  });
}

/** The total of memory and swap stays when only the memory changes. */
function keptSwap(
  old: ResourceRequirements | undefined,
  changesMemory: boolean,
  memoryBytes: number,
): number | undefined {
  if (old?.swapBytes === undefined || old.swapBytes < 0 || !changesMemory) return old?.swapBytes;
  return (old.limits?.memoryBytes ?? 0) + old.swapBytes - memoryBytes;
}

function withLimits(old: ExtraLimits, change: ExtraLimits): ExtraLimits {
  return {
    cpuShares: change.cpuShares || old.cpuShares,
    cpuPeriodUs: change.cpuPeriodUs || old.cpuPeriodUs,
    cpuQuotaUs: change.cpuQuotaUs || old.cpuQuotaUs,
    cpusetCpus: change.cpusetCpus || old.cpusetCpus,
    cpusetMems: change.cpusetMems || old.cpusetMems,
    blkioWeight: change.blkioWeight || old.blkioWeight,
    memoryReservationBytes: change.memoryReservationBytes || old.memoryReservationBytes,
    oomKillDisable: change.oomKillDisable || old.oomKillDisable,
  };
}
