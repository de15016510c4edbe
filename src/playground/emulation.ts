/**
 * Lets programs of other architectures run on this machine while a playground is up, so that its nodes can pretend to be of
 * these: qemu's user emulators, registered with the kernel (binfmt_misc) under the playground's own names.
 *
 * The registration is the machine's, not a namespace's. Flag F has the kernel open the emulator at once, so that it works
 * in containers that do not have it.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { runWell } from "./run.ts";

/** Architectures that can be pretended, in OCI words. */
export type EmulatedArchitecture = "arm" | "arm64";

const kernelFolder = "/proc/sys/fs/binfmt_misc";
/** Where Debian's qemu-user-static says how its emulators are registered. */
const rulesFolder = "/usr/lib/binfmt.d";
const rulesOf: Readonly<Record<EmulatedArchitecture, string>> = {
  arm: "qemu-arm.conf",
  arm64: "qemu-aarch64.conf",
};

/** Names begin so, with the start of the playground's id in between. */
function nameOf(id: string, architecture: EmulatedArchitecture): string {
  return `skep-${id.slice(0, 12)}-${architecture}`;
}

/**
 * Registers emulators for these architectures, unless the playground has done so. Resolves with whether the kernel's folder
 * had to be mounted for it.
 *
 * @throws ClusterError `failed-precondition` when the emulators are not installed or the kernel takes none.
 */
export async function startEmulation(
  id: string,
  architectures: readonly EmulatedArchitecture[],
): Promise<boolean> {
  if (architectures.length === 0) return false;
  const isMissing = !existsSync(join(kernelFolder, "register"));
  if (isMissing) await mountKernelFolder();
  for (const architecture of architectures) {
    const name = nameOf(id, architecture);
    if (existsSync(join(kernelFolder, name))) continue;
    const rules = join(rulesFolder, rulesOf[architecture]);
    if (!existsSync(rules)) {
      throw new ClusterError(
        "failed-precondition",
        `${rules} is missing: install qemu-user-static to run programs for ${architecture}`,
      );
    }
    const line = readFileSync(rules, "utf8")
      .trim()
      .replace(/^:[^:]+:/, `:${name}:`);
    writeFileSync(join(kernelFolder, "register"), line);
  }
  return isMissing;
}

/**
 * Takes back what `startEmulation` registered; fine when there is nothing.
 *
 * @param hasMounted Unmount the kernel's folder, too, unless others use it by now.
 */
export async function endEmulation(id: string, hasMounted: boolean): Promise<void> {
  if (!existsSync(join(kernelFolder, "register"))) return;
  const own = nameOf(id, "arm").replace(/arm$/, "");
  for (const name of readdirSync(kernelFolder)) {
    if (name.startsWith(own)) writeFileSync(join(kernelFolder, name), "-1");
  }
  const left = readdirSync(kernelFolder).filter((name) => name !== "register" && name !== "status");
  if (hasMounted && left.length === 0) await runWell(["umount", "-n", kernelFolder]);
}

async function mountKernelFolder(): Promise<void> {
  try {
    await runWell(["mount", "-n", "-t", "binfmt_misc", "binfmt_misc", kernelFolder]);
  } catch (cause) {
    const text = `this kernel runs no programs of other architectures: ${kernelFolder} cannot be mounted`;
    throw new ClusterError("failed-precondition", text, { cause });
  }
}
