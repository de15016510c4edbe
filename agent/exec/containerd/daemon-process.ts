/**
 * The process of our containerd: its configuration file, how it is started, and how one that runs already is found again.
 *
 * It is detached and keeps running when the daemon dies. Its process id is kept in a file with its start time, so that a
 * number that was given away again is not taken for it.
 */
import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import { seeingPrograms } from "./program-view.ts";

/** Where one containerd has its things. */
export interface ContainerdPlaces {
  /** Holds `root`, the configuration, its log and its process id. */
  readonly folder: string;
  /** What it and its shims keep of containers that run: worth nothing after a boot, and best in memory. */
  readonly stateFolder: string;
  /** At most 101 bytes: its ttrpc socket beside it has six more. */
  readonly socketPath: string;
}

/** How to start it. */
export interface ContainerdProgram {
  /** Name or path of the program. */
  readonly program: string;
  /** A mount that containerd and all it starts must not see; see `cgroups.ts`. */
  readonly hiddenMount: string | undefined;
  /** Where runtimes are found before others; see `program-view.ts`. */
  readonly programsFolder?: string;
}

/** A running containerd. */
export interface ContainerdProcess {
  readonly pid: number;
  /** Whether it had been started before this daemon was. */
  readonly adopted: boolean;
  isRunning(): boolean;
  signal(name: "SIGTERM" | "SIGKILL"): void;
  /** Resolves when it has ended; an adopted one has to be asked now and then by `isRunning`. */
  readonly ended: Promise<void> | undefined;
}

const socketPathBytesMax = 101;

/** Folder of its state with a folder for each namespace, and in that one for each container that runs. */
export const bundlesFolder = "io.containerd.runtime.v2.task";

/** Path of the file it logs to. */
export function containerdLog(places: ContainerdPlaces): string {
  return join(places.folder, "containerd.log");
}

/**
 * Starts containerd.
 *
 * @throws ClusterError unavailable that says what is missing.
 */
export async function spawnContainerd(
  places: ContainerdPlaces,
  how: ContainerdProgram,
): Promise<ContainerdProcess> {
  if (Buffer.byteLength(places.socketPath) > socketPathBytesMax) {
    throw new ClusterError(
      "unavailable",
      `${places.socketPath} is too long for containerd's sockets: choose a shorter --exec-root`,
    );
  }
  mkdirSync(places.folder, { recursive: true, mode: 0o711 });
  mkdirSync(dirname(places.socketPath), { recursive: true, mode: 0o711 });
  const config = configPath(places);
  writeFileSync(config, configText(places), { mode: 0o600 });
  const log = openSync(containerdLog(places), "a", 0o600);
  try {
    const words = [how.program, "--config", config];
    const [program = "", ...args] =
      how.hiddenMount === undefined ? words : withoutMount(how.hiddenMount, words);
    const child = spawn(program, args, {
      cwd: "/",
      detached: true,
      stdio: ["ignore", log, log],
      env: environment(how.programsFolder),
    });
    const ended = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    });
    const pid = await new Promise<number>((resolve, reject) => {
      child.once("error", (error) => reject(notStarted(how.program, error)));
      child.once("spawn", () => resolve(child.pid ?? 0));
    });
    // The daemon's end must not wait for it.
    child.unref();
    const started = startTime(pid);
    writeWhole(pidPath(places), `${pid} ${started ?? ""}\n`);
    return processOf(pid, started, ended);
  } finally {
    closeSync(log);
  }
}

/** The containerd of these places that runs already, if any. */
export function findContainerd(places: ContainerdPlaces): ContainerdProcess | undefined {
  const [pidText, started] = readText(pidPath(places)).trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  if (started === undefined || started === "" || startTime(pid) !== started) return undefined;
  const words = readText(`/proc/${pid}/cmdline`).split("\0");
  return words.includes(configPath(places)) ? processOf(pid, started, undefined) : undefined;
}

