/**
 * The files half of the container runtime: archives in and out, export, changes, copy-up, sizes and commit, of containers
 * that run and of those that do not.
 */
import { execFile } from "node:child_process";
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type {
  CommitOptions,
  FileChange,
  PathStat,
} from "../../../src/common/container/containers.ts";
import type { Images } from "../../../src/common/container/images.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import { type Mount, SnapshotsService } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { archiveOf } from "./archive-read.ts";
import { unpack } from "./archive-write.ts";
import { changesOf } from "./changes.ts";
import {
  absolutePath,
  baseName,
  type ContainerPlace,
  findPlace,
  openFolder,
  pathStatOf,
} from "./container-path.ts";
import {
  type ContainerView,
  viewOfFolder,
  viewOfProcess,
  viewOfSnapshot,
} from "./container-view.ts";
import { layersOf } from "./layers.ts";
import type { ContainerFiles, RuntimeCore } from "./seams.ts";
import type { Look, SizedContainer, SizedLayers } from "./sized-layers.ts";

const execute = promisify(execFile);

/** What the files half is made with. */
export interface FilesOptions {
  readonly client: ContainerdClient;
  readonly images: Images;
  readonly layers: SizedLayers;
  /** Key of the snapshot of a container. */
  readonly snapshotKey: (containerId: string) => string;
  /** Folder where the shim has mounted the root file system of a running container, as seen from here. */
  readonly rootfsOf: (containerId: string) => string;
  /** Makes an image of a container. */
  readonly commit: (container: Container, options: CommitOptions) => Promise<string>;
}

/** Files of all containers of a node. */
export class LocalFiles implements ContainerFiles {
  readonly #core: RuntimeCore;
  readonly #o: FilesOptions;

  constructor(core: RuntimeCore, options: FilesOptions) {
    this.#core = core;
    this.#o = options;
  }

  async statPath(container: Container, path: string): Promise<PathStat> {
    const view = await this.#view(container);
    try {
      const place = placeIn(view, container, path);
      try {
        return statOf(view, place, path);
      } finally {
        place.close();
      }
    } finally {
      await view.close();
    }
  }

  async getArchive(
    container: Container,
    path: string,
  ): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }> {
    const view = await this.#view(container);
    try {
      const place = placeIn(view, container, path);
      const stat = statOf(view, place, path);
      const ended = async () => {
        place.close();
        await view.close();
      };
      const name = stat.name === "/" ? "" : stat.name;
      const start = { access: place.access, stats: place.stats, name };
      return { stat, tar: archiveOf(start, { openFolder: () => openFolder(place.access), ended }) };
    } catch (error) {
      await view.close();
      throw error;
    }
  }

  async putArchive(
    container: Container,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    o: { noOverwriteDirNonDir: boolean; copyUidGid: boolean },
  ): Promise<void> {
    const absolute = absolutePath(path);
    const owner =
      o.copyUidGid && container.user !== ""
        ? await this.#core.lookUpUser(container.id, container.user)
        : undefined;
    const view = await this.#view(container);
    try {
      const place = findPlace(view.root, absolute, { followLast: true });
      if (place === undefined) throw notFound(container, path);
      place.close();
      if (!place.stats.isDirectory()) {
        throw new ClusterError("invalid-argument", "extraction point is not a directory");
      }
      requireWritable(container, place.path);
      const { noOverwriteDirNonDir } = o;
      await unpack(view.root, place.path, tar, { noOverwriteDirNonDir, owner });
    } finally {
      await view.close();
    }
  }

  async copyUp(container: Container, path: string, volumeFolder: string): Promise<void> {
    if ((await readdir(volumeFolder)).length > 0) return;
    const view = await this.#snapshotView(container, []);
    try {
      const place = findPlace(view.root, absolutePath(path), { followLast: true });
      if (place === undefined) return;
      try {
        if (place.stats.isDirectory()) await fillVolume(place.accessForOthers, volumeFolder);
      } finally {
        place.close();
      }
    } finally {
      await view.close();
    }
  }

  async changes(container: Container): Promise<readonly FileChange[]> {
    const { mounts, done } = await this.#look(container);
    try {
      return await changesOf(layersOf(mounts));
    } finally {
      done();
    }
  }

  async exportTar(container: Container): Promise<AsyncIterable<Uint8Array>> {
    const view = isActive(container)
      ? viewOfFolder(this.#o.rootfsOf(container.id))
      : await this.#snapshotView(container, []);
    const place = findPlace(view.root, "/", { followLast: true });
    if (place === undefined) throw notFound(container, "/");
    const ended = async () => {
      place.close();
      await view.close();
    };
    this.#core.emit(container.id, "export", {});
    const start = { access: place.access, stats: place.stats, name: undefined };
    return archiveOf(start, { openFolder: () => openFolder(place.access), ended });
  }

  async commit(container: Container, options: CommitOptions): Promise<string> {
    try {
      return await this.#o.commit(container, options);
    } finally {
      this.#core.lookedInto(container);
    }
  }

  async sizes(container: Container): Promise<{ ownBytes: number; rootBytes: number }> {
    const used = await this.#bytesInSized(container);
    const { size } =
      used !== undefined
        ? { size: used }
        : await this.#o.client.call(SnapshotsService.usage, {
            snapshotter: snapshotterName,
            key: this.#o.snapshotKey(container.id),
          });
    // An image that was removed by force is not known any more: then its size is not either.
    const image = await this.#o.images.find(container.imageId).catch(() => undefined);
    return { ownBytes: size, rootBytes: size + (image?.sizeBytes ?? 0) };
  }

  /** Undefined for one without a size. */
  async #bytesInSized(container: Container): Promise<number | undefined> {
    const sized = sizedOf(container);
    if ((sized.storageBytes ?? 0) === 0) return undefined;
    try {
      return await this.#o.layers.usedBy(sized, await this.#snapshot(container));
    } finally {
      this.#core.lookedInto(container);
    }
  }

  #view(container: Container): Promise<ContainerView> {
    if (!isActive(container)) return this.#snapshotView(container, container.mounts);
    return Promise.resolve(viewOfProcess(container.state.pid));
  }

  async #snapshotView(container: Container, binds: Container["mounts"]): Promise<ContainerView> {
    const folder = this.#core.folderOf(container.id);
    const { mounts, done } = await this.#look(container);
    try {
      const { root, close } = await viewOfSnapshot(mounts, { folder, binds });
      return { root, close: () => close().finally(done) };
    } catch (error) {
      done();
      throw error;
    }
  }

  /** The mounts of its file system, until it is done with. */
  async #look(container: Container): Promise<Look> {
    const mounts = await this.#snapshot(container);
    const look = await this.#o.layers.look(sizedOf(container), mounts);
    const done = () => {
      look.done();
      this.#core.lookedInto(container);
    };
    return { mounts: look.mounts, done };
  }

  async #snapshot(container: Container): Promise<readonly Mount[]> {
    const { mounts } = await this.#o.client.call(SnapshotsService.mounts, {
      snapshotter: snapshotterName,
      key: this.#o.snapshotKey(container.id),
    });
    return mounts;
  }
}

