/**
 * Makes a tar stream of a file or folder of a container: `docker cp` out of it, and `docker export`.
 */
import { closeSync, constants, lstatSync, readdirSync, readlinkSync, type Stats } from "node:fs";
import { open } from "node:fs/promises";
import { type Header, type Pack, pack } from "tar-stream";
import { childOf, openChild } from "./container-path.ts";

const blockBytes = 256 * 1024;

type EntryHeader = Partial<Header> & Pick<Header, "name">;

interface Walk {
  readonly tar: Pack;
  /** First names of files with several, by device and inode. */
  readonly names: Map<string, string>;
  readonly signal: AbortSignal;
}

/** Where to begin, and how it is called in the archive. */
export interface ArchiveStart {
  /** Path for system calls of this process; a folder's leads into it. */
  readonly access: string;
  readonly stats: Stats;
  /** Empty for a root, whose entries then begin with a slash; undefined for what is in a folder without the folder. */
  readonly name: string | undefined;
}

/** The archive; when its reader stops, so does the walk. `ended` is called once, at the end of either. */
export async function* archiveOf(
  start: ArchiveStart,
  o: { openFolder: () => number; ended: () => Promise<void> },
): AsyncGenerator<Uint8Array, void, void> {
  const tar = pack();
  const stop = new AbortController();
  const walk: Walk = { tar, names: new Map(), signal: stop.signal };
  const writing = write(walk, start, o.openFolder).then(
    () => tar.finalize(),
    (error) => tar.destroy(error),
  );
  try {
    yield* tar as AsyncIterable<Uint8Array>;
  } finally {
    stop.abort();
    tar.destroy();
    await writing;
    await o.ended();
  }
}

async function write(walk: Walk, start: ArchiveStart, openFolder: () => number): Promise<void> {
  const { access, name, stats } = start;
  if (!stats.isDirectory()) {
    await entry(walk, access, name ?? "", stats);
    return;
  }
  if (name !== undefined) await entry(walk, access, `${name}/`, stats);
  const folder = openFolder();
  try {
    await children(walk, folder, name === undefined ? "" : `${name}/`);
  } finally {
    closeSync(folder);
  }
}

async function children(walk: Walk, folder: number, before: string): Promise<void> {
  // In order, so that the same files give the same archive.
  for (const child of readdirSync(childOf(folder, ".")).sort()) {
    if (walk.signal.aborted) return;
    const path = `${before}${child}`;
    let inner: number | undefined;
    try {
      const stats = lstatSync(childOf(folder, child));
      await entry(walk, childOf(folder, child), stats.isDirectory() ? `${path}/` : path, stats);
      if (!stats.isDirectory()) continue;
      inner = openChild(folder, child);
      await children(walk, inner, `${path}/`);
    } catch (error) {
      // Removed, or made something else, since the folder was listed.
      if (!["ENOENT", "ENOTDIR", "ELOOP"].includes((error as { code?: string }).code ?? "")) {
        throw error;
      }
    } finally {
      if (inner !== undefined) closeSync(inner);
    }
  }
}

async function entry(walk: Walk, access: string, name: string, stats: Stats): Promise<void> {
  const header: EntryHeader = {
    name,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtime: stats.mtime,
    size: 0,
    ...(isHuge(stats) && { pax: hugeIds(stats) }),
  };
  const key = `${stats.dev}:${stats.ino}`;
  const first = stats.nlink > 1 && !stats.isDirectory() ? walk.names.get(key) : undefined;
  if (first !== undefined) return put(walk, { ...header, type: "link", linkname: first });
  if (stats.nlink > 1) walk.names.set(key, name);
  switch (stats.mode & constants.S_IFMT) {
    case constants.S_IFDIR:
      return put(walk, { ...header, type: "directory" });
    case constants.S_IFLNK:
      return put(walk, { ...header, type: "symlink", linkname: readlinkSync(access) });
    case constants.S_IFIFO:
      return put(walk, { ...header, type: "fifo" });
    case constants.S_IFCHR:
    case constants.S_IFBLK:
      return put(walk, { ...header, ...device(stats) });
    case constants.S_IFREG:
      return file(walk, access, { ...header, type: "file", size: stats.size });
    default:
      return; // A socket cannot be in an archive.
  }
}

function device(stats: Stats): Partial<EntryHeader> {
  const isBlock = stats.isBlockDevice();
  const major = ((stats.rdev >> 8) & 0xfff) | 0;
  const minor = (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00);
  return { type: isBlock ? "block-device" : "character-device", devmajor: major, devminor: minor };
}

/** The old form of the archive has no room for larger ones. */
const idMax = 0o7777777;

function isHuge(stats: Stats): boolean {
  return stats.uid > idMax || stats.gid > idMax;
}

function hugeIds(stats: Stats): Record<string, string> {
  return {
    ...(stats.uid > idMax && { uid: String(stats.uid) }),
    ...(stats.gid > idMax && { gid: String(stats.gid) }),
  };
}

function put(walk: Walk, header: EntryHeader): Promise<void> {
  return new Promise((resolve, reject) => {
    walk.tar.entry(header, "", (error) => (error ? reject(error) : resolve()));
  });
}

/** A file may grow or shrink while it is read: it is cut or filled up, as the archive says first how long it is. */
async function file(walk: Walk, access: string, header: EntryHeader): Promise<void> {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
  const handle = await open(access, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    let missing = header.size ?? 0;
    const ended = new Promise<void>((resolve, reject) => {
      const sink = walk.tar.entry(header, (error) => (error ? reject(error) : resolve()));
      const copy = async () => {
        while (missing > 0 && !walk.signal.aborted) {
          const block = Buffer.allocUnsafe(Math.min(blockBytes, missing));
          const { bytesRead } = await handle.read(block, 0, block.length);
          const data = bytesRead > 0 ? block.subarray(0, bytesRead) : block.fill(0);
          missing -= data.length;
          if (!sink.write(data)) await drained(sink, walk.signal);
        }
        if (missing === 0) sink.end(null);
        else sink.destroy(new Error("given up"));
      };
      copy().catch(reject);
    });
    await ended;
  } finally {
    await handle.close();
  }
}

type Sink = ReturnType<Pack["entry"]>;

function drained(sink: Sink, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener("abort", done);
      sink.off("drain", done);
      sink.off("close", done);
      resolve();
    };
    sink.once("drain", done);
    sink.once("close", done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}
