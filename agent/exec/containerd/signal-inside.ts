/**
 * Signals for the first process of a container, without another program: the runtime would be started for each.
 */
import { readFileSync } from "node:fs";

/** What is asked of the kernel; that of the machine unless a test says otherwise. */
export interface SignalTools {
  readonly cgroupsOf: (pid: number) => string;
  readonly kill: (pid: number, signal: number) => void;
}

const kernel: SignalTools = {
  cgroupsOf: (pid) => readFileSync(`/proc/${pid}/cgroup`, "latin1"),
  kill: (pid, signal) => process.kill(pid, signal),
};

/**
 * Sends a signal to a process if it is in the cgroup of the container: one that took the number of another after its end is not.
 *
 * @returns False when it was not sent: the runtime knows what there is.
 */
export function signalInside(
  pid: number,
  containerId: string,
  signal: number,
  { cgroupsOf, kill }: SignalTools = kernel,
): boolean {
  if (pid <= 1) return false;
  try {
    if (!cgroupsOf(pid).includes(containerId)) return false;
    kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
