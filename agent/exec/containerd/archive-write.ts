/**
 * Unpacks a tar stream into a folder of a container: `docker cp` into it.
 *
 * Each entry's way is walked by `container-path.ts`, so links in the container lead nowhere but into the container, and
 * names with `..` are refused.
 */
import {
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  type Stats,
  symlinkSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { type Extract, extract, type Header } from "tar-stream";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { type ContainerPlace, findPlace } from "./container-path.ts";
import { makeDevice, makeFifo } from "./ffi.ts";

/** How to unpack. */
export interface UnpackOptions {
  /** Neither replace a folder by something else nor the other way round. */
  readonly noOverwriteDirNonDir: boolean;
  /** Who owns what is made; as the archive says when undefined. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/** One entry: what it is, and its content. */
interface Entry extends AsyncIterable<Uint8Array> {
  readonly header: Header;
  resume(): void;
}

/** A folder's time is set last, as what is put into it changes it. */
interface FolderTime {
  readonly path: string;
  readonly mtime: Date;
}

/**
 * Unpacks everything into the folder at `path`.
 *
 * @throws ClusterError invalid-argument for an archive that is damaged, leads out, or may not overwrite.
 */
export async function unpack(
  root: number,
  path: string,
  tar: AsyncIterable<Uint8Array>,
  options: UnpackOptions,
): Promise<void> {
  const entries = extract();
  const folders: FolderTime[] = [];
  const feeding = feed(tar, entries);
  try {
    for await (const entry of entries as AsyncIterable<Entry>) {
      await unpackEntry(root, path, entry, options, folders);
      entry.resume();
    }
    await feeding;
  } catch (error) {
    entries.destroy(error instanceof Error ? error : new Error(String(error)));
    await feeding;
    throw asRefusal(error);
  }
  for (const folder of folders.reverse()) setFolderTime(root, folder);
}

/** Hands the stream on at the pace it is taken; a stream that breaks ends the entries with its error. */
async function feed(tar: AsyncIterable<Uint8Array>, entries: Extract): Promise<void> {
  try {
    for await (const data of tar) {
      if (entries.destroyed) return;
      if (!entries.write(data)) await taken(entries);
    }
    entries.end(null);
  } catch (error) {
    entries.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

function taken(entries: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      entries.off("drain", done);
      entries.off("close", done);
      resolve();
    };
    entries.once("drain", done);
    entries.once("close", done);
  });
}

async function unpackEntry(
  root: number,
  base: string,
  entry: Entry,
  options: UnpackOptions,
  folders: FolderTime[],
): Promise<void> {
  const { header } = entry;
  const parts = safeParts(header.name);
  const name = parts.pop();
  const parent = makeFolders(root, base, parts);
  try {
    const access = name === undefined ? parent.access : `${parent.access}/${name}`;
    const shown = `${parent.path === "/" ? "" : parent.path}/${name ?? ""}`;
    if (name !== undefined && !clearWay(access, shown, header, options)) return;
    if (name === undefined && header.type !== "directory") return;
    await make(root, base, entry, access, name === undefined);
    if (name === undefined) return;
    setAttributes(access, header, options);
    if (header.type === "directory")
      folders.push({ path: shown, mtime: header.mtime ?? new Date() });
  } finally {
    parent.close();
  }
}

async function make(
  root: number,
  base: string,
  entry: Entry,
  access: string,
  isBase: boolean,
): Promise<void> {
  const { header } = entry;
  switch (header.type) {
    case "directory":
      if (!isBase && statOf(access) === undefined) mkdirSync(access, { mode: 0o755 });
      return;
    case "symlink":
      return symlinkSync(header.linkname ?? "", access);
    case "link":
      return makeLink(root, base, header, access);
    case "fifo":
      return makeFifo(access);
    case "character-device":
    case "block-device":
      return makeDevice(access, {
        isBlock: header.type === "block-device",
        major: header.devmajor ?? 0,
        minor: header.devminor ?? 0,
      });
    case "file":
    case "contiguous-file":
      return writeFile(entry, access);
    default:
      throw invalid(`unhandled tar header type ${header.type} of ${header.name}`);
  }
}

async function writeFile(entry: Entry, access: string): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const file = await open(access, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const data of entry) await file.writeFile(data);
  } finally {
    await file.close();
  }
}

