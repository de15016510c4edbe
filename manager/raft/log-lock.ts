/**
 * Keeps a second opener out of a folder, in this process (another worker thread) or in another one.
 *
 * The data root has a lock of its own (`src/node/instance-lock.ts`), but threads of one daemon share that. Node offers no
 * `flock`, so the lock is a file that its holder keeps open, which the kernel shows in `/proc/<pid>/fd`. Nothing can be
 * left behind: files are closed with the thread or the process, however that ends. A program that this process is about to
 * start has its open files for a moment, and may have got the number of a holder that is gone: it is not one. Both open
 * before they look, so of two at once both may be refused, but never both be let in; the process id in the file, by which another process is found, may be
 * a moment late, which is the data root's lock's to hold.
 */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** A folder that is held. */
export interface FolderLock {
  release(): Promise<void>;
}

const lockName = "lock";
const pidDigits = 10;

/**
 * Takes the folder at `path`, which must be there.
 *
 * @param proc Where the kernel lists processes.
 * @throws ClusterError unavailable while somebody else holds it.
 */
export async function lockFolder(path: string, proc = "/proc"): Promise<FolderLock> {
  const name = join(path, lockName);
  const file = await open(name, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const named = await readPid(file);
    for (const pid of new Set([process.pid, named])) {
      if (pid === undefined || !(await holds(pid, file, proc))) continue;
      // One that has become a program meanwhile holds it no longer.
      if ((await isOwnFork(pid, proc)) || !(await holds(pid, file, proc))) continue;
      throw new ClusterError(
        "unavailable",
        `${path} is in use by ${pid === process.pid ? "this process" : `process ${pid}`}`,
      );
    }
    if (named !== process.pid) await writePid(file);
    return { release: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Whether a process has the lock file open, apart from `own`. */
async function holds(pid: number, own: FileHandle, proc: string): Promise<boolean> {
  const { dev, ino } = await own.stat();
  const folder = join(proc, String(pid), "fd");
  for (const fd of await namesIn(folder)) {
    if (pid === process.pid && fd === String(own.fd)) continue;
    const link = join(folder, fd);
    try {
      if (!(await readlink(link)).endsWith(`/${lockName}`)) continue;
      const found = await stat(link);
      if (found.dev === dev && found.ino === ino) return true;
    } catch {
      // Closed in the meantime.
    }
  }
  return false;
}

/** Whether it is a child of this process that is no program of its own yet. */
async function isOwnFork(pid: number, proc: string): Promise<boolean> {
  const text = (name: string) => readFile(join(proc, name), "utf8").catch(() => "");
  const stat = await text(`${pid}/stat`);
  const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (Number(parent) !== process.pid) return false;
  return (await text(`${pid}/cmdline`)) === (await text(`${process.pid}/cmdline`));
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    // The process is gone.
    return [];
  }
}

async function readPid(file: FileHandle): Promise<number | undefined> {
  const bytes = Buffer.alloc(pidDigits);
  await file.read(bytes, 0, pidDigits, 0);
  const pid = Number(bytes.toString("latin1"));
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

async function writePid(file: FileHandle): Promise<void> {
  try {
    await file.write(String(process.pid).padStart(pidDigits), 0);
  } catch {
    // The disk is full: this process's own threads are kept out all the same.
  }
}
