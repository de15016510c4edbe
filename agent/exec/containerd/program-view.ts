/**
 * Shows crun its own program on a mount that nobody can write through, so that it need not make one for itself at each start.
 *
 * A process of a container can reach the program that made it, by /proc/self/exe, and could change it for the whole machine
 * (CVE-2019-5736). So crun begins by binding itself to a new file in /tmp, makes that mount read-only, takes it away again and
 * becomes the program on it: two thirds of what a start of it costs before it does anything, twice for each container. Where it
 * is on a read-only mount already, and is told so by a variable, it goes on at once. The variable alone opens nothing: crun
 * looks at the mount, and makes one of its own where it can be written.
 *
 * The mount is of the whole folder of the program, so that another version is used from the moment it is installed. containerd and
 * its shims find crun in the folder below by their PATH; once the mount is gone they find the one that is installed.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, realpathSync, rmdirSync, rmSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { mountOf } from "./shared-folder.ts";

/** By which crun, and runc to 1.1, hear that a read-only mount is meant for them. */
const variable = "_LIBCONTAINER_CLONED_BINARY";
/** The mount, beside the link. */
const mountName = "read-only";
const execute = promisify(execFile);

/**
 * Makes the folder with a link to the program on a read-only mount; one of an earlier life of the daemon is replaced.
 *
 * @param program Absolute path.
 * @throws Error when it cannot be mounted; nothing is left then.
 */
export async function showProgram(folder: string, program: string): Promise<void> {
  await hideProgram(folder, basename(program));
  const real = realpathSync(program);
  const point = join(folder, mountName);
  mkdirSync(point, { recursive: true, mode: 0o711 });
  try {
    await execute("mount", ["-n", "--bind", dirname(real), point]);
    await execute("mount", ["-n", "-o", "remount,bind,ro", point]);
    symlinkSync(join(mountName, basename(real)), join(folder, basename(program)));
  } catch (error) {
    await hideProgram(folder, basename(program));
    throw error;
  }
}

/** Takes all of it back; who runs from there runs on. Fine when there is nothing. */
export async function hideProgram(folder: string, name: string): Promise<void> {
  const point = join(folder, mountName);
  rmSync(join(folder, name), { force: true });
  while (mountOf(readFileSync("/proc/self/mountinfo", "utf8"), point)?.point === point)
    await execute("umount", ["-n", "-l", point]);
  // Never with what is in them, which may be the machine's.
  for (const path of [point, folder]) {
    try {
      rmdirSync(path);
    } catch {
      // It was never made.
    }
  }
}

/** The environment of who is to find the program there. */
export function seeingPrograms(folder: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, PATH: `${folder}:${env["PATH"] ?? ""}`, [variable]: "1" };
}
