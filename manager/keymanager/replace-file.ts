/**
 * Replaces a small file so that a crash at any moment leaves the old content or the new one, readable by its owner only.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/**
 * Writes `text` beside the file, syncs it, renames it over the file and syncs the folder.
 *
 * @throws ClusterError internal when the disk refuses; the file is as before then.
 */
export function replaceFile(path: string, text: string): void {
  const beside = `${path}.new`;
  try {
    // A left-over of an earlier crash may have other rights.
    rmSync(beside, { force: true });
    const file = openSync(beside, "wx", 0o600);
    try {
      writeAll(file, Buffer.from(text));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
    syncFolder(dirname(path));
  } catch (cause) {
    throw new ClusterError("internal", `cannot write ${path}`, { cause });
  }
}

function writeAll(file: number, bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) {
    written += writeSync(file, bytes, written);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
