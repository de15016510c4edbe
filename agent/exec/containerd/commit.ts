/**
 * Makes an image of a container: what its file system has beyond its image becomes a layer, its configuration the image's.
 */
import type { CommitOptions } from "../../../src/common/container/containers.ts";
import type { ImageConfig } from "../../../src/common/container/images.ts";
import type { Container, ContainerConfig } from "../../../src/common/container/types.ts";
import { type ContainerdClient, snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  DiffService,
  type Mount,
  SnapshotsService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { layerUnpackMs } from "../../../src/common/limits/runtime.ts";
import { type Descriptor, descriptor, mediaTypes } from "../../../src/common/registry/manifest.ts";
import type { NodeImages } from "../../images/node-images.ts";
import type { SizedLayers } from "./sized-layers.ts";

/** What commits are made with. */
export interface CommitTools {
  readonly client: ContainerdClient;
  readonly images: NodeImages;
  readonly layers: SizedLayers;
  /** Key of the container's own file system. */
  readonly snapshotKey: (containerId: string) => string;
}

/** Resolves with the id of the new image. @throws ClusterError `not-found` when the container's image is gone */
export async function commitContainer(
  tools: CommitTools,
  container: Container,
  options: CommitOptions,
): Promise<string> {
  const { config: below } = await tools.images.find(container.imageId, container.imagePlatform);
  return await tools.images.extend({
    imageId: container.imageId,
    config: committedConfig(container.config, below),
    createdBy: container.args.join(" "),
    makeLayer: (lease) => makeLayer(tools, container, lease),
    ...options,
  });
}

/** The configuration of the image below with what the user said of the container. Pure. */
export function committedConfig(own: ContainerConfig, below: ImageConfig): ImageConfig {
  const isReset = own.entrypoint?.length === 1 && own.entrypoint[0] === "";
  const hasEntrypoint = own.entrypoint !== undefined && own.entrypoint.length > 0;
  const env = new Map([...below.env, ...own.env].map((text) => [text.split("=", 1)[0], text]));
  return {
    ...below,
    env: [...env.values()].filter((text) => text.includes("=")),
    entrypoint: isReset ? [] : hasEntrypoint ? (own.entrypoint ?? []) : below.entrypoint,
    command: own.command ?? (hasEntrypoint ? [] : below.command),
    workingDir: own.workingDir || below.workingDir,
    user: own.user || below.user,
    labels: { ...below.labels, ...own.labels },
    volumes: [...new Set([...below.volumes, ...own.anonymousVolumes])],
    stopSignal: own.stopSignal || below.stopSignal,
    health: own.health ?? below.health,
  };
}

async function makeLayer(
  tools: CommitTools,
  { id, config: { storageBytes } }: Container,
  lease: string,
): Promise<{ layer: Descriptor; diffId: string }> {
  const { client, snapshotKey, layers } = tools;
  const { mounts } = await client.call(SnapshotsService.mounts, {
    snapshotter: snapshotterName,
    key: snapshotKey(id),
  });
  const { mounts: own, done } = await layers.look({ id, storageBytes }, mounts);
  try {
    return await layerOf(tools, { id, own, lease });
  } finally {
    done();
  }
}

/** @param o.own The container's file system, `o.id` its id. */
async function layerOf(
  { client, snapshotKey, images }: CommitTools,
  { id, own: right, lease }: { id: string; own: readonly Mount[]; lease: string },
): Promise<{ layer: Descriptor; diffId: string }> {
  const snapshotter = snapshotterName;
  const below = `${lease}-below`;
  const { info } = await client.call(SnapshotsService.stat, { snapshotter, key: snapshotKey(id) });
  const { mounts: left } = await client.call(
    SnapshotsService.view,
    { snapshotter, key: below, parent: info?.parent ?? "" },
    { lease },
  );
  try {
    const { diff } = await client.call(
      DiffService.diff,
      { left, right, mediaType: mediaTypes.ociLayerGzip, ref: below, labels: {} },
      { lease, timeoutMs: layerUnpackMs },
    );
    const digest = diff?.digest ?? "";
    const diffId = await images.uncompressedDigest(digest);
    const { ociLayerGzip: mediaType } = mediaTypes;
    return { layer: descriptor({ mediaType, digest, sizeBytes: diff?.size ?? 0 }), diffId };
  } catch (error) {
    if (!(error instanceof ClusterError) || error.code !== "not-found") throw error;
    throw new ClusterError("not-found", `No such container: ${id}`, { cause: error });
  } finally {
    await client.call(SnapshotsService.remove, { snapshotter, key: below });
  }
}
