/**
 * Mounts what the options of a volume ask for, and takes it away again.
 */
import { execFile } from "node:child_process";
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { promisify } from "node:util";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { mountPointsIn, serverNameOf, type VolumeMount, withServerAddress } from "./options.ts";

const execute = promisify(execFile);
/** A file server that does not answer by then is not there. */
const mountTimeoutMs = 30_000;

/**
 * Mounts it, unless something is mounted there already.
 *
 * @throws ClusterError failed-precondition with what the system says; deadline-exceeded when a server does not answer.
 */
export async function mountVolume(mount: VolumeMount, folder: string): Promise<void> {
  if (mountsIn(folder).includes(folder)) return;
  const { type, device, options } = await resolved(mount);
  // Directly by the kernel, as Docker does it: helpers such as mount.nfs want their options in other words.
  const args = ["-i", "-t", type, ...(options === "" ? [] : ["-o", options]), device, folder];
  try {
    await execute("mount", args, { timeout: mountTimeoutMs, killSignal: "SIGKILL" });
  } catch (error) {
    throw mountError(mount, folder, error);
  }
}

/** Unmounts all that is mounted at the folder or below. @throws ClusterError failed-precondition when it cannot be. */
export async function unmountAll(folder: string): Promise<void> {
  for (const path of mountsIn(folder)) {
    // Containers that still have it keep it: this takes away the node's own view only.
    await execute("umount", ["-i", "-l", path], { timeout: mountTimeoutMs }).catch(() => undefined);
  }
  const left = mountsIn(folder);
  if (left.length === 0) return;
  throw new ClusterError("failed-precondition", `${left.join(", ")} is mounted: unmount it first`);
}

/** What is mounted at a folder or below, the innermost first. */
export function mountsIn(folder: string): string[] {
  return mountPointsIn(readFileSync("/proc/self/mountinfo", "utf8"), folder);
}

async function resolved(mount: VolumeMount): Promise<VolumeMount> {
  const name = serverNameOf(mount);
  if (name === undefined || isIP(name) !== 0) return mount;
  try {
    return withServerAddress(mount, (await lookup(name)).address);
  } catch (error) {
    throw new ClusterError(
      "failed-precondition",
      `error resolving passed in network volume address ${name}: ${errorText(error)}`,
      {
        cause: error,
      },
    );
  }
}

function mountError(mount: VolumeMount, folder: string, error: unknown): ClusterError {
  const { stderr, killed } = error as { stderr?: string; killed?: boolean };
  const what = `error while mounting volume '${folder}': failed to mount local volume: mount ${mount.device}`;
  if (killed === true) {
    return new ClusterError("deadline-exceeded", `${what}: no answer within ${mountTimeoutMs} ms`, {
      cause: error,
    });
  }
  const why = (stderr ?? "").replace(/^mount: /, "").split("\n", 1)[0] || errorText(error);
  return new ClusterError("failed-precondition", `${what}: ${why}`, { cause: error });
}
