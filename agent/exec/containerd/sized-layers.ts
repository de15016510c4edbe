/**
 * Containers whose own layer has a size: what they write goes into a file system in a file of that size, which is mounted over a
 * loop device. That needs nothing of the kernel or of the file system of the data root that a plain Debian or Raspberry Pi OS
 * lacks; project quotas would: they are off in most kernels' ext4, and only for a whole disk.
 *
 * The file is sparse: a size is a bound, no reservation. It is mounted while its container runs, or is looked into, and what is
 * there is asked of the kernel, so that nothing has to be known after a crash.
 */
import { execFile } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { chmod, open, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Mount } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import { layerCommandMs } from "../../../src/common/limits/runtime.ts";
import { mountsIn } from "../../volumes/mounting.ts";
import { findProgram } from "./node-facts.ts";

const execute = promisify(execFile);

/** What is known of a container's layer. */
export interface SizedContainer {
  readonly id: string;
  /** Bytes; undefined or 0 for one without a size. */
  readonly storageBytes: number | undefined;
}

/** Somebody looks into the file system of a container. */
export interface Look {
  /** As `boundedIn` gives them. */
  readonly mounts: readonly Mount[];
  /** To be called once: what was mounted for it may go then. */
  readonly done: () => void;
}

/** Runs a program of the machine to its end. @throws Error with what it printed */
export type RunProgram = (program: string, args: readonly string[]) => Promise<void>;

/** The layers with a size of one node. */
export class SizedLayers {
  readonly #folder: string;
  readonly #run: RunProgram;
  readonly #mountsIn: (folder: string) => readonly string[];
  /** What is under way for a container, so that nothing is mounted twice. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** How many look into a container just now, where somebody does. */
  readonly #looks = new Map<string, number>();

  /**
   * @param folder Of these layers alone; made when it is needed.
   * @param mounted What is mounted at a folder or below.
   */
  constructor(folder: string, run: RunProgram = runProgram, mounted: typeof mountsIn = mountsIn) {
    this.#folder = folder;
    this.#run = run;
    this.#mountsIn = mounted;
  }

