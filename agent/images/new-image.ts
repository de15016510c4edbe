/**
 * New images that come from no registry and no archive of images: of a file system (`docker import`), and of an image with a
 * further layer (`docker commit`).
 */
import type { Platform } from "../../src/common/api/generated/api.ts";
import type { ImageConfig } from "../../src/common/container/images.ts";
import {
  type Descriptor,
  descriptor,
  mediaTypes,
  platformJson,
} from "../../src/common/registry/manifest.ts";
import { sniff } from "./archive-layer.ts";
import type { CatalogImage } from "./catalog.ts";
import { configJson, type Json } from "./image-config.ts";
import { type LeaseTools, underLease } from "./leases.ts";
import { type StoreTools, storeImage } from "./store-image.ts";
import { unpackLayer } from "./unpack.ts";

/** What new images are made with. */
export interface NewImageTools extends StoreTools, LeaseTools {}

/** An image with a layer more. */
export interface Extension {
  /** Id of the image below. */
  readonly imageId: string;
  /** Configuration before the changes. */
  readonly config: ImageConfig;
  readonly changes: readonly string[];
  readonly author: string;
  readonly comment: string;
  /** What the history says of the layer. */
  readonly createdBy: string;
  /** Empty for an image without a name. */
  readonly repository: string;
  readonly tag: string;
  /** Puts the layer into the content store, for the lease. */
  readonly makeLayer: (
    lease: string,
  ) => Promise<{ readonly layer: Descriptor; readonly diffId: string }>;
}

/** Makes an image of one layer out of a tar stream, compressed or not. */
export async function importImage(
  tools: NewImageTools,
  tar: AsyncIterable<Uint8Array>,
  o: {
    readonly config: ImageConfig;
    readonly message: string;
    readonly platform: Platform;
    readonly names: readonly string[];
  },
): Promise<CatalogImage> {
  const { content, client, random } = tools;
  const { compression, whole } = await sniff(tar);
  const created = new Date(tools.clock.now()).toISOString();
  return await underLease(tools, "new", async ({ lease, name, signal }) => {
    const ingest = await content.ingest({ digest: "", sizeBytes: 0, lease, signal }, name);
    let layer: Descriptor;
    try {
      for await (const piece of whole) await ingest?.write(piece);
      const sizeBytes = ingest?.offsetBytes ?? 0;
      const digest = (await ingest?.commit({})) ?? "";
      const types = { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: zstdLayer };
      layer = descriptor({ mediaType: types[compression], digest, sizeBytes });
    } catch (error) {
      ingest?.close();
      await content.abort(name);
      throw error;
    } finally {
      ingest?.close();
    }
    const { diffId } = await unpackLayer(client, {
      ...{ layer, diffId: "", parent: "", lease, random, signal },
    });
    const config: Json = {
      ...platformJson(o.platform),
      ...{ created, comment: o.message, config: configJson(o.config) },
      rootfs: { type: "layers", diff_ids: [diffId] },
      history: [{ created, comment: o.message }],
    };
    const body = Buffer.from(JSON.stringify(config));
    const made = { config: body, diffIds: [diffId], layers: [layer], names: o.names };
    return await storeImage(tools, { ...made, lease, signal });
  });
}

/** Makes an image of another one and a layer, which is unpacked on top. */
export async function extendImage(
  tools: NewImageTools,
  o: Extension & {
    readonly below: CatalogImage;
    readonly names: readonly string[];
  },
): Promise<CatalogImage> {
  const { client, random } = tools;
  const { below } = o;
  const created = new Date(tools.clock.now()).toISOString();
  return await underLease(tools, "new", async ({ lease, signal }) => {
    const { layer, diffId } = await o.makeLayer(lease);
    const parent = below.chain.at(-1) ?? "";
    await unpackLayer(client, { layer, diffId, parent, lease, random, signal });
    const { json } = below.document;
    const diffIds = [...below.document.diffIds, diffId];
    const history = Array.isArray(json["history"]) ? json["history"] : [];
    const { author, comment, createdBy } = o;
    const step = { created, created_by: createdBy, ...(comment !== "" && { comment }) };
    // Of the image below only what is of the machine; the rest belongs to how that one came to be.
    const { architecture, os, variant } = json;
    const config: Json = {
      ...{ architecture, os, ...(variant !== undefined && { variant }) },
      ...{ created, ...(author !== "" && { author }), ...(comment !== "" && { comment }) },
      config: configJson(o.config),
      rootfs: { type: "layers", diff_ids: diffIds },
      history: [...history, { ...step, ...(author !== "" && { author }) }],
    };
    const body = Buffer.from(JSON.stringify(config));
    const layers = [...below.manifest.layers, layer];
    return await storeImage(tools, {
      ...{ config: body, diffIds, layers, names: o.names, lease, signal },
    });
  });
}

const zstdLayer = "application/vnd.oci.image.layer.v1.tar+zstd";
