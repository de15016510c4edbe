/**
 * The leak check: what is on the whole machine now, and what a run of the suites left behind on it.
 *
 * Looks at the machine itself and never at our own records, so that it sees what our clean-up does not know of. Lines of
 * kinds that others may not lose either (links, mounts, rules, …) also count when they are gone afterwards. Zombies are
 * left out: they hold nothing, and when they go is up to the machine's first process.
 *
 * On a machine where others work at the same time, set `SKEP_SHARED_MACHINE=1`: then only processes that descend from
 * this run count, of control groups only Skep's, and namespaces and temporary files do not. Continuous integration runs without it.
 */
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./wait.ts";

/** What is there, as lines per kind. */
export type MachineState = Readonly<Record<Kind, ReadonlySet<string>>>;

type Kind =
  | "process"
  | "namespace"
  | "link"
  | "mount"
  | "loop"
  | "nft"
  | "iptables"
  | "cgroup"
  | "binfmt"
  | "run"
  | "temporary";

const shared = process.env["SKEP_SHARED_MACHINE"] === "1";
/** Inherited by every process this run starts, so that they can be told from those of others. */
const runMark = process.env["SKEP_TEST_RUN"] ?? randomUUID();
process.env["SKEP_TEST_RUN"] = runMark;

const readers: Readonly<Record<Kind, () => string[]>> = {
  process: processes,
  namespace: namespaces,
  link: () => namesIn("/sys/class/net"),
  mount: mounts,
  loop: () => loopFilesBelow("/"),
  nft: () => output("nft", ["-s", "list", "ruleset"]),
  iptables: () => [...rules("iptables-save"), ...rules("ip6tables-save")],
  cgroup: () =>
    tree("/sys/fs/cgroup", { foldersOnly: true }).filter(
      // Others' sessions and services come and go.
      (path) => !shared || path.includes("/skep/"),
    ),
  binfmt: () => namesIn("/proc/sys/fs/binfmt_misc"),
  run: () => tree("/run", { foldersOnly: false }),
  temporary: () => [
    ...namesIn(tmpdir()).filter((name) => name.startsWith("skep")),
    ...namesIn("/dev/shm"),
  ],
};

/** Processes and namespaces of others may end at any time; of the rest nothing may be gone afterwards. */
const mayGo: ReadonlySet<string> = new Set(["process", "namespace", "temporary", "loop"]);

/** On a shared machine these change all the time without our doing. */
const othersTouch: ReadonlySet<string> = new Set(["namespace", "temporary", "loop"]);

/** The machine as it is now. Takes about a tenth of a second. */
export function machineState(): MachineState {
  const entries = Object.entries(readers).map(([kind, read]) => [
    kind,
    new Set(shared && othersTouch.has(kind) ? [] : read()),
  ]);
  return Object.fromEntries(entries) as MachineState;
}

/**
 * Differences as lines such as `link: skep-a1`, or `gone mount: …`; empty when nothing was left behind.
 *
 * @param withOthers Whether others work on the machine: they take away what is theirs, so that nothing counts as gone.
 */
export function difference(
  before: MachineState,
  after: MachineState,
  withOthers = shared,
): string[] {
  const lines: string[] = [];
  for (const kind of Object.keys(readers) as Kind[]) {
    for (const line of after[kind]) if (!before[kind].has(line)) lines.push(`${kind}: ${line}`);
    if (withOthers || mayGo.has(kind)) continue;
    for (const line of before[kind])
      if (!after[kind].has(line)) lines.push(`gone ${kind}: ${line}`);
  }
  return lines;
}

/**
 * The differences that are still there after `waitMs`: the kernel takes namespaces and links down behind our back.
 *
 * @param options.ours Parents of this run's control groups: on a shared machine those below others are not its own.
 */
