/**
 * `npm run test:vm`: boots Debian's own kernels under qemu's emulator and runs Skep in them, for what the kernel of a build
 * machine lacks: pure control groups v2 with systemd, WireGuard, ipvlan and SCTP, a reboot without warning, and an arm64 machine.
 *
 *   node build/test/vm/run.js [amd64] [arm64] [--debug]
 *
 * Needs root to make the disks (scripts/vm-image.mjs). What happens inside is `guest.sh`, for the data path
 * `network.sh`; this reads the serial line.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

type Arch = "amd64" | "arm64";

/** Boots of each machine: the second is after a power cut. */
const bootsWanted = 2;
/** A machine that says nothing for this long is stuck, milliseconds. */
const silenceMsMax = 600_000;

const machines: Readonly<Record<Arch, readonly string[]>> = {
  amd64: ["qemu-system-x86_64", "-cpu", "max"],
  arm64: ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72"],
};
const kernelWords: Readonly<Record<Arch, string>> = {
  amd64:
    "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 systemd.mask=serial-getty@ttyS0.service net.ifnames=0",
  arm64: "console=ttyAMA0 quiet",
};

const words = process.argv.slice(2);
const asked = (["amd64", "arm64"] as const).filter((arch) => words.includes(arch));
let passed = 0;
let failed = 0;
// What is done at the end is done then, too: machines are ended, their disks removed.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
for (const arch of asked.length > 0 ? asked : (["amd64", "arm64"] as const)) await test(arch);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);

async function test(arch: Arch): Promise<void> {
  process.stdout.write(`== ${arch}\n`);
  execFileSync(process.execPath, ["scripts/vm-image.mjs", arch], { stdio: "inherit" });
  const folder = mkdtempSync(join(tmpdir(), "skep-vm-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  try {
    const image = join("build/vm", arch);
    execFileSync("cp", ["--sparse=always", join(image, "disk.ext4"), join(folder, "disk")]);
    await makePayload(arch, folder);
    for (let boot = 1; boot <= bootsWanted; boot++) {
      if (!(await bootOnce(arch, folder, boot))) break;
    }
  } finally {
    process.off("exit", remove);
    remove();
  }
}

/** The second disk: Skep as it was built, the docker client, images and the script. */
async function makePayload(arch: Arch, folder: string): Promise<void> {
  const payload = join(folder, "payload");
  const skep = join(payload, "skep");
  mkdirSync(join(payload, "bin"), { recursive: true });
  for (const part of ["src", "manager", "agent"]) {
    cpSync(join("build", part), join(skep, "build", part), { recursive: true });
  }
  copyFileSync("package.json", join(skep, "package.json"));
  const top = modulesTop(arch);
  for (const path of modulesNeeded(top)) {
    cpSync(join(top, path), join(skep, path), { recursive: true, dereference: true });
  }
  cpSync("build/test/vm/load.js", join(skep, "build/test/vm/load.js"));
  for (const name of ["guest.sh", "network.sh", "state.sh", "echo.sh"]) {
    copyFileSync(join("test/vm", name), join(payload, name));
  }
  copyFileSync("examples/skep.service", join(payload, "skep.service"));
  if (arch === "amd64")
    copyFileSync("build/tools/docker-20.10/docker", join(payload, "bin/docker"));
  if (words.includes("--debug")) {
    mkdirSync(join(payload, "debug"));
    writeFileSync(join(payload, "debug/on"), "");
  }
  makeImage(arch, folder, join(payload, "images.tar"));
  execFileSync("mkfs.ext4", ["-q", "-d", payload, join(folder, "payload.ext4"), "1G"]);
}

/** An archive of the one test image that is needed, of this architecture: an emulated machine takes its time to load more. */
function makeImage(arch: Arch, folder: string, archive: string): void {
  execFileSync(process.execPath, ["scripts/test-images.mjs"], { stdio: "ignore" });
  const all = "build/test-images/layout";
  const layout = join(folder, "layout");
  mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  const read = (path: string) => JSON.parse(readFileSync(join(all, path), "utf8"));
  const blobOf = (digest: string) => join("blobs", ...digest.split(":"));
  const nameKey = "org.opencontainers.image.ref.name";
  const index: { manifests: { digest: string; annotations: Record<string, string> }[] } =
    read("index.json");
  const entry = index.manifests.find(
    ({ annotations }) => annotations[nameKey] === `busybox:${arch}`,
  );
  if (entry === undefined) throw new Error(`${all} has no busybox:${arch}`);
  const manifest: Record<"config", { digest: string }> & Record<"layers", { digest: string }[]> =
    read(blobOf(entry.digest));
  for (const { digest } of [entry, manifest.config, ...manifest.layers])
    copyFileSync(join(all, blobOf(digest)), join(layout, blobOf(digest)));
  const named = { ...entry, annotations: { [nameKey]: "busybox:1" } };
  writeFileSync(join(layout, "index.json"), JSON.stringify({ ...index, manifests: [named] }));
  copyFileSync(join(all, "oci-layout"), join(layout, "oci-layout"));
  execFileSync("tar", ["-cf", archive, "-C", layout, "."]);
}

/** The folder whose `node_modules` are those of the architecture: optional packages with machine code are other ones on each. */
function modulesTop(arch: Arch): string {
  if (arch === "amd64") return ".";
  const top = join("build/vm", `${arch}-modules`);
  mkdirSync(top, { recursive: true });
  const isThere = existsSync(join(top, "node_modules"));
  const lock = "package-lock.json";
  if (isThere && readFileSync(lock).equals(readFileSync(join(top, lock)))) return top;
  for (const name of ["package.json", lock]) copyFileSync(name, join(top, name));
  const words = ["ci", "--cpu", arch, "--os", "linux", "--omit", "dev", "--ignore-scripts"];
  execFileSync("npm", [...words, "--no-audit", "--no-fund"], { cwd: top, stdio: "ignore" });
  return top;
}

/**
 * Folders of the npm packages that the lock file names for more than development; optional ones that are in `top`.
 * @throws Error when one is missing: the daemon would end at each of its starts.
 */
function modulesNeeded(top: string): string[] {
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
    packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
  };
  const wanted = Object.entries(packages).filter(([path, { dev }]) => path !== "" && dev !== true);
  const isHere = (path: string) => existsSync(join(top, path));
  const missing = wanted.filter(([path, { optional }]) => optional !== true && !isHere(path));
  if (missing.length > 0)
    throw new Error(`npm ci: ${missing.map(([path]) => path).join()} missing`);
  return wanted.map(([path]) => path).filter(isHere);
}

