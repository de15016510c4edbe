/**
 * The programs that make containers, runc and crun: which are installed and work here, and how containerd is told of them.
 *
 * crun starts containers in two thirds of the time but refuses some machines, so each is tried with a throwaway container
 * before it is used.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { RuntimeProgram } from "../../../src/common/container/runtime.ts";
import { skepNamespace } from "../../../src/common/containerd/client.ts";
import { type Any, RuncOptions } from "../../../src/common/containerd/generated/protocol.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import { withoutMount } from "./daemon-process.ts";
import { findProgram } from "./node-facts.ts";
import { secretEnvFiles, standInScript } from "./secret-env.ts";

/** The programs of a node. */
export interface RuntimePrograms {
  nameOfNew(): string;
  /**
   * Options of the shim; for a program that is gone those of the one for new containers.
   *
   * @param memory The container's folder in memory, for one with secret variables: see `secret-env.ts`.
   */
  optionsOf(name: string, memory?: string): Any;
  /** Folder of each program's state. */
  readonly folders: readonly string[];
  /** Where a program that is used here keeps its state of each container; undefined for another one. */
  stateOf(name: string): string | undefined;
}

/**
 * @param all Those that work, the one for new containers first.
 * @param folder For the programs' state, of this node alone: two nodes on one machine may have containers of the same id.
 *   Best in memory, as the state is worthless after a boot.
 * @param scripts For what stands in for the programs; not in memory, where nothing may be executed on some machines.
 */
export function runtimePrograms(
  all: () => readonly RuntimeProgram[],
  folder: string,
  scripts: string,
): RuntimePrograms {
  const nameOfNew = () => all()[0]?.name ?? "runc";
  const folderOf = (name: string) => join(folder, name);
  return {
    nameOfNew,
    optionsOf: (name, memory) => {
      const program = all().some((candidate) => candidate.name === name) ? name : nameOfNew();
      const how =
        memory === undefined
          ? { binaryName: program, root: folderOf(program) }
          : { binaryName: standInFor(program, scripts), root: join(memory, secretEnvFiles.state) };
      return {
        typeUrl: "containerd.runc.v1.Options",
        value: RuncOptions.encode(RuncOptions.create(how)),
      };
    },
    folders: names.map(folderOf),
    stateOf: (name) => {
      const isHere = all().some((candidate) => candidate.name === name);
      // The shim appends containerd's namespace.
      return isHere ? join(folderOf(name), skepNamespace) : undefined;
    },
  };
}

/** Path of what stands in for a program; written anew where it is another one, as Node or the project may have moved. */
function standInFor(program: string, folder: string): string {
  const path = join(folder, `${program}-with-secrets`);
  const main = fileURLToPath(new URL("./secret-env-main.js", import.meta.url));
  const text = standInScript(program, [process.execPath, main]);
  if (existsSync(path) && readFileSync(path, "utf8") === text) return path;
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  // A script that is being run must not change under its shell.
  writeFileSync(`${path}.new`, text, { mode: 0o700 });
  renameSync(`${path}.new`, path);
  return path;
}

/** The one that starts containers in the least time. */
export const quickestProgram = "crun";
/** Names of the programs, the quickest first. */
const names = [quickestProgram, "runc"];
/** A throwaway container takes a tenth of a second; a program that hangs is of no use. */
const probeMs = 20_000;
const run = promisify(execFile);

/** What a probe needs to know. */
export interface ProbeOptions {
  /** For the throwaway container; removed afterwards. */
  readonly folder: string;
  /** As for containerd: see `cgroups.ts`. */
  readonly hiddenMount: string | undefined;
  /** The one to prefer; the quickest when it is not among them. */
  readonly first: string;
  readonly log: Log;
}

/** Tries each program that is installed. @returns Those that work, the one to be used first. */
export async function probePrograms(options: ProbeOptions): Promise<RuntimeProgram[]> {
  const wanted = [...names].sort(
    (a, b) => Number(b === options.first) - Number(a === options.first),
  );
  const found = await Promise.all(wanted.map((name) => probe(name, options)));
  return found.flatMap((program) => program ?? []);
}

async function probe(name: string, options: ProbeOptions): Promise<RuntimeProgram | undefined> {
  const path = findProgram([name]);
  if (path === undefined) return undefined;
  try {
    const [version] = await Promise.all([versionOf(path), runThrowaway(path, options)]);
    return { name, path, version };
  } catch (error) {
    options.log.warn("runtime does not work on this machine", {
      runtime: name,
      err: errorText(error),
    });
    return undefined;
  }
}

async function versionOf(path: string): Promise<string> {
  const { stdout } = await run(path, ["--version"], { timeout: probeMs });
  return /version (\S+)/.exec(stdout)?.[1] ?? "";
}

/** Runs `true` of this machine in a container. @throws Error with what the program said. */
async function runThrowaway(path: string, { folder, hiddenMount }: ProbeOptions): Promise<void> {
  const id = `skep-probe-${process.pid}-${basename(path)}`;
  const bundle = join(folder, id);
  try {
    mkdirSync(join(bundle, "rootfs"), { recursive: true });
    writeFileSync(join(bundle, "config.json"), JSON.stringify(throwawaySpec(id)));
    const words = [path, "--root", join(bundle, "state"), "run", "--bundle", bundle, id];
    const [program = "", ...args] = hiddenMount ? withoutMount(hiddenMount, words) : words;
    await run(program, args, { timeout: probeMs });
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}

function throwawaySpec(id: string): object {
  const folders = ["/bin", "/lib", "/lib64", "/usr"].filter((folder) => existsSync(folder));
  return {
    ociVersion: "1.0.2",
    process: { terminal: false, user: { uid: 0, gid: 0 }, args: ["/bin/true"], cwd: "/" },
    root: { path: "rootfs", readonly: false },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
      ...folders.map((source) => ({
        destination: source,
        type: "bind",
        source,
        options: ["rbind", "ro"],
      })),
    ],
    linux: {
      namespaces: ["pid", "mount", "ipc", "uts", "network"].map((type) => ({ type })),
      cgroupsPath: `/${id}`,
      resources: { devices: [{ allow: false, access: "rwm" }] },
    },
  };
}