export async function leftBehind(
  before: MachineState,
  options: { waitMs: number; ours?: readonly string[] },
): Promise<string[]> {
  const { ours } = options;
  let lines: string[] = [];
  await until(
    () => {
      lines = difference(before, machineState()).filter((line) => !isOfOthers(line, ours));
      return lines.length === 0;
    },
    { withinMs: options.waitMs, everyMs: 250, what: "the machine is as before" },
  ).catch(() => undefined); // The lines say what is left; that the wait ran out is no further news.
  return lines;
}

function isOfOthers(line: string, ours: readonly string[] | undefined): boolean {
  if (!shared || ours === undefined || !line.startsWith("cgroup: ")) return false;
  return !ours.some((parent) => line.includes(parent));
}

function processes(): string[] {
  const lines: string[] = [];
  const own = ancestors();
  for (const pid of pids()) {
    const stat = statOf(pid);
    if (stat === undefined || stat.zombie || stat.kernelThread || own.has(pid)) continue;
    if (shared && !text(`/proc/${pid}/environ`).includes(`SKEP_TEST_RUN=${runMark}`)) continue;
    const words = text(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
    lines.push(`${pid} started at ${stat.startTicks}: ${words.slice(0, 200)}`);
  }
  return lines;
}

/** This process and those above it, which were there before and go on afterwards. */
function ancestors(): Set<number> {
  const found = new Set<number>();
  let pid = process.pid;
  while (pid > 0 && !found.has(pid)) {
    found.add(pid);
    pid = statOf(pid)?.parent ?? 0;
  }
  return found;
}

function statOf(pid: number) {
  const stat = text(`/proc/${pid}/stat`);
  if (stat === "") return undefined;
  // The name, in brackets, may hold anything; the fields after it are numbered from 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const flags = Number(fields[6]);
  return {
    parent: Number(fields[1]),
    zombie: fields[0] === "Z" || fields[0] === "X",
    kernelThread: (flags & 0x00200000) !== 0,
    startTicks: Number(fields[19]),
  };
}

function namespaces(): string[] {
  const found = new Set<string>();
  for (const pid of pids()) {
    const threads = namesIn(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}/ns`);
    for (const folder of threads) {
      for (const name of namesIn(folder)) {
        const target = linkTarget(join(folder, name));
        if (target !== undefined) found.add(target);
      }
    }
  }
  for (const line of mounts()) {
    const held = line.match(/\b(?:net|mnt|pid|uts|ipc|user|cgroup|time):\[\d+\]/)?.[0];
    if (held !== undefined) found.add(held);
  }
  return [...found];
}

function mounts(): string[] {
  return text("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [, , , root, point] = line.split(" ");
      const [type, source] = line.slice(line.indexOf(" - ") + 3).split(" ");
      return `${point} ${type} ${source} ${root}`;
    });
}

/** Files below a folder that are behind loop devices. */
export function loopFilesBelow(folder: string): string[] {
  return namesIn("/sys/block")
    .filter((name) => name.startsWith("loop"))
    .map((name) => text(`/sys/block/${name}/loop/backing_file`).trim())
    .filter((path) => path.startsWith(folder));
}

function rules(command: string): string[] {
  return output(command, [])
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.replace(/\[\d+:\d+\]/, ""));
}

function tree(folder: string, options: { foldersOnly: boolean }): string[] {
  const found: string[] = [];
  const visit = (path: string) => {
    for (const entry of entriesIn(path)) {
      const inner = join(path, entry.name);
      if (entry.isDirectory() || !options.foldersOnly) found.push(inner);
      if (entry.isDirectory()) visit(inner);
    }
  };
  visit(folder);
  return found;
}

function entriesIn(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // Gone since its parent was listed, or never there on this machine.
    return [];
  }
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? entriesIn(folder).map((entry) => entry.name) : [];
}

function pids(): number[] {
  return namesIn("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // The process has ended since it was listed.
    return "";
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    // The thread has ended since it was listed.
    return undefined;
  }
}

function output(command: string, args: readonly string[]): string[] {
  try {
    const out = execFileSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return out.split("\n").filter((line) => line.trim() !== "");
  } catch {
    // Not installed, or the kernel lacks it: then nothing of that kind can be left behind.
    return [];
  }
}
