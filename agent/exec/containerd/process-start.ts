/**
 * When a process began, by what the kernel says of it (proc(5), field 22 of its stat).
 */
import { readFileSync } from "node:fs";

/** Unit of times in /proc, milliseconds: Linux shows user space 100 a second on all architectures. */
const tickMs = 10;

/** When a process started, milliseconds since the epoch, to a few of them; now when it cannot be told. */
export function startOf(pid: number, now: number): number {
  try {
    // The folder of a process is made when it is looked at, so that its times tell nothing.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
    const upMs = 1000 * Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const agoMs = upMs - ticks * tickMs;
    return Number.isFinite(agoMs) ? Math.round(now - Math.max(0, agoMs)) : now;
  } catch {
    // It has just ended.
    return now;
  }
}