/** The other name is one of this archive's, or of what is in the folder. */
function makeLink(root: number, base: string, header: Header, access: string): void {
  const target = `${base}/${safeParts(header.linkname ?? "").join("/")}`;
  const place = findPlace(root, target, { followLast: false });
  if (place === undefined) {
    throw invalid(`invalid hardlink ${header.name} -> ${header.linkname ?? ""}: it is not there`);
  }
  try {
    linkSync(place.access, access);
  } finally {
    place.close();
  }
}

/** Makes the folders on the way that no entry of the archive has made; the way to `base` itself must be there. */
function makeFolders(root: number, base: string, parts: readonly string[]): ContainerPlace {
  let path = base;
  let place = folderAt(root, path);
  for (const part of parts) {
    const parent = place;
    try {
      path = `${parent.path === "/" ? "" : parent.path}/${part}`;
      if (statOf(`${parent.access}/${part}`) === undefined) {
        mkdirSync(`${parent.access}/${part}`, { mode: 0o755 });
      }
      place = folderAt(root, path);
    } finally {
      parent.close();
    }
  }
  return place;
}

function folderAt(root: number, path: string): ContainerPlace {
  const place = findPlace(root, path, { followLast: true });
  if (place?.stats.isDirectory() === true) return place;
  place?.close();
  throw invalid(`${path}: not a directory`);
}

/** Removes what is in the way; false when the entry is to be left out. */
function clearWay(access: string, shown: string, header: Header, options: UnpackOptions): boolean {
  const there = statOf(access);
  if (there === undefined) return true;
  const isFolder = header.type === "directory";
  if (options.noOverwriteDirNonDir && there.isDirectory() && !isFolder) {
    throw invalid(`cannot overwrite directory "${shown}" with non-directory "${shown}"`);
  }
  if (options.noOverwriteDirNonDir && !there.isDirectory() && isFolder) {
    throw invalid(`cannot overwrite non-directory "${shown}" with directory "${shown}"`);
  }
  if (!(there.isDirectory() && isFolder)) rmSync(access, { recursive: true, force: true });
  return true;
}

function setAttributes(access: string, header: Header, options: UnpackOptions): void {
  const { uid, gid } = options.owner ?? { uid: header.uid ?? 0, gid: header.gid ?? 0 };
  // A name of something that is there already: it keeps what it has.
  if (header.type === "link") return;
  lchownSync(access, uid, gid);
  if (header.type !== "symlink") setMode(access, (header.mode ?? 0o644) & 0o7777);
  const mtime = header.mtime ?? new Date();
  if (header.type !== "directory") lutimesSync(access, mtime, mtime);
}

/** Through a descriptor, as there is no change of modes that follows no link. */
function setMode(access: string, mode: number): void {
  const O_PATH = 0o10000000;
  const fd = openSync(access, O_PATH | constants.O_NOFOLLOW);
  try {
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

function setFolderTime(root: number, { path, mtime }: FolderTime): void {
  const place = findPlace(root, path, { followLast: false });
  if (place === undefined) return;
  lutimesSync(place.access, mtime, mtime);
  place.close();
}

/** @throws ClusterError invalid-argument for a name that leads out of where it is unpacked. */
function safeParts(name: string): string[] {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalid(`"${name}" is outside of the archive's folder`);
  return parts;
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** What the file system or the archive said, as a refusal of the request. */
function asRefusal(error: unknown): unknown {
  if (error instanceof ClusterError || !(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EROFS") {
    return new ClusterError("failed-precondition", "container rootfs is marked read-only", {
      cause: error,
    });
  }
  if (code === "ENOSPC") {
    return new ClusterError("resource-exhausted", "no space left on device", { cause: error });
  }
  if (code === "ERR_STREAM_PREMATURE_CLOSE") return error;
  return new ClusterError("invalid-argument", `cannot unpack the archive: ${error.message}`, {
    cause: error,
  });
}

function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
