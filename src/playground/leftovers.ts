/**
 * What a host leaves in the kernel of the machine when its power is cut: the control groups of its containers, which a real
 * host would forget and a daemon removes at its next start.
 */
import { readdirSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { cgroupParentOf } from "../common/ids/instance.ts";

const trees = "/sys/fs/cgroup";

/** Removes the empty control groups of the daemon with this data root; those of no daemon are not touched. */
export function removeControlGroups(dataRoot: string): void {
  const parent = cgroupParentOf(dataRoot);
  for (const tree of ["", ...foldersIn(trees)]) {
    const folder = join(trees, tree, parent);
    removeFolders(folder);
    // Shared by all daemons of the machine: goes with the last of them.
    removeFolder(dirname(folder));
  }
}

function removeFolders(folder: string): void {
  for (const name of foldersIn(folder)) removeFolders(join(folder, name));
  removeFolder(folder);
}

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, or somebody else's processes are in it: both are fine.
  }
}

function foldersIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch {
    // No such tree, or not this daemon in it.
    return [];
  }
}
