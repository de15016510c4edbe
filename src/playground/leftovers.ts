/**
 * What a host leaves in the kernel of the machine when its power is cut: the control groups of its containers, which a real
 * host would forget and a daemon removes at its next start.
 */
import { existsSync, readdirSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { cgroupParentOf } from "../common/ids/instance.ts";
import { until } from "./until.ts";

const trees = "/sys/fs/cgroup";

/** The kernel ends what ran on a host within moments, also where its first process is gone already. */
const emptyWithinMs = 5_000;

/** Removes the control groups of the daemon with this data root as they get empty; those of no daemon are not touched. */
export async function removeControlGroups(dataRoot: string): Promise<void> {
  const parent = cgroupParentOf(dataRoot);
  const folders = ["", ...foldersIn(trees)].map((tree) => join(trees, tree, parent));
  await until(emptyWithinMs, () => {
    for (const folder of folders) removeFolders(folder);
    return !folders.some((folder) => existsSync(folder)) || undefined;
  });
  // Shared by all daemons of the machine: goes with the last of them.
  for (const folder of folders) removeFolder(dirname(folder));
}

function removeFolders(folder: string): void {
  for (const name of foldersIn(folder)) removeFolders(join(folder, name));
  removeFolder(folder);
}

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, or processes are in it.
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
