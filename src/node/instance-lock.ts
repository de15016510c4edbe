/**
 * One daemon per data root, and its pid file.
 *
 * The lock is a file with the owner's process id and start time (a socket in the abstract namespace would not hold across
 * network namespaces), made in one step: of two daemons that start at once one gets it. A stale one, whose process is gone
 * or is another one, is taken over.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Releases what it holds; safe to call twice. */
export interface InstanceLock {
  release(): void;
}

/** What one daemon has for itself. */
export interface InstancePlaces {
  readonly dataRoot: string;
  readonly pidFile: string | undefined;
}

/**
 * Takes the data root, and writes the pid file when one is asked for.
 *
 * @param proc Where the kernel lists processes.
 * @throws ClusterError failed-precondition when another daemon that runs holds either.
 */
export function lockInstance({ dataRoot, pidFile }: InstancePlaces, proc = "/proc"): InstanceLock {
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  const lock = join(dataRoot, "daemon.lock");
  const holder = take(lock, proc);
  if (holder !== undefined) {
    throw new ClusterError(
      "failed-precondition",
      `data root ${dataRoot} is in use by the daemon with process id ${holder}: stop it, or choose another --data-root`,
    );
  }
  let isHeld = true;
  const release = () => {
    // Once released, the files may be another daemon's.
    if (!isHeld) return;
    isHeld = false;
    rmSync(lock, { force: true });
  };
  if (pidFile === undefined) return { release };
  const other = runningHolder(pidFile, proc);
  if (other !== undefined) {
    release();
    throw new ClusterError(
      "failed-precondition",
      `pid file ${pidFile} names the running process ${other}: stop it, or choose another --pidfile`,
    );
  }
  mkdirSync(dirname(pidFile), { recursive: true });
  writeFileSync(pidFile, `${process.pid}`);
  return {
    release: () => {
      if (isHeld) rmSync(pidFile, { force: true });
      release();
    },
  };
}

/**
 * Takes the lock file, or gives the process id of the daemon that has it.
 *
 * A link is made for one of several that try at once, and never over a file that is there. A stale file is moved away
 * first; should that turn out to be a file another daemon has just made in its place, it is put back.
 */
function take(lock: string, proc: string): number | undefined {
  const own = `${lock}.${process.pid}`;
  const aside = `${own}.stale`;
  writeFileSync(own, `${process.pid} ${startTime(process.pid, proc) ?? ""}\n`);
  try {
    for (;;) {
      if (linked(own, lock)) return undefined;
      const holder = runningHolder(lock, proc);
      if (holder !== undefined) return holder;
      const stale = readText(lock);
      try {
        renameSync(lock, aside);
      } catch {
        // Gone: released, or moved away by another daemon that is starting. The next round tells.
        continue;
      }
      if (readText(aside) !== stale) linked(aside, lock);
      rmSync(aside, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** Whether `to` is now another name of `from`; false when there is a file of that name. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** Process id in the file when that very process still runs. */
function runningHolder(path: string, proc: string): number | undefined {
  const [pidText = "", started] = readText(path).trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return undefined;
  const now = startTime(pid, proc);
  if (now === undefined) return undefined;
  if (started !== undefined) return started === now ? pid : undefined;
  // A pid file without a start time: the number may have been given to another program since.
  return readText(`${proc}/${pid}/cmdline`).includes("skep") ? pid : undefined;
}

/** Start time of a process in clock ticks since boot, as text; undefined when it is gone, or a zombie nobody reaped. */
function startTime(pid: number, proc: string): string | undefined {
  const stat = readText(`${proc}/${pid}/stat`);
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return stat === "" || state === "Z" || state === "X" ? undefined : fields[18];
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent: nobody holds it.
    return "";
  }
}
