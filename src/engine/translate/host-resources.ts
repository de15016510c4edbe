/**
 * Limits and weights of `HostConfig`, which `docker update` sends too: checked as Docker checks them. Pure.
 */
import { ResourceRequirements, Resources } from "../../common/api/generated/api.ts";
import type {
  ContainerConfig,
  ContainerRestartPolicy,
  ExtraLimits,
} from "../../common/container/types.ts";
import type { Json } from "./common.ts";
import type { JsonObject } from "./reader.ts";

const mib = 2 ** 20;
const memoryMin = 6 * mib;

/** Limits as the runtime takes them; undefined where nothing was said. */
export interface HostResources {
  readonly resources: ResourceRequirements | undefined;
  readonly extraLimits: ExtraLimits | undefined;
}

/**
 * @param cpus Of the node, the most that can be given.
 * @param memoryBefore Limit of a container that is updated, bytes; the one that counts where no other is given.
 * @throws ClusterError `invalid-argument` with Docker's texts.
 */
export function hostResourcesFromJson(
  json: JsonObject,
  cpus: number,
  memoryBefore = 0,
): HostResources {
  const memory = json.integer("Memory") || memoryBefore;
  const swap = json.integer("MemorySwap");
  const nanoCpus = json.integer("NanoCpus");
  const swappiness = json.optionalInteger("MemorySwappiness");
  const pids = json.integer("PidsLimit");
  checkMemory(json, memory);
  checkCpu(json, cpus);
  const hasLimits = json.integer("Memory") !== 0 || nanoCpus !== 0 || pids !== 0;
  const swapBytes = swap === 0 ? undefined : swap < 0 ? -1 : swap - memory;
  const isSet = hasLimits || swapBytes !== undefined || (swappiness ?? -1) >= 0;
  return {
    resources: isSet
      ? ResourceRequirements.create({
          limits: hasLimits
            ? Resources.create({ nanoCpus, memoryBytes: memory, pids: Math.max(0, pids) })
            : undefined,
          swapBytes,
          // -1 is what clients send for "not set".
          memorySwappiness: (swappiness ?? -1) < 0 ? undefined : swappiness,
        })
      : undefined,
    extraLimits: extraLimitsFromJson(json),
  };
}

function extraLimitsFromJson(json: JsonObject): ExtraLimits | undefined {
  const limits: ExtraLimits = {
    cpuShares: Math.max(0, json.integer("CpuShares")),
    cpuPeriodUs: json.integer("CpuPeriod"),
    cpuQuotaUs: json.integer("CpuQuota"),
    cpusetCpus: json.string("CpusetCpus"),
    cpusetMems: json.string("CpusetMems"),
    blkioWeight: json.integer("BlkioWeight"),
    memoryReservationBytes: json.integer("MemoryReservation"),
    oomKillDisable: json.bool("OomKillDisable"),
  };
  const isSet = Object.values(limits).some(
    (value) => value !== 0 && value !== "" && value !== false,
  );
  return isSet ? limits : undefined;
}

function checkMemory(json: JsonObject, memory: number): void {
  const swap = json.integer("MemorySwap");
  const reservation = json.integer("MemoryReservation");
  const swappiness = json.optionalInteger("MemorySwappiness") ?? -1;
  if (memory < 0) throw json.invalid("Minimum memory limit allowed is 6MB");
  if (memory > 0 && memory < memoryMin) throw json.invalid("Minimum memory limit allowed is 6MB");
  if (memory > 0 && swap > 0 && swap < memory)
    throw json.invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (memory === 0 && swap > 0)
    throw json.invalid(
      "You should always set the Memory limit when using Memoryswap limit, see usage",
    );
  if (swappiness > 100 || swappiness < -1)
    throw json.invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  if (reservation < 0 || (reservation > 0 && reservation < memoryMin))
    throw json.invalid("Minimum memory reservation allowed is 6MB");
  if (memory > 0 && reservation > 0 && memory < reservation)
    throw json.invalid(
      "Minimum memory limit can not be less than memory reservation limit, see usage",
    );
}

