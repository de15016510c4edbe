/**
 * A simulated host: own network, mount, pid, host name and IPC namespaces, an own /run, and a first process that only
 * reaps. The daemon is that process's child, so that it can be killed alone; killing the first process kills everything
 * in the namespace at once, which is what a power cut does.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { lastLines, startDetached } from "./detached.ts";
import { ping } from "./engine-client.ts";
import { labNetwork } from "./lab.ts";
import {
  firstOf,
  idVariable,
  isThere,
  type PlaygroundProcess,
  partVariable,
  processesOf,
  signal,
} from "./processes.ts";
import { runWell } from "./run.ts";
import { until } from "./until.ts";

/** Where a host's files are. */
export interface HostFolders {
  readonly root: string;
  readonly data: string;
  readonly socket: string;
  readonly log: string;
  readonly hostLog: string;
}

/** Longest path of a unix socket, without the closing zero. */
const socketPathBytesMax = 107;
/** From the host's `ready` to its first process being what it stays. */
const bootedWithinMs = 5_000;
/**
 * A process cannot be recognised in the moment in which it becomes another program (execve), so that only several looks
 * in a row tell that none is there.
 */
const looksMin = 5;
/** A daemon that has not answered by then is broken; a loaded machine takes a few seconds. */
const readyWithinMs = 60_000;
/** The kernel ends a namespace's processes within milliseconds; more means that something is stuck. */
const goneWithinMs = 20_000;

/** Files of the node `name` of the playground in `dir`. */
export function foldersOf(dir: string, name: string): HostFolders {
  const root = join(dir, name);
  return {
    root,
    data: join(root, "data"),
    socket: join(root, "docker.sock"),
    log: join(root, "daemon.log"),
    hostLog: join(root, "host.log"),
  };
}

/**
 * Checks that hosts can live in `dir`.
 *
 * @throws ClusterError `invalid-argument` when the path is too long for sockets or hidden inside the hosts.
 */
export function checkFolder(dir: string, names: readonly string[]): void {
  for (const name of names) {
    const { socket } = foldersOf(dir, name);
    if (Buffer.byteLength(socket) > socketPathBytesMax) {
      throw new ClusterError(
        "invalid-argument",
        `${socket} is too long for a socket: choose a shorter --dir`,
      );
    }
  }
  if (/^\/(run|proc|sys|dev)(\/|$)/.test(dir)) {
    throw new ClusterError(
      "invalid-argument",
      `hosts have an own ${dir.slice(0, 5)}: choose a --dir elsewhere`,
    );
  }
}

/** First process of a running host. */
export function hostInit(id: string, name: string): PlaygroundProcess | undefined {
  return processesOf(id).find((found) => found.part === `host ${name}` && found.isInit);
}

/** Daemon of a host, if it runs. */
export function hostDaemon(id: string, name: string): PlaygroundProcess | undefined {
  const ofHost = processesOf(id).filter((found) => found.part === `daemon ${name}`);
  return firstOf(
    ofHost.filter(({ words }) => words.includes("daemon") && words.includes("--data-root")),
  );
}

/** Boots a host without network and daemon; resolves with the pid of its first process. */
export async function bootHost(id: string, dir: string, name: string): Promise<number> {
  const folders = foldersOf(dir, name);
  mkdirSync(folders.data, { recursive: true, mode: 0o711 });
  const namespaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"];
  const words = ["unshare", ...namespaces, "sh", "-c", initScript, "skep-host", name];
  await startDetached(words, { id, part: `host ${name}`, logFile: folders.hostLog });
  const init = await until(bootedWithinMs, () => hostInit(id, name));
  if (init === undefined) {
    throw new ClusterError(
      "internal",
      `host ${name} died while booting: ${lastLines(folders.hostLog)}`,
    );
  }
  return init.pid;
}

// A fresh /proc hides which programs of other architectures the kernel runs, so a host is told of them as the machine is. A
// fresh /sys shows the host's own network but hides the cgroup tree, so that is carried over. A first process that
// ignores SIGCHLD has its children, adopted ones too, reaped by the kernel; so `sleep` does as a reaping init. -n keeps
// mount from making a folder of its own in the machine's /run.
const initScript = `
set -e
hostname "$1"
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || formats=
mount -n -t proc proc /proc
[ -z "$formats" ] || mount -n -t binfmt_misc binfmt_misc $formats
mount -n -t tmpfs -o mode=755 tmpfs /run
mount -n -t tmpfs tmpfs /dev/shm
mkdir -p /run/netns /run/lock /run/cgroup-aside
mount -n --rbind /sys/fs/cgroup /run/cgroup-aside
mount -n -t sysfs sysfs /sys
mount -n --rbind /run/cgroup-aside /sys/fs/cgroup
umount -n -l /run/cgroup-aside
rmdir /run/cgroup-aside
echo ready
exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1
`;

