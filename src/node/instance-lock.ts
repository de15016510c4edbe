/**
 * One daemon per data root, and its pid file.
 *
 * Whoever wants a data root puts a file there whose name has its process id and start time, and then looks for those of
 * others (a socket in the abstract namespace would not hold across network namespaces, and Node has no `flock`). As each
 * looks after it has put its own, of two at once at least one sees the other; whoever sees a running one takes its own back
 * and tries again. Names are never used twice, so a stale one, whose process is gone or is another one, can be removed by
 * anybody.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { systemRandom } from "../common/random/random.ts";

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
  const lock = join(dataRoot, claimName(process.pid, startTime(process.pid, proc)));
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

/** Longest pause before a data root is tried again that another daemon tried at the same moment, milliseconds. */
const pauseMaxMs = 20;

/** Puts the file `own` for good, or gives the process id of the daemon that has the data root. */
function take(own: string, proc: string): number | undefined {
  for (;;) {
    const holder = otherHolder(own, proc);
    if (holder !== undefined) return holder;
    writeFileSync(own, "");
    if (otherHolder(own, proc) === undefined) return undefined;
    rmSync(own, { force: true });
    // A start has nothing else to do meanwhile.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1 + systemRandom.int(pauseMaxMs));
  }
}

/** Process id of a running daemon, apart from the owner of `own`, that has a file beside it; removes stale ones. */
function otherHolder(own: string, proc: string): number | undefined {
  const folder = dirname(own);
  for (const name of readdirSync(folder)) {
    const [, pid, started] = /^daemon\.(\d+)-(\d*)\.lock$/.exec(name) ?? [];
    const path = join(folder, name);
    if (pid === undefined || path === own) continue;
    if (startTime(Number(pid), proc) === started) return Number(pid);
    rmSync(path, { force: true });
  }
  return undefined;
}

function claimName(pid: number, started: string | undefined): string {
  return `daemon.${pid}-${started ?? ""}.lock`;
}

/** Process id in a pid file when that process runs and is a daemon of ours. */
function runningHolder(path: string, proc: string): number | undefined {
  const pid = Number(readText(path).trim());
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return undefined;
  if (startTime(pid, proc) === undefined) return undefined;
  // The number may have been given to another program since.
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
