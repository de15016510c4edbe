/**
 * Finds files of a container from the node, whatever its links say: paths are walked one part at a time from a descriptor
 * of the container's root, and links are read and followed by us, inside that root only.
 *
 * Every folder on the way is held open, so that a process in the container that swaps folders for links meanwhile cannot
 * lead us out.
 */
import { closeSync, constants, lstatSync, openSync, readlinkSync, type Stats } from "node:fs";
import { basename } from "node:path";
import type { PathStat } from "../../../src/common/container/containers.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** As many links as the kernel follows. */
const linksMax = 40;
/** A descriptor that only names a file; Node has no name for it. */
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW } = constants;

/** A place in a container that is there. */
export interface ContainerPlace {
  /** In the container's own words, free of links but perhaps for its last part. */
  readonly path: string;
  readonly stats: Stats;
  /** For system calls of this process: the last part is not to be followed. */
  readonly access: string;
  /** For system calls of other processes. */
  readonly accessForOthers: string;
  close(): void;
}

/** Opens a folder as the root of a walk; to be closed by the caller. */
export function openFolder(path: string): number {
  return openSync(path, O_PATH | O_DIRECTORY);
}

/** Opens a folder in one that is open, never through a link. */
export function openChild(folder: number, name: string): number {
  return openSync(childOf(folder, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

/** Names a child of an open folder for a system call of this process. */
export function childOf(folder: number, name: string): string {
  return `/proc/self/fd/${folder}/${name}`;
}

/**
 * What a path leads to; undefined when there is nothing.
 *
 * @param o.followLast Follow a link in the last part as well; a slash or `/.` at the end does so, too.
 * @throws ClusterError invalid-argument for a way through something that is no folder, or round in circles.
 */
export function findPlace(
  root: number,
  path: string,
  o: { followLast: boolean },
): ContainerPlace | undefined {
  const followLast = o.followLast || /\/\.?$/.test(path);
  const way = new Way(root);
  let wanted = partsOf(path);
  let links = 0;
  try {
    for (;;) {
      const name = wanted.shift();
      if (name === undefined) return way.takeFolder();
      if (name === "..") {
        way.up();
        continue;
      }
      const stats = statOf(childOf(way.folder, name));
      if (stats === undefined) return way.giveUp();
      const isLast = wanted.length === 0;
      if (stats.isSymbolicLink() && !(isLast && !followLast)) {
        if (++links > linksMax) throw wrong(path, "too many levels of symbolic links");
        const target = readlinkSync(childOf(way.folder, name));
        if (target.startsWith("/")) way.toRoot();
        wanted = [...partsOf(target), ...wanted];
      } else if (stats.isDirectory()) way.down(name);
      else if (isLast && !/\/\.?$/.test(path)) return way.takeChild(name, stats);
      else throw wrong(path, "not a directory");
    }
  } catch (error) {
    way.giveUp();
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") throw wrong(path, "not a directory");
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The folders from the root to where the walk is. */
class Way {
  readonly #root: number;
  #steps: { readonly name: string; readonly fd: number }[] = [];

  constructor(root: number) {
    this.#root = root;
  }

  get folder(): number {
    return this.#steps.at(-1)?.fd ?? this.#root;
  }

  down(name: string): void {
    this.#steps.push({ name, fd: openChild(this.folder, name) });
  }

  /** Above the root there is the root. */
  up(): void {
    const last = this.#steps.pop();
    if (last !== undefined) closeSync(last.fd);
  }

  toRoot(): void {
    while (this.#steps.length > 0) this.up();
  }

  giveUp(): undefined {
    this.toRoot();
    return undefined;
  }

  takeFolder(): ContainerPlace {
    const access = `/proc/self/fd/${this.folder}/.`;
    const path = this.#path();
    return this.#place(path === "" ? "/" : path, lstatSync(access), access);
  }

  takeChild(name: string, stats: Stats): ContainerPlace {
    return this.#place(`${this.#path()}/${name}`, stats, childOf(this.folder, name));
  }

  #path(): string {
    return this.#steps.map(({ name }) => `/${name}`).join("");
  }

  #place(path: string, stats: Stats, access: string): ContainerPlace {
    return {
      path,
      stats,
      access,
      accessForOthers: access.replace("/self/", `/${process.pid}/`),
      close: () => this.toRoot(),
    };
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function wrong(path: string, why: string): ClusterError {
  return new ClusterError("invalid-argument", `${path}: ${why}`);
}

/** Path from the root, with the slash or `/.` at its end that says more than the rest. */
export function absolutePath(path: string): string {
  const parts: string[] = [];
  for (const part of partsOf(path)) {
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  const end = /(^|\/)\.$/.test(path) ? "/." : path.endsWith("/") ? "/" : "";
  return `/${parts.join("/")}${parts.length === 0 && end === "/" ? "" : end.slice(parts.length === 0 ? 1 : 0)}`;
}

/** The name a path is shown by: its last part, also when that is `.`. */
export function baseName(absolute: string): string {
  return absolute === "/" ? "/" : basename(absolute);
}

const bit = (position: number) => 2 ** position;
const typeBits: Readonly<Record<number, number>> = {
  [constants.S_IFDIR]: bit(31),
  [constants.S_IFLNK]: bit(27),
  [constants.S_IFIFO]: bit(25),
  [constants.S_IFSOCK]: bit(24),
  [constants.S_IFBLK]: bit(26),
  [constants.S_IFCHR]: bit(26) + bit(21),
};

/** A mode as Go's os.FileMode has it. */
export function goFileMode(mode: number): number {
  const special =
    (mode & 0o4000 ? bit(23) : 0) + (mode & 0o2000 ? bit(22) : 0) + (mode & 0o1000 ? bit(20) : 0);
  return (mode & 0o777) + special + (typeBits[mode & constants.S_IFMT] ?? 0);
}

/** What is told of a path. @param linkTarget Where a link leads in the end, as an absolute path of the container. */
export function pathStatOf(name: string, stats: Stats, linkTarget: string): PathStat {
  return {
    name,
    sizeBytes: stats.size,
    mode: goFileMode(stats.mode),
    mtimeMs: stats.mtimeMs,
    linkTarget,
  };
}