function processOf(
  pid: number,
  started: string | undefined,
  ended: Promise<void> | undefined,
): ContainerdProcess {
  const isRunning = () => started !== undefined && startTime(pid) === started;
  return {
    pid,
    adopted: ended === undefined,
    isRunning,
    signal: (name) => {
      if (isRunning()) process.kill(pid, name);
    },
    ended,
  };
}

function configPath(places: ContainerdPlaces): string {
  return join(places.folder, "config.toml");
}

function pidPath(places: ContainerdPlaces): string {
  return join(places.folder, "containerd.pid");
}

/**
 * What is disabled is of no use here, or would act behind our back: `restart` starts labelled containers. Not
 * `io.containerd.runtime.v1.linux`: without it the tasks of 1.6 do not load.
 */
const disabledPlugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
];

/**
 * Where an earlier version of Skep had it keep them, beside its lasting data: there each start waited for the disk, as shims
 * write some of their files through. What runs from there is left there.
 *
 * @returns The places, with that folder while it is in use; it is removed once it is not.
 */
export function withEarlierState(places: ContainerdPlaces): ContainerdPlaces {
  const earlier = { ...places, stateFolder: join(places.folder, "state") };
  if (!existsSync(earlier.stateFolder) || removeState(earlier)) return places;
  return earlier;
}

/** Removes its state unless something runs: where a container has its bundle its file system may be mounted. */
export function removeState(places: ContainerdPlaces): boolean {
  if (findContainerd(places) !== undefined) return false;
  const bundles = join(places.stateFolder, bundlesFolder);
  for (const namespace of namesIn(bundles))
    if (namesIn(join(bundles, namespace)).length > 0) return false;
  rmSync(places.stateFolder, { recursive: true, force: true });
  return true;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // It was never made.
    return [];
  }
}

function configText({ folder, stateFolder, socketPath }: ContainerdPlaces): string {
  // JSON strings are TOML basic strings.
  const text = (value: string) => JSON.stringify(value);
  return `# Written by skep at each start of containerd; changes are lost.
version = 2
root = ${text(join(folder, "root"))}
state = ${text(stateFolder)}
oom_score = -500
disabled_plugins = [${disabledPlugins.map(text).join(", ")}]

[grpc]
  address = ${text(socketPath)}

[debug]
  level = "warn"
`;
}

/** The program in a mount namespace of its own, which mounts made later reach, without one of the mounts. */
export function withoutMount(path: string, words: readonly string[]): string[] {
  const script = 'umount -n "$1" && shift && exec "$@"';
  return [
    "unshare",
    "--mount",
    "--propagation",
    "slave",
    "sh",
    "-c",
    script,
    "skep-containerd",
    path,
    ...words,
  ];
}

/** Runtimes live in sbin, which a user's path may lack; a service manager's sockets are for the daemon alone. */
function environment(programsFolder: string | undefined): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _notify, LISTEN_FDS: _fds, LISTEN_PID: _pid, ...rest } = process.env;
  const folders = (rest["PATH"] ?? "").split(":").filter((folder) => folder !== "");
  for (const folder of ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"]) {
    if (!folders.includes(folder)) folders.push(folder);
  }
  const env = { ...rest, PATH: folders.join(":") };
  return programsFolder === undefined ? env : seeingPrograms(programsFolder, env);
}

function notStarted(program: string, error: unknown): ClusterError {
  const absent = error instanceof Error && "code" in error && error.code === "ENOENT";
  return new ClusterError(
    "unavailable",
    absent
      ? `${program} is not installed: install containerd and runc or crun on this node`
      : `${program} cannot be started: ${errorText(error)}`,
    { cause: error },
  );
}

/** Start time of a process in clock ticks since boot, as text; undefined when it is gone, or a zombie. */
function startTime(pid: number): string | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return stat === "" || state === "Z" || state === "X" ? undefined : fields[18];
}

function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent: there is none.
    return "";
  }
}