function checkCpu(json: JsonObject, cpus: number): void {
  const nano = json.integer("NanoCpus");
  const period = json.integer("CpuPeriod");
  const quota = json.integer("CpuQuota");
  const weight = json.integer("BlkioWeight");
  if (nano > 0 && period > 0)
    throw json.invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
  if (nano > 0 && quota > 0)
    throw json.invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
  if (nano < 0 || nano > cpus * 1e9)
    throw json.invalid(
      `Range of CPUs is from 0.01 to ${cpus}.00, as there are only ${cpus} CPUs available`,
    );
  if (period !== 0 && (period < 1000 || period > 1_000_000))
    throw json.invalid(
      "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    );
  if (quota > 0 && quota < 1000)
    throw json.invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  if (weight !== 0 && (weight < 10 || weight > 1000))
    throw json.invalid("Range of blkio weight is from 10 to 1000");
  checkSet(json, "CpusetCpus", "cpuset cpus", cpus);
  checkSet(json, "CpusetMems", "cpuset mems", undefined);
}

/** Lists such as `0-2,4`. */
function checkSet(json: JsonObject, name: string, words: string, count: number | undefined): void {
  const text = json.string(name);
  if (text === "") return;
  const ranges = text.split(",").map((range) => /^(\d+)(?:-(\d+))?$/.exec(range));
  if (ranges.some((range) => range === null))
    throw json.invalid(`Invalid value ${text} for ${words}`);
  const last = Math.max(...ranges.map((range) => Number(range?.[2] ?? range?.[1])));
  if (count !== undefined && last >= count)
    throw json.invalid(
      `Requested CPUs are not available - requested ${text}, available: 0-${count - 1}`,
    );
}

const restartNames = ["no", "always", "on-failure", "unless-stopped"] as const;

/** @throws ClusterError `invalid-argument` with Docker's texts. */
export function restartPolicyFromJson(
  json: JsonObject | undefined,
  autoRemove: boolean,
): ContainerRestartPolicy {
  const text = json?.string("Name") || "no";
  const retriesMax = json?.integer("MaximumRetryCount") ?? 0;
  const name = restartNames.find((known) => known === text);
  if (json === undefined) return { name: "no", retriesMax: 0 };
  if (name === undefined)
    throw json.invalid(
      `invalid restart policy: unknown policy '${text}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (retriesMax < 0)
    throw json.invalid("invalid restart policy: maximum retry count cannot be negative");
  if (retriesMax !== 0 && name !== "on-failure")
    throw json.invalid(
      "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    );
  if (autoRemove && name !== "no")
    throw json.invalid("can't create 'AutoRemove' container with restart policy");
  return { name, retriesMax };
}

/** The part of `HostConfig` that can be changed by an update, as it is now. */
export function hostResourcesToJson(config: ContainerConfig): Json {
  const { resources, extraLimits, restartPolicy } = config;
  const memory = resources?.limits?.memoryBytes ?? 0;
  const pids = resources?.limits?.pids ?? 0;
  return {
    RestartPolicy: { Name: restartPolicy.name, MaximumRetryCount: restartPolicy.retriesMax },
    CpuShares: extraLimits?.cpuShares ?? 0,
    Memory: memory,
    NanoCpus: resources?.limits?.nanoCpus ?? 0,
    BlkioWeight: extraLimits?.blkioWeight ?? 0,
    CpuPeriod: extraLimits?.cpuPeriodUs ?? 0,
    CpuQuota: extraLimits?.cpuQuotaUs ?? 0,
    CpusetCpus: extraLimits?.cpusetCpus ?? "",
    CpusetMems: extraLimits?.cpusetMems ?? "",
    MemoryReservation: extraLimits?.memoryReservationBytes ?? 0,
    MemorySwap: swapToJson(memory, resources?.swapBytes),
    MemorySwappiness: resources?.memorySwappiness ?? null,
    OomKillDisable: extraLimits?.oomKillDisable ?? false,
    PidsLimit: pids === 0 ? null : pids,
  };
}

/** Memory and swap together; as much swap as memory where nothing was said. */
function swapToJson(memory: number, swap: number | undefined): number {
  if (swap === undefined) return memory * 2;
  return swap < 0 ? -1 : memory + swap;
}