/** One life of the machine. Resolves with whether it came to the end of its script. */
async function bootOnce(arch: Arch, folder: string, boot: number): Promise<boolean> {
  const image = join("build/vm", arch);
  const [program = "", ...machine] = machines[arch];
  const child = spawn(
    program,
    [
      ...machine,
      ...["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048", "-no-reboot", "-nic", "none"],
      ...["-display", "none", "-monitor", "none", "-serial", "stdio"],
      ...["-kernel", join(image, "vmlinuz"), "-initrd", join(image, "initrd")],
      ...["-append", kernelWords[arch]],
      ...["-drive", `file=${join(folder, "disk")},format=raw,if=virtio,cache=writeback`],
      ...["-drive", `file=${join(folder, "payload.ext4")},format=raw,if=virtio,readonly=on`],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  return follow(child, `${arch} boot ${boot}`);
}

async function follow(child: ChildProcess, what: string): Promise<boolean> {
  const end = () => child.kill("SIGKILL");
  process.once("exit", end);
  let silence = setTimeout(end, silenceMsMax);
  let isOver = false;
  if (child.stdout === null) throw new Error("no output of the machine");
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(silence);
    silence = setTimeout(end, silenceMsMax);
    const said = /vm: (ok|FAILED|boot|kernel|told) (.*)$/.exec(line.trimEnd());
    if (said === null) {
      if (words.includes("--debug")) process.stdout.write(`  | ${line}\n`);
      continue;
    }
    process.stdout.write(`  ${what}: ${said[1]} ${said[2]}\n`);
    if (said[1] === "ok") passed += 1;
    else if (said[1] === "FAILED") failed += 1;
    else if (said[1] === "boot") isOver = true;
  }
  clearTimeout(silence);
  process.off("exit", end);
  if (!isOver) {
    failed += 1;
    process.stdout.write(`  ${what}: FAILED to come to its end\n`);
  }
  return isOver;
}
