/**
 * Limits of a container as the OCI spec has them, for its start and for live updates; what this node cannot enforce is left
 * out with a warning in Docker's words.
 */
import type { ResourceRequirements } from "../../../src/common/api/generated/api.ts";
import type { ExtraLimits } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { BlockDeviceLimit } from "../../../src/common/spec/container-labels.ts";
import type { CgroupFacts } from "./cgroups.ts";
import { blockDevice } from "./devices.ts";
import type { OciResources } from "./oci-types.ts";

/** What is said of the limits. */
export interface LimitWish {
  readonly resources: ResourceRequirements | undefined;
  readonly extraLimits: ExtraLimits | undefined;
  readonly blkioDevices?: readonly BlockDeviceLimit[];
}

/** Period of the CPU quota, microseconds, as Docker sets it. */
const cpuPeriodUs = 100_000;
/** Less does not hold a process, as with Docker. */
const memoryBytesMin = 6 * 1024 * 1024;

/**
 * The limits without devices.
 *
 * @throws ClusterError invalid-argument for values that cannot be, in Docker's words.
 */
export function resourcesOf(
  wish: LimitWish,
  cgroups: Pick<CgroupFacts, "controllers" | "swapLimit" | "version">,
): { resources: OciResources; warnings: string[] } {
  const warnings: string[] = [];
  const has = (...names: string[]) => names.some((name) => cgroups.controllers.has(name));
  const memory = memoryOf(wish);
  if (memory !== undefined && !has("memory")) {
    warnings.push(
      "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
  } else if (memory?.swap !== undefined && !cgroups.swapLimit && wish.resources?.swapBytes) {
    warnings.push(
      "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    );
  }
  const cpu = cpuOf(wish);
  if (cpu !== undefined && !has("cpu")) {
    warnings.push(
      "Your kernel does not support CPU limits or the cgroup is not mounted. Limitation discarded.",
    );
  }
  const pids = wish.resources?.limits?.pids ?? 0;
  if (pids > 0 && !has("pids")) {
    warnings.push(
      "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    );
  }
  const hasBlockIo = has("blkio", "io");
  if (!hasBlockIo) warnings.push(...blockIoWarnings(wish));
  const blockIO = hasBlockIo ? blockIoOf(wish, cgroups.version) : undefined;
  return {
    resources: {
      ...(memory !== undefined &&
        has("memory") && { memory: cgroups.swapLimit ? memory : withoutSwap(memory) }),
      ...(cpu !== undefined && has("cpu") && { cpu }),
      ...(pids !== 0 && has("pids") && { pids: { limit: pids < 0 ? -1 : pids } }),
      ...(blockIO !== undefined && { blockIO }),
    },
    warnings,
  };
}

function blockIoOf(
  { extraLimits, blkioDevices = [] }: LimitWish,
  version: CgroupFacts["version"],
): OciResources["blockIO"] {
  // Those of version 1 are written by `block-weights.ts`.
  const weight = version === 1 ? 0 : (extraLimits?.blkioWeight ?? 0);
  const of = (what: BlockDeviceLimit["what"]) => blkioDevices.filter((one) => one.what === what);
  const throttles = (what: BlockDeviceLimit["what"]) =>
    of(what).map(({ path, value }) => ({ ...blockDevice(path), rate: value }));
  const weights = of("weight").map(({ path, value }) => ({ ...blockDevice(path), weight: value }));
  const blockIO = {
    ...(weight > 0 && { weight }),
    ...(weights.length > 0 && version === 2 && { weightDevice: weights }),
    ...some("throttleReadBpsDevice", throttles("read-bps")),
    ...some("throttleWriteBpsDevice", throttles("write-bps")),
    ...some("throttleReadIOPSDevice", throttles("read-iops")),
    ...some("throttleWriteIOPSDevice", throttles("write-iops")),
  };
  return Object.keys(blockIO).length === 0 ? undefined : blockIO;
}

/** In Docker's words, one for each kind of limit that is not held to. */
function blockIoWarnings({ extraLimits, blkioDevices = [] }: LimitWish): string[] {
  const warning = (what: string, discarded: string) =>
    `Your kernel does not support ${what} or the cgroup is not mounted. ${discarded} discarded.`;
  const kinds = [
    ["weight", "Block I/O weight_device", "Weight-device"],
    ["read-bps", "BPS Block I/O read limit", "Block I/O BPS read limit"],
    ["write-bps", "BPS Block I/O write limit", "Block I/O BPS write limit"],
    ["read-iops", "IOPS Block read limit", "Block I/O IOPS read limit"],
    ["write-iops", "IOPS Block write limit", "Block I/O IOPS write limit"],
  ] as const;
  return [
    ...((extraLimits?.blkioWeight ?? 0) > 0 ? [warning("Block I/O weight", "Weight")] : []),
    ...kinds
      .filter(([kind]) => blkioDevices.some(({ what }) => what === kind))
      .map(([, what, discarded]) => warning(what, discarded)),
  ];
}

function some<K extends string, T>(
  key: K,
  list: readonly T[],
): { readonly [key in K]?: readonly T[] } {
  return list.length === 0 ? {} : ({ [key]: list } as { readonly [key in K]: readonly T[] });
}

type Memory = NonNullable<OciResources["memory"]>;

function memoryOf({ resources, extraLimits }: LimitWish): OciResources["memory"] {
  const limit = resources?.limits?.memoryBytes ?? 0;
  const reservation = extraLimits?.memoryReservationBytes ?? 0;
  const swappiness = resources?.memorySwappiness;
  if (limit > 0 && limit < memoryBytesMin) {
    throw new ClusterError("invalid-argument", "Minimum memory limit allowed is 6MB");
  }
  if (limit > 0 && reservation > limit) {
    throw new ClusterError(
      "invalid-argument",
      "Minimum memory limit can not be less than memory reservation limit, see usage",
    );
  }
  if (swappiness !== undefined && (swappiness < -1 || swappiness > 100)) {
    throw new ClusterError(
      "invalid-argument",
      `Invalid value: ${swappiness}, valid memory swappiness range is 0-100`,
    );
  }
  const swap = swapOf(limit, resources?.swapBytes);
  const memory = {
    ...(limit > 0 && { limit }),
    ...(reservation > 0 && { reservation }),
    ...(swap !== undefined && { swap }),
    ...(swappiness !== undefined && swappiness >= 0 && { swappiness }),
    ...(extraLimits?.oomKillDisable === true && { disableOOMKiller: true }),
  };
  return Object.keys(memory).length === 0 ? undefined : memory;
}

/** Memory and swap together; as much swap as memory when nothing is said, -1 for no bound. */
function swapOf(limit: number, swapBytes: number | undefined): number | undefined {
  if (limit <= 0) return undefined;
  if (swapBytes === undefined) return 2 * limit;
  return swapBytes < 0 ? -1 : limit + swapBytes;
}

function withoutSwap(memory: Memory): Memory {
  const { swap: _swap, ...rest } = memory;
  return rest;
}

function cpuOf({ resources, extraLimits }: LimitWish): OciResources["cpu"] {
  const nano = resources?.limits?.nanoCpus ?? 0;
  const quota = extraLimits?.cpuQuotaUs ?? 0;
  const period = extraLimits?.cpuPeriodUs ?? 0;
  if (nano > 0 && (quota > 0 || period > 0)) {
    throw new ClusterError(
      "invalid-argument",
      `Conflicting options: Nano CPUs and CPU ${quota > 0 ? "Quota" : "Period"} cannot both be set`,
    );
  }
  const cpu = {
    ...(nano > 0 && {
      // The kernel takes no quota below a millisecond.
      quota: Math.max(1000, Math.round((nano * cpuPeriodUs) / 1e9)),
      period: cpuPeriodUs,
    }),
    ...(quota !== 0 && { quota }),
    ...(period > 0 && { period }),
    ...((extraLimits?.cpuShares ?? 0) > 0 && { shares: extraLimits?.cpuShares ?? 0 }),
    ...((extraLimits?.cpusetCpus ?? "") !== "" && { cpus: extraLimits?.cpusetCpus ?? "" }),
    ...((extraLimits?.cpusetMems ?? "") !== "" && { mems: extraLimits?.cpusetMems ?? "" }),
  };
  return Object.keys(cpu).length === 0 ? undefined : cpu;
}
