/**
 * From layers in the content store to the snapshots that containers stand on.
 *
 * A snapshot is named by its chain id (OCI image specification): the digest of all layers up to it, so that images with the
 * same lower layers share them.
 */
import { createHash } from "node:crypto";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import { DiffService, SnapshotsService } from "../../src/common/containerd/generated/protocol.ts";
import { prepareSnapshot } from "../../src/common/containerd/snapshots.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { layerUnpackMs } from "../../src/common/limits/runtime.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { Descriptor } from "../../src/common/registry/manifest.ts";
import { diskFull } from "./disk-full.ts";
import { holdFor } from "./leases.ts";

/** Names of the snapshots of an image, the lowest first. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) chain.push(chainIdOn(chain.at(-1) ?? "", diffId));
  return chain;
}

function chainIdOn(parent: string, diffId: string): string {
  if (parent === "") return diffId;
  return `sha256:${createHash("sha256").update(`${parent} ${diffId}`).digest("hex")}`;
}

/** One layer to be unpacked. */
export interface LayerPlace {
  readonly layer: Pick<Descriptor, "mediaType" | "digest" | "sizeBytes">;
  /** "" when it is not known before. */
  readonly diffId: string;
  /** Chain id of the layer below; "" for the lowest. */
  readonly parent: string;
  readonly lease: string;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Whether a snapshot is there; if so, it is held for the lease. */
export async function holdSnapshot(
  client: ContainerdClient,
  lease: string,
  chainId: string,
): Promise<boolean> {
  // First held, then looked at: the collector may take it in between otherwise.
  await holdFor(client, lease, { kind: "snapshot", id: chainId });
  try {
    await client.call(SnapshotsService.stat, { snapshotter: snapshotterName, key: chainId });
    return true;
  } catch (error) {
    if (hasCode(error, "not-found")) return false;
    throw error;
  }
}

/**
 * Unpacks a layer onto the one below. Resolves with its diff id and chain id.
 *
 * @throws ClusterError `failed-precondition` when it is not what the image says, `resource-exhausted` when the disk is full.
 */
export async function unpackLayer(
  client: ContainerdClient,
  place: LayerPlace,
): Promise<{ readonly diffId: string; readonly chainId: string }> {
  const { layer, parent, lease, signal } = place;
  const snapshotter = snapshotterName;
  const key = `extract-${Buffer.from(place.random.bytes(12)).toString("hex")}`;
  const options = { lease, signal };
  let diffId = place.diffId;
  try {
    const { mounts } = await prepareSnapshot(client, { snapshotter, key, parent }, options);
    const { mediaType, digest, sizeBytes: size } = layer;
    const { applied } = await client.call(
      DiffService.apply,
      { diff: { mediaType, digest, size, annotations: {} }, mounts },
      { ...options, timeoutMs: layerUnpackMs },
    );
    diffId = applied?.digest ?? "";
    if (place.diffId !== "" && diffId !== place.diffId) {
      throw new ClusterError(
        "failed-precondition",
        `layer ${digest} unpacks to ${diffId}, but the image says ${place.diffId}: it was damaged when it was made`,
      );
    }
    const chainId = chainIdOn(parent, diffId);
    await client.call(SnapshotsService.commit, { snapshotter, key, name: chainId }, options);
    return { diffId, chainId };
  } catch (error) {
    await client.call(SnapshotsService.remove, { snapshotter, key }).catch(() => {
      // Committed, never made, or left to the collector with the lease.
    });
    // Another image with the same layer was faster.
    if (hasCode(error, "already-exists") && diffId !== "") {
      const chainId = chainIdOn(parent, diffId);
      if (await holdSnapshot(client, lease, chainId)) return { diffId, chainId };
    }
    throw unpackFailure(layer.digest, diskFull(error));
  }
}

/** What containerd has no code for is about the layer: it is no tar file, or cut, or of another compression. */
function unpackFailure(digest: string, error: unknown): unknown {
  if (!hasCode(error, "unknown")) return error;
  const why = errorText(error).replace(/^mount callback failed on \S+: /, "");
  return new ClusterError("failed-precondition", `layer ${digest} cannot be unpacked: ${why}`, {
    cause: error,
  });
}
