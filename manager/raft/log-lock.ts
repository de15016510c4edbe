/**
 * Keeps a second opener out of a folder, in this process (another worker thread) or in another one.
 *
 * The data root has a lock of its own (`src/node/instance-lock.ts`), but threads of one daemon share that. Node offers no
 * `flock`, so the lock is a file that its holder keeps open, which the kernel shows in `/proc/<pid>/fd`. Nothing can be
 * left behind: files are closed with the thread or the process, however that ends. Both open before they look, so of two at
 * once both may be refused, but never both be let in; the process id in the file, by which another process is found, may be
 * a moment late, which is the data root's lock's to hold.
 */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, readlink, stat } from "node:fs/promises";
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
 * @throws ClusterError failed-precondition when somebody else holds it.
 */
export async function lockFolder(path: string): Promise<FolderLock> {
  const name = join(path, lockName);
  const file = await open(name, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const named = await readPid(file);
    for (const pid of new Set([process.pid, named])) {
      if (pid === undefined || !(await holds(pid, file))) continue;
      throw new ClusterError(
        "failed-precondition",
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
async function holds(pid: number, own: FileHandle): Promise<boolean> {
  const { dev, ino } = await own.stat();
  const folder = `/proc/${pid}/fd`;
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
