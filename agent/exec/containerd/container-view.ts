/**
 * The file system of a container as a descriptor of its root folder.
 *
 * Of a running one it is the root of its first process, with all that is mounted in it. Of another its snapshot and
 * volumes are mounted in a mount namespace of a helper process, which takes all of it along when it ends or we do.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { closeSync, mkdirSync } from "node:fs";
import { mkdtemp, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Container } from "../../../src/common/container/types.ts";
import type { Mount } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { findPlace, openFolder } from "./container-path.ts";

/** A root to find places from. */
export interface ContainerView {
  readonly root: number;
  close(): Promise<void>;
}

/** The file system of a process. @throws ClusterError failed-precondition when it has ended. */
export function viewOfProcess(pid: number): ContainerView {
  return viewOf(`/proc/${pid}/root`, async () => undefined);
}

/** A folder of the node as root: for the file system of a container alone, without what is mounted in it. */
export function viewOfFolder(path: string): ContainerView {
  return viewOf(path, async () => undefined);
}

/**
 * The file system of a container that does not run.
 *
 * @param mounts Of its snapshot.
 * @param o.folder Where to make the folder that it is mounted at, seen by nobody else.
 * @param o.binds Volumes and folders that the container has in it; their targets are made where they are missing.
 */
export async function viewOfSnapshot(
  mounts: readonly Mount[],
  o: { folder: string; binds: Container["mounts"] },
): Promise<ContainerView> {
  const target = await mkdtemp(join(o.folder, "view-"));
  const helper = new MountHelper();
  const close = async () => {
    await helper.close();
    await rmdir(target);
  };
  try {
    for (const mount of mounts) await helper.run(mountCommand(mount, target));
    const view = viewOf(`/proc/${helper.pid}/root${target}`, close);
    for (const bind of o.binds) await bindInto(view.root, helper, bind);
    return view;
  } catch (error) {
    await close();
    throw error;
  }
}

function viewOf(path: string, close: () => Promise<void>): ContainerView {
  let root: number;
  try {
    root = openFolder(path);
  } catch (error) {
    throw new ClusterError("failed-precondition", "the container has just ended: try again", {
      cause: error,
    });
  }
  return {
    root,
    close: () => {
      closeSync(root);
      return close();
    },
  };
}

async function bindInto(
  root: number,
  helper: MountHelper,
  bind: Container["mounts"][number],
): Promise<void> {
  if (bind.source === "" || bind.type === "tmpfs") return;
  const place = findPlace(root, bind.destination, { followLast: true }) ?? makePlace(root, bind);
  try {
    // A file is mounted at a file, a folder at a folder; whatever else is there stays.
    await helper.run(
      `mount --no-canonicalize --rbind ${quote(bind.source)} ${quote(place.accessForOthers)}`,
    );
  } finally {
    place.close();
  }
}

/** The folder that the runtime would make for the mount. */
function makePlace(root: number, bind: Container["mounts"][number]) {
  let path = "";
  for (const part of bind.destination.split("/").filter((name) => name !== "")) {
    const parent = findPlace(root, path === "" ? "/" : path, { followLast: true });
    if (parent === undefined) break;
    path = `${path}/${part}`;
    const place = findPlace(root, path, { followLast: true });
    if (place === undefined) mkdirSync(join(parent.access, part), { mode: 0o755 });
    place?.close();
    parent.close();
  }
  const made = findPlace(root, bind.destination, { followLast: true });
  if (made !== undefined) return made;
  throw new ClusterError("internal", `the folder ${bind.destination} cannot be made`);
}

/** The kernel takes one page of options: names of layers are made short by going where they are. */
function mountCommand(mount: Mount, target: string): string {
  const lower = mount.options.find((option) => option.startsWith("lowerdir="));
  const layers = lower?.slice("lowerdir=".length).split(":") ?? [];
  const base = commonFolder(layers);
  const options = mount.options.map((option) =>
    option === lower && base !== ""
      ? `lowerdir=${layers.map((path) => path.slice(base.length + 1)).join(":")}`
      : option,
  );
  const where = base === "" ? "" : `cd ${quote(base)} && `;
  const flags = options.length === 0 ? "" : `-o ${quote(options.join(","))} `;
  return `${where}mount -i -t ${quote(mount.type)} ${flags}${quote(mount.source)} ${quote(target)}`;
}

function commonFolder(paths: readonly string[]): string {
  const [first = "", ...others] = paths;
  let folder = first.slice(0, Math.max(0, first.lastIndexOf("/")));
  while (folder !== "" && !others.every((path) => path.startsWith(`${folder}/`))) {
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/")));
  }
  return folder;
}

/** A shell in a mount namespace of its own, which ends when its input does. */
class MountHelper {
  readonly #shell: ChildProcessWithoutNullStreams;
  readonly #replies: AsyncIterator<string>;
  readonly #ended: Promise<void>;

  constructor() {
    this.#shell = spawn("unshare", ["--mount", "--propagation", "private", "sh"]);
    this.#shell.stdin.on("error", () => undefined); // Its end is noticed by the missing reply.
    this.#shell.stderr.resume();
    this.#ended = new Promise((resolve) => {
      this.#shell.once("close", () => resolve());
      this.#shell.once("error", () => resolve());
    });
    this.#replies = createInterface({ input: this.#shell.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#shell.pid ?? 0;
  }

  /** @throws ClusterError internal with what the command says. */
  async run(command: string): Promise<void> {
    this.#shell.stdin.write(`text=$( (${command}) 2>&1 ) && echo ok || echo $text\n`);
    const reply = await this.#replies.next();
    if (reply.done !== true && reply.value === "ok") return;
    const why = reply.done === true ? "the helper has ended" : reply.value;
    throw new ClusterError(
      "internal",
      `the file system of the container cannot be mounted: ${why}`,
    );
  }

  async close(): Promise<void> {
    this.#shell.stdin.end();
    await this.#ended;
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
