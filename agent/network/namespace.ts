/**
 * Network namespaces that are kept by a file: made, entered and removed, and programs run in them.
 *
 * Through koffi where it loads: then the main thread steps into the namespace for the moment in which it starts a program,
 * writes a setting or opens a socket, and back. Otherwise through `unshare` and `nsenter`. All calls of the C library for the
 * network are here.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { networkCommandMs } from "../../src/common/limits/network.ts";

/** Flag of a network namespace for unshare and setns. */
const cloneNewNet = 0x40000000;
const mountBind = 4096;
const unmountDetach = 2;
const ownNamespace = "/proc/self/ns/net";
const execute = promisify(execFile);

/** What is called of the C library; each returns 0, or -1 with the error left in `errno`. */
interface Library {
  unshare(flags: number): number;
  setns(fd: number, type: number): number;
  mount(source: string, target: string, type: string, flags: number, data: null): number;
  umount2(target: string, flags: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  recv(fd: number, buffer: Uint8Array, length: number, flags: number): number;
  close(fd: number): number;
  errno(): number;
}

/** A socket on which the kernel tells of changes. */
export interface Netlink {
  /** What came next; undefined when nothing has, `lost` when there was more than it keeps. Never waits. */
  read(): Uint8Array | "lost" | undefined;
  close(): void;
}

let library: Library | null | undefined;

/** How a program ended. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Settings before there are devices. Addresses are given by us, so that nobody else has them: the kernel does not look for
 * others with the same. While it does, for a second after a bridge has its first port, it asks for nobody's hardware address.
 */
const firstSettings = [["net/ipv6/conf/default/accept_dad", "0"]] as const;

/** Makes a new namespace that the file keeps. @throws Error when the kernel or the file system refuses. */
export async function makeNamespace(file: string): Promise<void> {
  mkdirSync(dirname(file), { recursive: true, mode: 0o711 });
  writeFileSync(file, "", { mode: 0o444 });
  await makeKept(file);
  await writeSettings(file, firstSettings);
}

async function makeKept(file: string): Promise<void> {
  const c = loaded();
  if (c === null) {
    await execute("unshare", [`--net=${file}`, "true"]);
    return;
  }
  const home = openSync(ownNamespace, "r");
  try {
    if (c.unshare(cloneNewNet) !== 0) throw failed(c, `cannot make the network namespace ${file}`);
    const kept = c.mount(ownNamespace, file, "", mountBind, null);
    const error = c.errno();
    goHome(c, home);
    if (kept !== 0) throw new Error(`cannot keep the network namespace ${file}: error ${error}`);
  } finally {
    closeSync(home);
  }
}

/** Lets a namespace go; it ends with the last process in it. Fine when there is none. */
export async function removeNamespace(file: string): Promise<void> {
  if (isNamespace(file)) {
    const c = loaded();
    if (c === null) await execute("umount", ["-n", "-l", file]);
    else if (c.umount2(file, unmountDetach) !== 0) throw failed(c, `cannot unmount ${file}`);
  }
  rmSync(file, { force: true });
}

/** Type of the file system that namespaces are files of; linux/magic.h. */
const namespaceFiles = 0x6e736673;

/** Whether the file keeps a namespace now. */
export function isNamespace(file: string): boolean {
  try {
    return statfsSync(file).type === namespaceFiles;
  } catch {
    return false; // There is no such file.
  }
}

/** Whether `within` works here. */
export function canEnter(): boolean {
  return loaded() !== null;
}

/**
 * Does something in a namespace, at once: what it opens or starts belongs to that. It must not return a promise.
 *
 * @throws ClusterError unavailable where there is no way to enter one; what the work throws.
 */
export function within<T>(file: string, work: () => T): T {
  const c = loaded();
  if (c === null) {
    throw new ClusterError(
      "unavailable",
      "network namespaces cannot be entered: koffi does not load",
    );
  }
  const home = openSync(ownNamespace, "r");
  try {
    const target = openSync(file, "r");
    const entered = c.setns(target, cloneNewNet);
    const error = c.errno();
    closeSync(target);
    if (entered !== 0)
      throw new Error(`cannot enter the network namespace ${file}: error ${error}`);
    try {
      return work();
    } finally {
      goHome(c, home);
    }
  } finally {
    closeSync(home);
  }
}

const netlinkFamily = 16;
/** SOCK_RAW, SOCK_CLOEXEC and SOCK_NONBLOCK. */
const netlinkType = 3 | 0o2000000 | 0o4000;
const noBufferSpace = 105;
/** The kernel fits each piece it gives into this. */
const netlinkBytes = 65_536;

/**
 * Listens to groups of a protocol of netlink in a namespace; the daemon's own when `file` is undefined.
 *
 * @param o.groups Bits, the first is group 1. @returns Undefined where that cannot be.
 */
export function openNetlink(
  file: string | undefined,
  o: { readonly protocol: number; readonly groups: number },
): Netlink | undefined {
  const c = loaded();
  if (c === null) return undefined;
  const open = () => c.socket(netlinkFamily, netlinkType, o.protocol);
  const fd = file === undefined ? open() : within(file, open);
  if (fd < 0) return undefined;
  const address = Buffer.alloc(12);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = netlinkFamily;
  new Uint32Array(address.buffer, address.byteOffset, 3)[2] = o.groups;
  if (c.bind(fd, address, address.length) !== 0) {
    c.close(fd);
    return undefined;
  }
  const buffer = Buffer.alloc(netlinkBytes);
  return {
    read: () => {
      const length = c.recv(fd, buffer, buffer.length, 0);
      if (length > 0) return buffer.subarray(0, length);
      return length < 0 && c.errno() === noBufferSpace ? "lost" : undefined;
    },
    close: () => void c.close(fd),
  };
}

/** A daemon in the wrong namespace would do all it does next to the wrong network. */
function goHome(c: Library, home: number): void {
  if (c.setns(home, cloneNewNet) !== 0) process.abort();
}

/** What a command runs with. */
export interface CommandOptions {
  /** Namespace to run in; the node's own when undefined. */
  readonly file?: string | undefined;
  /** Its standard input. */
  readonly input?: string;
}

/** Runs a program to its end, whatever its exit code is. @throws ClusterError unavailable when it cannot be started. */
export async function command(
  words: readonly string[],
  { file, input = "" }: CommandOptions = {},
): Promise<CommandResult> {
  const start = (all: readonly string[]) => {
    const [program = "", ...rest] = all;
    return spawn(program, rest, { stdio: ["pipe", "pipe", "pipe"], timeout: networkCommandMs });
  };
  if (file === undefined) return finished(start(words), words, input);
  if (canEnter())
    return finished(
      within(file, () => start(words)),
      words,
      input,
    );
  return finished(start(["nsenter", `--net=${file}`, ...words]), words, input);
}

function finished(
  child: ChildProcess,
  words: readonly string[],
  input: string,
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.once("error", (error) => {
      const message = `${words[0]} cannot be started: ${error.message}`;
      reject(new ClusterError("unavailable", message, { cause: error }));
    });
    child.once("close", (code) => resolve({ code: code ?? -1, stdout, stderr }));
    // One that ended before it read everything says why on its standard error.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

/** Writes kernel settings in a namespace, such as `net/ipv4/ip_forward`. Those that the kernel lacks are left out. */
export async function writeSettings(
  file: string | undefined,
  settings: Iterable<readonly [path: string, value: string]>,
): Promise<void> {
  if (file === undefined) return writeAll(settings);
  if (canEnter()) return within(file, () => writeAll(settings));
  for (const [path, value] of settings) {
    await command(["sysctl", "-q", "-e", "-w", `${path}=${value}`], { file });
  }
}

function writeAll(settings: Iterable<readonly [path: string, value: string]>): void {
  for (const [path, value] of settings) {
    try {
      writeFileSync(`/proc/sys/${path}`, value);
    } catch (error) {
      const isAbsent = error instanceof Error && "code" in error && error.code === "ENOENT";
      if (!isAbsent) throw error;
    }
  }
}

/** Reads kernel settings in a namespace; those that the kernel lacks are left out. */
export async function readSettings(
  file: string | undefined,
  paths: readonly string[],
): Promise<Map<string, string>> {
  if (file === undefined) return readAll(paths);
  if (canEnter()) return within(file, () => readAll(paths));
  const found = new Map<string, string>();
  for (const path of paths) {
    const { code, stdout } = await command(["sysctl", "-n", path], { file });
    if (code === 0) found.set(path, stdout.trim());
  }
  return found;
}

function readAll(paths: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const path of paths) {
    try {
      found.set(path, readFileSync(`/proc/sys/${path}`, "utf8").trim());
    } catch {
      // The kernel lacks it, or its device is gone.
    }
  }
  return found;
}

function failed(c: Library, what: string): Error {
  return new Error(`${what}: error ${c.errno()}`);
}

function loaded(): Library | null {
  if (library === undefined) library = load();
  return library;
}

/** Only when it is first needed: a daemon without containers does without. */
function load(): Library | null {
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    const c = koffi.load("libc.so.6");
    return {
      unshare: c.func("int unshare(int flags)"),
      setns: c.func("int setns(int fd, int type)"),
      mount: c.func(
        "int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)",
      ),
      umount2: c.func("int umount2(const char *target, int flags)"),
      socket: c.func("int socket(int domain, int type, int protocol)"),
      bind: c.func("int bind(int fd, const void *address, uint32_t length)"),
      recv: c.func("int64_t recv(int fd, void *buffer, size_t length, int flags)"),
      close: c.func("int close(int fd)"),
      errno: () => koffi.errno(),
    };
  } catch {
    return null; // Not built for this machine: the commands do.
  }
}
