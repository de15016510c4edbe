/**
 * How the files of a container differ from those of its image, read off the uppermost layer of its overlay: what is in it
 * was added or modified, a character device 0:0 in it stands for what was deleted.
 */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { FileChange } from "../../../src/common/container/containers.ts";
import { isOpaque } from "./layers.ts";

/** What the runtime puts into every container before the first process runs, and Docker does not show either. */
const ours = new Set(
  [
    "/.dockerenv /dev /dev/console /dev/mqueue /dev/pts /dev/shm /etc/hostname /etc/hosts /etc/mtab",
    "/etc/resolv.conf /proc /sys /run/secrets",
  ].flatMap((line) => line.split(" ")),
);

/** Names looked at in one go: about 10 ms of the main thread. */
const namesInOneGo = 500;

interface Walk {
  names: number;
}

/**
 * The differences, by path.
 *
 * @param layers Folders of the layers, the container's own first.
 */
export async function changesOf(layers: readonly string[]): Promise<FileChange[]> {
  const [upper, ...lower] = layers;
  if (upper === undefined) return [];
  const changes = await changesIn({ names: 0 }, upper, lower, "");
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Changes below one folder; `lower` are the folders of the same path in the layers below, as far as they show. */
async function changesIn(
  walk: Walk,
  upper: string,
  lower: readonly string[],
  path: string,
): Promise<FileChange[]> {
  const changes: FileChange[] = [];
  const hidden = isOpaque(upper) ? [] : lower;
  const names = readdirSync(upper);
  if (hidden.length < lower.length) {
    for (const name of shownNames(lower)) {
      if (!names.includes(name)) changes.push({ kind: "deleted", path: `${path}/${name}` });
    }
  }
  for (const name of names) {
    if (++walk.names % namesInOneGo === 0) await setImmediate();
    for (const change of await changesAt(walk, upper, lower, path, name)) changes.push(change);
  }
  return changes;
}

async function changesAt(
  walk: Walk,
  upper: string,
  lower: readonly string[],
  parent: string,
  name: string,
): Promise<FileChange[]> {
  const path = `${parent}/${name}`;
  const own = join(upper, name);
  const stats = lstatSync(own);
  if (isWhiteout(stats)) return [{ kind: "deleted", path }];
  const before = lookBelow(lower, name);
  if (!stats.isDirectory()) {
    if (ours.has(path) && before === undefined) return [];
    return [{ kind: before === undefined ? "added" : "modified", path }];
  }
  const inner = await changesIn(walk, own, before?.folders ?? [], path);
  if (before === undefined) {
    return ours.has(path) && inner.length === 0 ? [] : [{ kind: "added", path }, ...inner];
  }
  // A folder is in the upper layer for what is in it, too: that alone is not told of it.
  const isDirect = inner.some((change) => isChild(path, change) && change.kind !== "modified");
  const changed = isDirect || (differs(stats, before.stats) && !holdsOurs(own, path));
  return changed ? [{ kind: "modified", path }, ...inner] : inner;
}

function isChild(path: string, change: FileChange): boolean {
  return change.path.lastIndexOf("/") === path.length;
}

/** Whether the runtime itself has changed the folder's time by what it put there. */
function holdsOurs(folder: string, path: string): boolean {
  return readdirSync(folder).some((name) => ours.has(`${path}/${name}`));
}

function differs(a: Stats, b: Stats): boolean {
  return (
    !b.isDirectory() ||
    a.mtimeMs !== b.mtimeMs ||
    a.mode !== b.mode ||
    a.uid !== b.uid ||
    a.gid !== b.gid
  );
}

/** What the layers below show under a name; the folders that make it up if it is one. */
function lookBelow(
  lower: readonly string[],
  name: string,
): { stats: Stats; folders: string[] } | undefined {
  let first: Stats | undefined;
  const folders: string[] = [];
  for (const layer of lower) {
    const path = join(layer, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    if (isWhiteout(stats)) break;
    first ??= stats;
    if (!stats.isDirectory()) break;
    folders.push(path);
    if (isOpaque(path)) break;
  }
  return first === undefined ? undefined : { stats: first, folders };
}

/** Names in a folder of the image. */
function shownNames(lower: readonly string[]): string[] {
  const names = new Set<string>();
  for (const folder of lower) for (const name of readdirSync(folder)) names.add(name);
  return [...names].filter((name) => lookBelow(lower, name) !== undefined);
}

function isWhiteout(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0;
}
