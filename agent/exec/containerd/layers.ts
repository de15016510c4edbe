/**
 * Reads single files of a container through the layers of its file system, without a mount and without a process in it.
 *
 * Links are followed inside the layers only: what a link of an image points to on the node is never looked at.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
} from "node:fs";
import { createRequire } from "node:module";
import type { Mount } from "../../../src/common/containerd/generated/protocol.ts";

/** As many links as the kernel follows. */
const linksMax = 40;

/** Folders of the layers of a root file system, the uppermost first. */
export function layersOf(mounts: readonly Mount[]): string[] {
  const mount = mounts[0];
  if (mount === undefined) return [];
  if (mount.type !== "overlay") return [mount.source];
  const option = (name: string) =>
    mount.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
  const upper = option("upperdir");
  const lower = option("lowerdir")?.split(":") ?? [];
  return upper === undefined ? lower : [upper, ...lower];
}

/**
 * The content of a file; undefined when there is no such file, or it is larger than `bytesMax`.
 *
 * @param path Absolute, inside the container.
 */
export function readInLayers(
  layers: readonly string[],
  path: string,
  bytesMax: number,
): Buffer | undefined {
  const place = resolveInLayers(layers, path);
  if (place === undefined || !place.stats.isFile()) return undefined;
  let fd: number;
  try {
    fd = openSync(place.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    // Gone since: a container that runs changes its files.
    return undefined;
  }
  try {
    // A folder on the way may have been made a link meanwhile, which would lead out of the container.
    const { size, ino } = fstatSync(fd);
    if (readlinkSync(`/proc/self/fd/${fd}`) !== place.path || ino !== place.stats.ino) {
      return undefined;
    }
    if (size > bytesMax) return undefined;
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(fd, buffer, 0, size, 0));
  } finally {
    closeSync(fd);
  }
}

/** Where something of a container lies on the node; undefined when it is not there. */
export interface LayerPlace {
  readonly path: string;
  readonly stats: Stats;
}

/** Finds what a path of a container leads to, its last part's link followed too. */
export function resolveInLayers(layers: readonly string[], path: string): LayerPlace | undefined {
  let wanted = path.split("/").filter(isPart);
  // The folders of all layers that make up each folder on the way, from the root down.
  let way: string[][] = [[...layers]];
  let links = 0;
  for (;;) {
    const name = wanted.shift();
    const here = way.at(-1) ?? [];
    if (name === undefined) {
      const top = here[0];
      return top === undefined ? undefined : placeOf(top);
    }
    if (name === "..") {
      if (way.length > 1) way.pop();
      continue;
    }
    const found = lookUp(here, name);
    if (found === undefined) return undefined;
    if (Array.isArray(found)) {
      way.push(found);
      continue;
    }
    if (!found.stats.isSymbolicLink()) return wanted.length === 0 ? found : undefined;
    if (++links > linksMax) return undefined;
    const target = readlinkSync(found.path);
    if (target.startsWith("/")) way = [[...layers]];
    wanted = [...target.split("/").filter(isPart), ...wanted];
  }
}

function isPart(part: string): boolean {
  return part !== "" && part !== ".";
}

/** The folders that make up a folder, or what else has the name. */
function lookUp(folders: readonly string[], name: string): string[] | LayerPlace | undefined {
  const found: string[] = [];
  for (const folder of folders) {
    const place = placeOf(`${folder}/${name}`);
    if (place === undefined) continue;
    // A character device 0:0 hides what lower layers have there.
    if (place.stats.isCharacterDevice() && place.stats.rdev === 0) break;
    if (!place.stats.isDirectory()) {
      if (found.length === 0) return place;
      break;
    }
    found.push(place.path);
    if (isOpaque(place.path)) break;
  }
  return found.length === 0 ? undefined : found;
}

function placeOf(path: string): LayerPlace | undefined {
  try {
    return { path, stats: lstatSync(path) };
  } catch {
    // Absent in this layer.
    return undefined;
  }
}

type GetXattr = (path: string, name: string, value: Buffer, size: number) => number;
let getXattr: GetXattr | undefined;

/** Whether a folder hides those of lower layers with its name. */
export function isOpaque(folder: string): boolean {
  getXattr ??= loadGetXattr();
  const value = Buffer.alloc(4);
  return getXattr(folder, "trusted.overlay.opaque", value, value.length) === 1 && value[0] === 0x79;
}

/** Node reads no extended attributes. Where the library that calls C does not load, no folder counts as opaque. */
function loadGetXattr(): GetXattr {
  try {
    const koffi: typeof import("koffi") = createRequire(import.meta.url)("koffi");
    const declaration =
      "ssize_t lgetxattr(const char *path, const char *name, _Out_ void *value, size_t size)";
    return koffi.load("libc.so.6").func(declaration) as unknown as GetXattr;
  } catch {
    // An image that replaces a whole folder of a lower layer then shows that folder's files too.
    return () => -1;
  }
}
