/**
 * What a node says of limits its kernel cannot enforce, in Docker's words, and of what else it lacks, with what an operator does
 * about it. Pure.
 */
import type { EnforceableLimits } from "../../../src/common/container/runtime.ts";

/** Warnings for the node's description and the end of `docker info`. */
export function limitWarnings(limits: EnforceableLimits): string[] {
  const rows: readonly (readonly [boolean, string])[] = [
    [
      limits.memory,
      // Raspberry Pi OS starts its kernel without it.
      'WARNING: No memory limit support: memory limits of containers are not enforced; add "cgroup_enable=memory cgroup_memory=1" to the kernel command line (/boot/firmware/cmdline.txt on a Raspberry Pi) and reboot',
    ],
    [
      limits.swap || !limits.memory,
      'WARNING: No swap limit support: limits of memory and swap together are not enforced; add "swapaccount=1" to the kernel command line and reboot',
    ],
    [
      limits.cpuQuota,
      "WARNING: No cpu cfs quota support: CPU limits of containers are not enforced; the kernel needs CONFIG_CFS_BANDWIDTH",
    ],
    [
      limits.pids,
      "WARNING: No pids limit support: limits of processes are not enforced; the kernel needs CONFIG_CGROUP_PIDS",
    ],
  ];
  return rows.flatMap(([isEnforced, text]) => (isEnforced ? [] : [text]));
}

/** Warning of a node whose packages are those of another architecture, or incomplete. */
export function libraryWarnings(isWithout: boolean): string[] {
  if (!isWithout) return [];
  return [
    'WARNING: containers here do not find services by name: koffi, by which the name server enters their networks, does not load; install Skep\'s npm packages on this machine ("npm ci"), not on one of another architecture',
  ];
}
