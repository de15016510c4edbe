/**
 * Removing images: which names go, which images go with them, and what that frees.
 */

import type { ImageRemoval } from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import { SnapshotsService } from "../../src/common/containerd/generated/protocol.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";
import type { Catalog, CatalogImage, CatalogName, CatalogView } from "./catalog.ts";
import type { Found } from "./look-up.ts";
import { danglingName, deleteRecord, kindOfName, putRecord, shownName } from "./records.ts";

/** What is needed to remove. */
export interface RemovalTools {
  readonly client: ContainerdClient;
  readonly catalog: Catalog;
}

/** What a removal comes to. */
export interface RemovalPlan {
  /** Names to take away. */
  readonly names: readonly CatalogName[];
  /** Images that are then without any. */
  readonly lost: readonly CatalogImage[];
}

/** What happens when these names are taken away. Pure. */
export function planRemoval(view: CatalogView, names: readonly CatalogName[]): RemovalPlan {
  const gone = new Set(names.map(({ record }) => record.name));
  const kept = new Set(
    view.names
      .filter(({ record }) => !gone.has(record.name))
      .flatMap(({ images }) => images.map(({ id }) => id)),
  );
  const lost = new Map(
    names
      .flatMap(({ images }) => images)
      .filter(({ id }) => !kept.has(id))
      .map((image) => [image.id, image]),
  );
  return { names, lost: [...lost.values()] };
}

/** Names that a user means to remove by a reference: the one, or all of the image's by its id. */
export function namesToRemove(
  found: Found,
  o: { readonly force: boolean; readonly text: string },
): readonly CatalogName[] {
  if (found.reference !== undefined) return found.names;
  const repositories = new Set(
    found.names
      .filter(({ record }) => kindOfName(record.name) === "tag")
      .map(({ record }) => record.name.slice(0, record.name.lastIndexOf(":"))),
  );
  if (repositories.size > 1 && !o.force) {
    throw new ClusterError(
      "failed-precondition",
      `conflict: unable to delete ${o.text} (must be forced) - image is referenced in multiple repositories`,
    );
  }
  return found.names;
}

/**
 * Carries a plan out. What is in use loses its names only: it is kept as a dangling image.
 *
 * @throws ClusterError `failed-precondition` when an image in use would lose its last name without force.
 */
export async function remove(
  tools: RemovalTools,
  plan: RemovalPlan,
  o: {
    readonly force: boolean;
    readonly text: string;
    readonly inUse: (imageId: string) => boolean;
  },
): Promise<ImageRemoval> {
  const { client, catalog } = tools;
  const used = plan.lost.filter(({ id }) => o.inUse(id));
  if (used.length > 0 && !o.force) {
    throw new ClusterError(
      "failed-precondition",
      `conflict: unable to remove repository reference ${JSON.stringify(o.text)} (must force) - a container is using its referenced image`,
    );
  }
  const deleted = used.length > 0 ? [] : plan.lost;
  const sizes = new Map<string, number>();
  for (const chainId of new Set(deleted.flatMap(({ chain }) => chain)))
    sizes.set(chainId, await catalog.layerSize(chainId));
  for (const { record, images } of plan.names) {
    const isUsed = images.some((image) => used.includes(image));
    const dangling = danglingName(record.target.digest);
    if (isUsed) await putRecord(client, dangling, record.target);
    // What is used and dangling stays as it is.
    if (isUsed && record.name === dangling) continue;
    await deleteRecord(client, record.name, { sync: deleted.length > 0 });
  }
  catalog.changed();
  const layers: string[] = [];
  let freedBytes = 0;
  for (const [chainId, size] of sizes) {
    if (await isThere(client, chainId)) continue;
    layers.push(chainId);
    freedBytes += size;
  }
  return {
    untagged: plan.names
      .filter(({ record }) => kindOfName(record.name) !== "dangling")
      .map(({ record }) => shownName(record.name)),
    deleted: [...deleted.map(({ id }) => id), ...layers.reverse()],
    freedBytes,
  };
}

async function isThere(client: ContainerdClient, key: string): Promise<boolean> {
  try {
    await client.call(SnapshotsService.stat, { snapshotter: snapshotterName, key });
    return true;
  } catch (error) {
    if (hasCode(error, "not-found")) return false;
    throw error;
  }
}
