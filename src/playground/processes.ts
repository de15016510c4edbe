/**
 * The processes of a playground, as the kernel knows them: each carries the playground's id and its part in the
 * environment it was started with. Nothing is written down, so nothing is wrong after a crash or a reboot.
 */
import { readdirSync, readFileSync } from "node:fs";

/** Environment variable with the playground's id. */
export const idVariable = "SKEP_PLAYGROUND";
/** Environment variable with the part a process plays: `lab`, `host NODE` or `daemon NODE`. */
export const partVariable = "SKEP_PLAYGROUND_PART";

/** A process of a playground. */
export interface PlaygroundProcess {
  readonly pid: number;
  /** Pid of its parent; 0 when that has ended since. */
  readonly parent: number;
  /** `lab`, `host NODE` or `daemon NODE`; children have the part of their parent. */
  readonly part: string;
  /** Whether it is the first process of its pid namespace. */
  readonly isInit: boolean;
  readonly words: readonly string[];
}

/** Every living process of the playground `id`, except this one. */
export function processesOf(id: string): PlaygroundProcess[] {
  const found: PlaygroundProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const environment = read(`/proc/${name}/environ`).split("\0");
    if (!environment.includes(`${idVariable}=${id}`)) continue;
    const part = environment.find((line) => line.startsWith(`${partVariable}=`));
    if (part === undefined) continue;
    const status = read(`/proc/${name}/status`);
    const innerPids = status.match(/^NSpid:\t(.*)$/m)?.[1]?.split("\t") ?? [];
    found.push({
      pid: Number(name),
      parent: Number(status.match(/^PPid:\t(\d+)$/m)?.[1] ?? 0),
      part: part.slice(partVariable.length + 1),
      isInit: innerPids.length > 1 && innerPids.at(-1) === "1",
      words: read(`/proc/${name}/cmdline`).split("\0").slice(0, -1),
    });
  }
  return found;
}

/**
 * Of processes that run the same command, the one that the others come from. A program that starts another one is there
 * twice until its child has become that (execve), and the child may have the lower pid.
 */
export function firstOf(alike: readonly PlaygroundProcess[]): PlaygroundProcess | undefined {
  const pids = new Set(alike.map(({ pid }) => pid));
  return alike.find(({ parent }) => !pids.has(parent));
}

/** Whether a process is there; one that has ended and is still to be reaped is. */
export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Sends a signal; a process that has ended meanwhile is fine. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // The process has ended since it was listed.
    return "";
  }
}
