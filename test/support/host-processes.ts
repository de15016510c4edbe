/**
 * The processes of a simulated host, as its kernel has them.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { SwarmLab } from "./swarm-lab.ts";

/** A process that lived when it was looked at. */
export interface HostProcess {
  /** As the host counts. */
  readonly pid: number;
  /** Its folder in the host's /proc, from outside. */
  readonly folder: string;
  /** Its command line; empty for one of the kernel. */
  readonly words: readonly string[];
}

/** All processes of a host, none while that is off. */
export function hostProcesses(lab: SwarmLab, host: string): HostProcess[] {
  const { hostPid } = lab.playground.node(host);
  if (hostPid === undefined) return [];
  const proc = `/proc/${hostPid}/root/proc`;
  return readdirSync(proc).flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const folder = `${proc}/${name}`;
    try {
      const words = readFileSync(`${folder}/cmdline`, "utf8").split("\0").slice(0, -1);
      return [{ pid: Number(name), folder, words }];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}

/** Pid of the parent of a process. */
export function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
