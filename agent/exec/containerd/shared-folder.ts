/**
 * Makes mounts below a folder reach the mount namespace of containerd, where that has one of its own (`cgroups.ts`) and the
 * machine's root does not hand mounts on, as without systemd: volumes on file servers and in memory are mounted by the daemon.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Makes the folder a mount of its own that hands on what is mounted below it; nothing to do where it is in such a one. */
export async function shareFolder(path: string): Promise<void> {
  if (isShared(readFileSync("/proc/self/mountinfo", "utf8"), path)) return;
  await execute("mount", ["-n", "--bind", path, path]);
  await execute("mount", ["-n", "--make-shared", path]);
}

/** Takes that back; while something is mounted below, it stays for the next daemon. */
export async function unshareFolder(path: string): Promise<void> {
  if (mountOf(readFileSync("/proc/self/mountinfo", "utf8"), path)?.point !== path) return;
  await execute("umount", ["-n", path]).catch(() => undefined);
}

/** Whether mounts below a path are handed on. @param mountinfo Text of /proc/self/mountinfo. */
export function isShared(mountinfo: string, path: string): boolean {
  return mountOf(mountinfo, path)?.shared ?? false;
}

/** The mount a path is in: the last one of the deepest mount point, as later ones lie over earlier ones. */
export function mountOf(
  mountinfo: string,
  path: string,
): { point: string; shared: boolean } | undefined {
  let found: { point: string; shared: boolean } | undefined;
  for (const line of mountinfo.split("\n")) {
    const [, , , , escaped = "", , ...rest] = line.split(" ");
    const point = escaped.replace(/\\(\d{3})/g, (_, digits) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    const isAbove = point === "/" || path === point || path.startsWith(`${point}/`);
    if (point === "" || !isAbove || point.length < (found?.point.length ?? 0)) continue;
    // Optional fields, each a word, end with a dash.
    const optional = rest.slice(0, rest.indexOf("-"));
    found = { point, shared: optional.some((field) => field.startsWith("shared:")) };
  }
  return found;
}
