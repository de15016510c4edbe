/**
 * Calls of the C library that Node has no function for: named pipes, devices, and holes in files.
 *
 * Through koffi where it loads, else through the commands of the machine, which take some milliseconds each.
 */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { createRequire } from "node:module";
import { promisify } from "node:util";

/** What is called of the C library; each returns 0, or -1 with the error left in `errno`. */
interface Library {
  mkfifo(path: string, mode: number): number;
  mknod(path: string, mode: number, device: number): number;
  fallocate64(fd: number, mode: number, offset: number, length: number): number;
  errno(): number;
}

let library: Library | null | undefined;

/** Keep the size, and give back the room. */
const punchHoleMode = 0x01 | 0x02;
const execute = promisify(execFile);

/**
 * Makes a named pipe that only root may open.
 *
 * @throws Error when it cannot be made.
 */
export async function makeFifo(path: string): Promise<void> {
  const c = loaded();
  if (c === null) {
    await execute("mkfifo", ["-m", "600", path.replace("/self/", `/${process.pid}/`)]);
    return;
  }
  if (c.mkfifo(path, 0o600) !== 0) {
    throw new Error(`cannot make the pipe ${path}: error ${c.errno()}`);
  }
}

/**
 * Makes a device that only root may open.
 *
 * @throws Error when it cannot be made.
 */
export async function makeDevice(
  path: string,
  device: { readonly isBlock: boolean; readonly major: number; readonly minor: number },
): Promise<void> {
  const { isBlock, major, minor } = device;
  const c = loaded();
  if (c === null) {
    const others = path.replace("/self/", `/${process.pid}/`);
    await execute("mknod", ["-m", "600", others, isBlock ? "b" : "c", `${major}`, `${minor}`]);
    return;
  }
  const type = isBlock ? constants.S_IFBLK : constants.S_IFCHR;
  // Major and minor number share the bits the way the C library puts them.
  const number = (minor & 0xff) + (major & 0xfff) * 2 ** 8 + (minor >>> 8) * 2 ** 20;
  if (c.mknod(path, type | 0o600, number) !== 0) {
    throw new Error(`cannot make the device ${path}: error ${c.errno()}`);
  }
}

/** Gives back the room of a part of a file; false where the file system cannot. */
export async function punchHole(file: {
  fd: number;
  path: string;
  offset: number;
  length: number;
}): Promise<boolean> {
  const c = loaded();
  if (c !== null) return c.fallocate64(file.fd, punchHoleMode, file.offset, file.length) === 0;
  const range = ["--offset", String(file.offset), "--length", String(file.length)];
  return execute("fallocate", ["--punch-hole", ...range, file.path]).then(
    () => true,
    () => false,
  );
}

/** Whether koffi was needed and did not load. */
export function isWithoutLibraries(): boolean {
  return library === null;
}

function loaded(): Library | null {
  if (library === undefined) library = load();
  return library;
}

/** Only when it is first needed: it is 2 MB, and a daemon without containers does without. */
function load(): Library | null {
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    const c = koffi.load("libc.so.6");
    return {
      mknod: c.func("int mknod(const char *path, uint32_t mode, uint64_t device)"),
      mkfifo: c.func("int mkfifo(const char *path, uint32_t mode)"),
      fallocate64: c.func("int fallocate64(int fd, int mode, int64_t offset, int64_t length)"),
      errno: () => koffi.errno(),
    };
  } catch {
    return null; // Not built for this machine: the commands do.
  }
}
