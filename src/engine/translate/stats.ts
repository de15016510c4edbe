/**
 * A sample of what a container uses, as `GET /containers/{id}/stats` shows it. Pure.
 *
 * Clients compute the share of the CPU from two samples: each carries the one before it.
 */
import type { ContainerStats } from "../../common/container/containers.ts";
import type { Container } from "../../common/container/types.ts";
import { type Json, timeToJson } from "./common.ts";

/** A sample with the one before it, where there is one. */
export interface Samples {
  readonly container: Container;
  readonly now: ContainerStats | undefined;
  readonly before: ContainerStats | undefined;
}

/** The sample; with zeros while the container does not run. */
export function statsToJson({ container, now, before }: Samples): Json {
  const names = { name: `/${container.name}`, id: container.id };
  if (now === undefined) {
    const nothing = { cpu_usage: noUsage, throttling_data: noThrottling };
    return {
      ...names,
      read: timeToJson(0),
      preread: timeToJson(0),
      pids_stats: {},
      blkio_stats: blockIo([]),
      num_procs: 0,
      storage_stats: {},
      cpu_stats: nothing,
      precpu_stats: nothing,
      memory_stats: {},
    };
  }
  return {
    ...names,
    read: timeToJson(now.readAtMs),
    preread: timeToJson(before?.readAtMs ?? 0),
    pids_stats: { current: now.pids, limit: now.pidsLimit || undefined },
    blkio_stats: blockIo(now.blockIo),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpuToJson(now),
    precpu_stats:
      before === undefined
        ? { cpu_usage: noUsage, throttling_data: noThrottling }
        : cpuToJson(before),
    memory_stats: {
      usage: now.memoryUsageBytes,
      // Both names: that of the first version of cgroups and that of the second.
      stats: {
        inactive_file: now.memoryInactiveFileBytes,
        total_inactive_file: now.memoryInactiveFileBytes,
      },
      limit: now.memoryLimitBytes,
    },
    networks: networksToJson(now),
  };
}

const noUsage = { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 };
const noThrottling = { periods: 0, throttled_periods: 0, throttled_time: 0 };

function cpuToJson(sample: ContainerStats): Json {
  return {
    cpu_usage: {
      total_usage: sample.cpuTotalNs,
      percpu_usage: sample.cpuPerCoreNs.length === 0 ? undefined : sample.cpuPerCoreNs,
      usage_in_kernelmode: sample.cpuKernelNs,
      usage_in_usermode: sample.cpuUserNs,
    },
    system_cpu_usage: sample.systemCpuNs,
    online_cpus: sample.onlineCpus,
    throttling_data: {
      periods: sample.periods,
      throttled_periods: sample.throttledPeriods,
      throttled_time: sample.throttledNs,
    },
  };
}

function networksToJson(sample: ContainerStats): Json | undefined {
  const names = Object.entries(sample.networks);
  if (names.length === 0) return undefined;
  return Object.fromEntries(
    names.map(([name, counters]) => [
      name,
      {
        rx_bytes: counters.rxBytes,
        rx_packets: counters.rxPackets,
        rx_errors: 0,
        rx_dropped: 0,
        tx_bytes: counters.txBytes,
        tx_packets: counters.txPackets,
        tx_errors: 0,
        tx_dropped: 0,
      },
    ]),
  );
}

function blockIo(entries: ContainerStats["blockIo"]): Json {
  return {
    io_service_bytes_recursive: entries.length === 0 ? null : entries,
    io_serviced_recursive: null,
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  };
}