  /**
   * Makes the file system of a container that is to be made; nothing to do for one without a size.
   *
   * @throws ClusterError failed-precondition when this node cannot.
   */
  async make({ id, storageBytes = 0 }: SizedContainer): Promise<void> {
    if (storageBytes === 0) return;
    const program = findProgram(["mkfs.ext4"]);
    if (program === undefined)
      throw refused(new Error("mkfs.ext4 is not there: install e2fsprogs on this node"));
    const file = this.#file(id);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o711 });
      const handle = await open(`${file}.new`, "w", 0o600);
      try {
        await handle.truncate(storageBytes);
      } finally {
        await handle.close();
      }
      // What is not written is not there: no blocks for root alone, and tables that are made as they are used.
      const lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
      await this.#run(program, ["-q", "-F", "-m", "0", "-E", lazy, `${file}.new`]);
      await rename(`${file}.new`, file);
    } catch (error) {
      throw refused(error);
    }
  }

  /**
   * The mounts of a container's snapshot, with its own layer in that file system; as they are for one without a size.
   *
   * @throws ClusterError failed-precondition when it cannot be mounted.
   */
  async boundedIn(
    { id, storageBytes = 0 }: SizedContainer,
    mounts: readonly Mount[],
  ): Promise<readonly Mount[]> {
    if (storageBytes === 0) return mounts;
    const [mount] = mounts;
    const own = mount === undefined ? undefined : ownFolder(mount);
    if (mount === undefined || own === undefined)
      throw refused(new Error("layers of this node are not mounted as an overlay"));
    const place = await this.#inTurn(id, () => this.#mounted(id, own));
    return [inPlace(mount, place), ...mounts.slice(1)];
  }

  /** The mounts as `boundedIn` gives them, which `rest` leaves until it is done. @throws ClusterError as that does. */
  async look(container: SizedContainer, mounts: readonly Mount[]): Promise<Look> {
    const { id } = container;
    this.#looks.set(id, (this.#looks.get(id) ?? 0) + 1);
    const done = () => {
      const others = (this.#looks.get(id) ?? 1) - 1;
      if (others === 0) this.#looks.delete(id);
      else this.#looks.set(id, others);
    };
    try {
      return { mounts: await this.boundedIn(container, mounts), done };
    } catch (error) {
      done();
      throw error;
    }
  }

  /** Bytes its files take; undefined for one without a size. */
  async usedBy(container: SizedContainer, mounts: readonly Mount[]): Promise<number | undefined> {
    if ((container.storageBytes ?? 0) === 0) return undefined;
    const look = await this.look(container, mounts);
    try {
      const [mount] = look.mounts;
      return mount === undefined ? undefined : await bytesIn(ownFolder(mount) ?? "");
    } finally {
      look.done();
    }
  }

  /**
   * Takes the mount of one that does not run away, unless somebody looks into it; it is mounted again when it is needed.
   * Never rejects.
   */
  async rest(id: string): Promise<void> {
    if (!existsSync(this.#file(id))) return;
    const work = async () => {
      if (!this.#looks.has(id)) await this.#unmount(id);
    };
    await this.#inTurn(id, work).catch(() => {
      // In use: it goes with the container.
    });
  }

  /** Removes all there is of a container's layer; fine when there is nothing. @throws ClusterError */
  async remove(id: string): Promise<void> {
    const file = this.#file(id);
    const place = this.#place(id);
    if (![file, `${file}.new`, place].some((path) => existsSync(path))) return;
    await this.#inTurn(id, async () => {
      await this.#unmount(id);
      await rm(`${file}.new`, { force: true });
      await rm(file, { force: true });
      if (existsSync(place)) await rmdir(place);
    });
    this.#turns.delete(id);
  }

  /** Containers of which something is there. */
  ids(): string[] {
    if (!existsSync(this.#folder)) return [];
    const names = readdirSync(this.#folder).map((name) => name.replace(/\.ext4(\.new)?$/, ""));
    return [...new Set(names)];
  }

  async #mounted(id: string, own: string): Promise<string> {
    const place = this.#place(id);
    try {
      mkdirSync(place, { recursive: true, mode: 0o700 });
      if (!this.#mountsIn(place).includes(place)) {
        const options = "loop,discard,noatime,noinit_itable";
        const words = ["-i", "-n", "-t", "ext4", "-o", options, this.#file(id), place];
        await this.#run("mount", words);
      }
      await likeFolder(own, join(place, "upper"));
      mkdirSync(join(place, "work"), { recursive: true, mode: 0o700 });
      return place;
    } catch (error) {
      throw refused(error);
    }
  }

  async #unmount(id: string): Promise<void> {
    const place = this.#place(id);
    for (const path of this.#mountsIn(place)) {
      await this.#run("umount", ["-i", "-n", path]).catch(() =>
        // Somebody looks into it: the kernel lets it go with him.
        this.#run("umount", ["-i", "-n", "-l", path]),
      );
    }
  }

  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(id) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(
      id,
      turn.catch(() => undefined),
    );
    return turn;
  }

  #file(id: string): string {
    return join(this.#folder, `${id}.ext4`);
  }

  #place(id: string): string {
    return join(this.#folder, id);
  }
}

async function bytesIn(folder: string): Promise<number> {
  const words = ["-s", "-B1", folder];
  const { stdout } = await execute("du", words).catch((error: { stdout?: string }) => {
    // Files that went while it looked make it fail, with the sum of the others.
    if (!/^\d+\s/.test(error.stdout ?? "")) throw error;
    return { stdout: error.stdout ?? "" };
  });
  return Number(stdout.split(/\s/, 1)[0]);
}

/** The folder that a container writes to. */
function ownFolder({ type, source, options }: Mount): string | undefined {
  if (type === "bind") return source;
  const upper = options.find((option) => option.startsWith("upperdir="));
  return type === "overlay" ? upper?.slice("upperdir=".length) : undefined;
}

function inPlace(mount: Mount, place: string): Mount {
  if (mount.type === "bind") return { ...mount, source: join(place, "upper") };
  const others = mount.options.filter((option) => !/^(upperdir|workdir)=/.test(option));
  return {
    ...mount,
    options: [...others, `upperdir=${join(place, "upper")}`, `workdir=${join(place, "work")}`],
  };
}

/** The root of the container has the owner and the mode of this folder. */
async function likeFolder(model: string, path: string): Promise<void> {
  if (existsSync(path)) return;
  const { uid, gid, mode } = statSync(model);
  mkdirSync(`${path}.new`, { recursive: true });
  chownSync(`${path}.new`, uid, gid);
  await chmod(`${path}.new`, mode & 0o7777);
  await rename(`${path}.new`, path);
}

function refused(error: unknown): ClusterError {
  const { stderr } = error as { stderr?: string };
  const why = (stderr ?? "").trim().split("\n", 1)[0] || errorText(error);
  return new ClusterError(
    "failed-precondition",
    `a container's storage size cannot be held to on this node: ${why}`,
    { cause: error },
  );
}

async function runProgram(program: string, args: readonly string[]): Promise<void> {
  await execute(program, [...args], { timeout: layerCommandMs, killSignal: "SIGKILL" });
}