function sizedOf({ id, config }: Container): SizedContainer {
  return { id, storageBytes: config.storageBytes };
}

/** Whether it has a process, and with it its file system mounted. */
function isActive(container: Container): boolean {
  const { phase, pid } = container.state;
  return (phase === "running" || phase === "paused") && pid > 0;
}

/** @throws ClusterError not-found with Docker's words. */
function placeIn(view: ContainerView, container: Container, path: string): ContainerPlace {
  const place = findPlace(view.root, absolutePath(path), { followLast: false });
  if (place === undefined) throw notFound(container, path);
  return place;
}

function notFound(container: Container, path: string): ClusterError {
  const text = `Could not find the file ${path} in container ${container.name}`;
  return new ClusterError("not-found", text);
}

function statOf(view: ContainerView, place: ContainerPlace, path: string): PathStat {
  const absolute = absolutePath(path);
  let linkTarget = "";
  if (place.stats.isSymbolicLink()) {
    const target = findPlace(view.root, absolute, { followLast: true });
    linkTarget = target?.path ?? "";
    target?.close();
  }
  return pathStatOf(baseName(absolute), place.stats, linkTarget);
}

/** @throws ClusterError failed-precondition where the container may not write either. */
function requireWritable(container: Container, path: string): void {
  const mount = container.mounts
    .filter(({ destination }) => path === destination || path.startsWith(`${destination}/`))
    .sort((a, b) => b.destination.length - a.destination.length)[0];
  if (mount !== undefined) {
    if (mount.writable) return;
    throw new ClusterError("failed-precondition", "mounted volume is marked read-only");
  }
  if (container.config.readOnly) {
    throw new ClusterError("failed-precondition", "container rootfs is marked read-only");
  }
}

/** Copied beside first, so that a crash leaves no volume half filled. */
async function fillVolume(source: string, volumeFolder: string): Promise<void> {
  const beside = `${volumeFolder}.copying`;
  await rm(beside, { recursive: true, force: true });
  // All there is of a file: owner, mode, times, several names, holes, extended attributes.
  await execute("cp", ["-a", "--", source, beside]);
  try {
    await rename(beside, volumeFolder);
  } catch {
    // Another file system is mounted there, or another container has just filled it.
    if ((await readdir(volumeFolder)).length === 0) {
      await execute("cp", ["-a", "--", `${source}/.`, join(volumeFolder, ".")]);
    }
    await rm(beside, { recursive: true, force: true });
  }
}
