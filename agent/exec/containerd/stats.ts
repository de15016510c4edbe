/**
 * What a container uses: the metrics of its cgroup as containerd tells them (v1 and v2), and the counters of the
 * interfaces in its network namespace, which the kernel shows below /proc of any process in it.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import type { ContainerStats } from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import {
  type Any,
  MetricsV1,
  MetricsV2,
  TasksService,
} from "../../../src/common/containerd/generated/protocol.ts";

type Usage = Omit<
  ContainerStats,
  "readAtMs" | "systemCpuNs" | "onlineCpus" | "networks" | "memoryLimitBytes"
> & { readonly memoryLimitBytes: number };

const nsPerUs = 1_000;
/** The kernel counts in hundredths of a second. */
const nsPerTick = 1e7;

/** All zero where nothing runs, as Docker shows it. */
const noUsage: Usage = {
  cpuTotalNs: 0,
  cpuUserNs: 0,
  cpuKernelNs: 0,
  cpuPerCoreNs: [],
  throttledPeriods: 0,
  periods: 0,
  throttledNs: 0,
  memoryUsageBytes: 0,
  memoryInactiveFileBytes: 0,
  memoryLimitBytes: 0,
  pids: 0,
  pidsLimit: 0,
  blockIo: [],
};

/** One sample; a container that does not run uses nothing. */
export async function containerStats(
  client: ContainerdClient,
  container: Container,
  nowMs: number,
): Promise<ContainerStats> {
  const { pid, phase } = container.state;
  if (phase !== "running" && phase !== "paused") {
    return { ...noUsage, readAtMs: 0, systemCpuNs: 0, onlineCpus: 0, networks: {} };
  }
  const request = { filters: [`id==${container.id}`] };
  const { metrics } = await client.call(TasksService.metrics, request);
  const usage = usageOf(metrics[0]?.data);
  const ownNetwork = !container.config.networks.some(
    (name) => name === "host" || name.startsWith("container:"),
  );
  return {
    ...usage,
    memoryLimitBytes: limitOr(usage.memoryLimitBytes, totalmem()),
    readAtMs: nowMs,
    systemCpuNs: systemCpuNs(await readFile("/proc/stat", "utf8")),
    onlineCpus: availableParallelism(),
    networks: ownNetwork ? interfaceCounters(await textOf(`/proc/${pid}/net/dev`)) : {},
  };
}

/** The usage in a body of either kind. */
export function usageOf(data: Any | undefined): Usage {
  if (data === undefined) return noUsage;
  if (data.typeUrl.includes("cgroups.v2")) return usageOfV2(MetricsV2.decode(data.value));
  return usageOfV1(MetricsV1.decode(data.value));
}

function usageOfV1({ cpu, memory, pids, blkio }: MetricsV1): Usage {
  return {
    cpuTotalNs: cpu?.usage?.total ?? 0,
    cpuUserNs: cpu?.usage?.user ?? 0,
    cpuKernelNs: cpu?.usage?.kernel ?? 0,
    cpuPerCoreNs: cpu?.usage?.perCpu ?? [],
    throttledPeriods: cpu?.throttling?.throttledPeriods ?? 0,
    periods: cpu?.throttling?.periods ?? 0,
    throttledNs: cpu?.throttling?.throttledTime ?? 0,
    memoryUsageBytes: memory?.usage?.usage ?? 0,
    memoryInactiveFileBytes: memory?.totalInactiveFile ?? 0,
    memoryLimitBytes: memory?.usage?.limit ?? 0,
    pids: pids?.current ?? 0,
    pidsLimit: limitOr(pids?.limit ?? 0, 0),
    blockIo: (blkio?.ioServiceBytesRecursive ?? []).map(({ major, minor, op, value }) => ({
      major,
      minor,
      op: op.toLowerCase(),
      value,
    })),
  };
}

function usageOfV2({ cpu, memory, pids, io }: MetricsV2): Usage {
  return {
    cpuTotalNs: (cpu?.usageUsec ?? 0) * nsPerUs,
    cpuUserNs: (cpu?.userUsec ?? 0) * nsPerUs,
    cpuKernelNs: (cpu?.systemUsec ?? 0) * nsPerUs,
    cpuPerCoreNs: [],
    throttledPeriods: cpu?.nrThrottled ?? 0,
    periods: cpu?.nrPeriods ?? 0,
    throttledNs: (cpu?.throttledUsec ?? 0) * nsPerUs,
    memoryUsageBytes: memory?.usage ?? 0,
    memoryInactiveFileBytes: memory?.inactiveFile ?? 0,
    memoryLimitBytes: memory?.usageLimit ?? 0,
    pids: pids?.current ?? 0,
    pidsLimit: limitOr(pids?.limit ?? 0, 0),
    blockIo: (io?.usage ?? []).flatMap(({ major, minor, rbytes, wbytes }) => [
      { major, minor, op: "read", value: rbytes },
      { major, minor, op: "write", value: wbytes },
    ]),
  };
}

/** No limit is 0, or a number that no machine reaches. */
function limitOr(limit: number, instead: number): number {
  return limit === 0 || limit > 2 ** 52 || (instead > 0 && limit > instead) ? instead : limit;
}

/** CPU time of the node from the first line of /proc/stat: user to softirq, as Docker counts it. */
export function systemCpuNs(text: string): number {
  const fields = text.slice(0, text.indexOf("\n")).trim().split(/\s+/).slice(1, 8);
  return fields.reduce((sum, field) => sum + Number(field), 0) * nsPerTick;
}

/** Counters per interface out of /proc/PID/net/dev, without the loopback. */
export function interfaceCounters(text: string): ContainerStats["networks"] {
  const counters: Record<string, ContainerStats["networks"][string]> = {};
  for (const line of text.split("\n").slice(2)) {
    const at = line.indexOf(":");
    const name = line.slice(0, at).trim();
    if (at < 0 || name === "lo") continue;
    const fields = line
      .slice(at + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const field = (position: number) => fields[position] ?? 0;
    counters[name] = {
      rxBytes: field(0),
      rxPackets: field(1),
      txBytes: field(8),
      txPackets: field(9),
    };
  }
  return counters;
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return ""; // The process ended in between: it counts nothing any more.
  }
}