/** What a daemon is started with. */
export interface DaemonStart {
  readonly id: string;
  readonly dir: string;
  readonly name: string;
  readonly initPid: number;
  readonly program: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly flags?: readonly string[] | undefined;
}

/**
 * Starts the daemon of a booted host and waits until it answers.
 *
 * @throws ClusterError `unavailable` with the end of its log when it ends or does not answer.
 */
export async function startDaemon(o: DaemonStart): Promise<void> {
  const folders = foldersOf(o.dir, o.name);
  // The extra environment is the daemon's alone: a shifted clock must not reach the programs that start it.
  const extra = Object.entries(o.env).map(([name, value]) => `${name}=${value}`);
  const daemon = [
    "env",
    ...extra,
    ...o.program,
    "daemon",
    ...["--data-root", folders.data, "--exec-root", "/run/skep", "--pidfile", "/run/skep.pid"],
    ...["--host", `unix://${folders.socket}`],
    // A registry in the lab needs no certificate: nobody else can reach it.
    ...["--insecure-registry", labNetwork],
    ...(o.flags ?? []),
  ];
  // The inner shell leaves the daemon to the host's first process, which is its parent from then on.
  const script = 'cd /; log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null &';
  const marks = { [idVariable]: o.id, [partVariable]: `daemon ${o.name}` };
  await runWell([...enter(o.initPid), "sh", "-c", script, "sh", folders.log, ...daemon], {
    env: { ...process.env, ...marks },
  });
  let missed = 0;
  const state = await until(readyWithinMs, async () => {
    if (await ping(folders.socket)) return "ready";
    missed = hostDaemon(o.id, o.name) === undefined ? missed + 1 : 0;
    return missed >= looksMin ? "ended" : undefined;
  });
  if (state !== "ready") {
    const what = state === "ended" ? "ended" : "does not answer";
    throw new ClusterError(
      "unavailable",
      `the daemon of ${o.name} ${what}:\n${lastLines(folders.log)}`,
    );
  }
}

/** The words that run what follows them inside a host. */
export function enter(initPid: number): string[] {
  return ["nsenter", "--target", String(initPid), "--mount", "--net", "--pid", "--uts", "--ipc"];
}

/** Cuts the power of a host: every process in it ends at once, unasked. Fine when it is off. */
export async function killHost(id: string, name: string): Promise<void> {
  const parts = new Set([`host ${name}`, `daemon ${name}`]);
  const init = hostInit(id, name);
  // The kernel ends the processes one after the other: a daemon that is still there would note the end of a container,
  // which a machine without power does not.
  for (const found of processesOf(id)) {
    if (parts.has(found.part) && !found.isInit) signal(found.pid, "SIGSTOP");
  }
  if (init !== undefined) signal(init.pid, "SIGKILL");
  await gone(id, parts);
}

/** Ends the daemon alone and waits for its end; fine when it does not run. */
export async function endDaemon(
  id: string,
  name: string,
  how: "SIGKILL" | "SIGTERM",
): Promise<void> {
  const daemon = hostDaemon(id, name);
  if (daemon === undefined) return;
  signal(daemon.pid, how);
  // A child that it was about to make another program of may outlive it for a moment.
  const ended = await until(
    goneWithinMs,
    () => (!isThere(daemon.pid) && hostDaemon(id, name) === undefined) || undefined,
  );
  if (ended === undefined) {
    throw new ClusterError(
      "deadline-exceeded",
      `the daemon of ${name} did not end within ${goneWithinMs} ms`,
    );
  }
}

/** Kills whatever is left of these parts until nothing is; `undefined` means the whole playground. */
export async function gone(id: string, parts?: ReadonlySet<string>): Promise<void> {
  let missed = 0;
  const ended = await until(goneWithinMs, () => {
    const left = processesOf(id).filter((found) => parts === undefined || parts.has(found.part));
    for (const found of left) signal(found.pid, "SIGKILL");
    missed = left.length === 0 ? missed + 1 : 0;
    return missed >= looksMin || undefined;
  });
  if (ended === undefined) {
    throw new ClusterError("deadline-exceeded", "some processes of the playground do not end");
  }
}
