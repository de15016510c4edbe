/**
 * Makes an image of layers that are in the content store: writes configuration and manifest, and gives it a name.
 */
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import {
  type Descriptor,
  descriptor,
  descriptorJson,
  mediaTypes,
} from "../../src/common/registry/manifest.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import type { ContentStore } from "./content.ts";
import type { Json } from "./image-config.ts";
import { assignName } from "./names.ts";
import { collectorLabels, snapshotLabel } from "./pull.ts";
import { chainIds } from "./unpack.ts";

/** Where images are kept. */
export interface StoreTools {
  readonly client: ContainerdClient;
  readonly content: ContentStore;
  readonly catalog: Catalog;
}

/** What an image is made of. */
export interface NewImage {
  /** The configuration's JSON; its diff ids are those of the layers. */
  readonly config: Uint8Array;
  readonly diffIds: readonly string[];
  readonly layers: readonly Descriptor[];
  /** Complete names with tags; none for a dangling image. */
  readonly names: readonly string[];
  readonly lease: string;
  readonly signal: AbortSignal;
}

/** Makes the image. What it is made of is unpacked already, or by the caller afterwards. */
export async function storeImage(tools: StoreTools, image: NewImage): Promise<CatalogImage> {
  const { client, content, catalog } = tools;
  const { lease, signal } = image;
  const isDocker = image.layers.some(({ mediaType }) => mediaType.includes("vnd.docker."));
  const mediaType = isDocker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const top = chainIds(image.diffIds).at(-1);
  const labels: Record<string, string> = top === undefined ? {} : { [snapshotLabel]: top };
  const id = await content.put(image.config, { lease, labels, signal });
  const config = descriptor({
    mediaType: isDocker ? mediaTypes.dockerConfig : mediaTypes.ociConfig,
    digest: id,
    sizeBytes: image.config.length,
  });
  const manifest: Json = {
    schemaVersion: 2,
    mediaType,
    config: descriptorJson(config),
    layers: image.layers.map(descriptorJson),
  };
  const body = Buffer.from(JSON.stringify(manifest));
  const digest = await content.put(body, {
    lease,
    labels: collectorLabels({ body, mediaType }),
    signal,
  });
  const target = { mediaType, digest, sizeBytes: body.length };
  for (const name of image.names.length === 0 ? [""] : image.names)
    await assignName(client, catalog, { name, target });
  return await catalog.image(digest, { kind: "manifest", mediaType, config, layers: image.layers });
}
