/**
 * The files of this machine as `src/stack` reads them.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { ClusterError, errorText } from "../../common/errors/cluster-error.ts";
import type { ProjectFiles } from "../../stack/files.ts";

/** @param folder Where relative paths of the command line start from. */
export function localFiles(folder: string): ProjectFiles {
  return {
    read: (path) => bytesOf(path).toString(),
    readBase64: (path) => bytesOf(path).toString("base64"),
    exists: (path) => existsSync(path),
    resolve: (base, path) => {
      const whole = path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
      return resolve(folder, base, whole);
    },
    folderOf: (path) => dirname(path),
  };
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path === "-" ? 0 : path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT")
      throw new ClusterError("not-found", `open ${path}: no such file or directory`, {
        cause: error,
      });
    throw new ClusterError("invalid-argument", `cannot read ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}
