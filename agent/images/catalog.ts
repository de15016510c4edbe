/**
 * The images of the node as they are: names, manifests and configurations put together from containerd's records.
 *
 * What is stored under a digest never changes and is read once; what there is, is asked anew after every change of ours and
 * at least every few seconds, as others may use the same containerd.
 */
import type { Clock } from "../../src/common/clock/clock.ts";
import type { Image } from "../../src/common/container/images.ts";
import { type ContainerdClient, snapshotterName } from "../../src/common/containerd/client.ts";
import {
  type ContentRecord,
  SnapshotsService,
} from "../../src/common/containerd/generated/protocol.ts";
import { ClusterError, hasCode } from "../../src/common/errors/cluster-error.ts";
import { imagesCatalogMs } from "../../src/common/limits/runtime.ts";
import { normalizePlatform } from "../../src/common/platform/match.ts";
import {
  type Descriptor,
  type ImageIndex,
  type ImageManifest,
  imagesOf,
  parseManifest,
} from "../../src/common/registry/manifest.ts";
import { familiarName, parseReference } from "../../src/common/registry/reference.ts";
import type { ContentStore } from "./content.ts";
import { type ImageDocument, parseImageConfig } from "./image-config.ts";
import { allRecords, kindOfName, type NameRecord, shownName } from "./records.ts";
import { chainIds } from "./unpack.ts";

/** One image with what it is made of. */
export interface CatalogImage {
  /** Digest of its configuration. */
  readonly id: string;
  readonly manifestDigest: string;
  readonly manifest: ImageManifest;
  readonly document: ImageDocument;
  readonly chain: readonly string[];
}

/** A name and the images behind it that are here. */
export interface CatalogName {
  readonly record: NameRecord;
  /** More than one when an index was pulled for several platforms. */
  readonly images: readonly CatalogImage[];
  /** All images of the index are here; true for a manifest that is. */
  readonly complete: boolean;
}

/** All names of a moment. */
export interface CatalogView {
  readonly names: readonly CatalogName[];
  readonly content: ReadonlyMap<string, ContentRecord>;
}

/** Label that says from where content came; the rest of the label is the registry, its value the repositories. */
export const sourceLabel = "containerd.io/distribution.source.";

/** Reads what is there. */
export class Catalog {
  readonly #client: ContainerdClient;
  readonly #content: ContentStore;
  readonly #clock: Clock;
  readonly #ready: () => Promise<void>;
  readonly #manifests = new Map<string, ImageManifest | ImageIndex>();
  readonly #documents = new Map<string, ImageDocument>();
  readonly #usage = new Map<string, Promise<number>>();
  #view: Promise<CatalogView> | undefined;
  #viewAtMs = 0;

  constructor(
    client: ContainerdClient,
    content: ContentStore,
    o: { readonly clock: Clock; readonly ready: () => Promise<void> },
  ) {
    this.#client = client;
    this.#content = content;
    this.#clock = o.clock;
    this.#ready = o.ready;
  }

  /** What there was is not what there is any more. */
  changed(): void {
    this.#view = undefined;
  }

  /** As it is, or was a moment ago. */
  async view(): Promise<CatalogView> {
    const now = this.#clock.monotonic();
    if (this.#view !== undefined && now - this.#viewAtMs < imagesCatalogMs) return await this.#view;
    const view = this.#read();
    this.#view = view;
    this.#viewAtMs = now;
    try {
      return await view;
    } catch (error) {
      if (this.#view === view) this.#view = undefined;
      throw error;
    }
  }

  /** The image of a manifest that is in the content store. */
  async image(manifestDigest: string, manifest: ImageManifest): Promise<CatalogImage> {
    const document = await this.#document(manifest.config.digest);
    const id = manifest.config.digest;
    return { id, manifestDigest, manifest, document, chain: chainIds(document.diffIds) };
  }

  /** The image as the API shows it, with all its names. */
  async describe(image: CatalogImage, view: CatalogView): Promise<Image> {
    const names = view.names.filter(({ images }) => images.some(({ id }) => id === image.id));
    const { document } = image;
    return {
      id: image.id,
      tags: names
        .filter(({ record }) => kindOfName(record.name) === "tag")
        .map(({ record }) => shownName(record.name)),
      digests: [...new Set(names.flatMap(({ record }) => digestsOf(record, view.content)))],
      manifestDigest: image.manifestDigest,
      platform: normalizePlatform(document.platform),
      createdAtMs: document.createdAtMs,
      taggedAtMs: Math.max(0, ...names.map(({ record }) => record.updatedAtMs)),
      author: document.author,
      comment: document.comment,
      sizeBytes: await this.sizeOf(image.chain),
      config: document.config,
      diffIds: document.diffIds,
    };
  }

  /** Whether a container can be made from it as it is. */
  async isUnpacked({ chain }: CatalogImage): Promise<boolean> {
    const key = chain.at(-1);
    if (key === undefined) return true;
    try {
      await this.#client.call(SnapshotsService.stat, { snapshotter: snapshotterName, key });
      return true;
    } catch (error) {
      if (hasCode(error, "not-found")) return false;
      throw error;
    }
  }

  /** Bytes of the snapshots of a chain; those that are not unpacked count nothing. */
  async sizeOf(chain: readonly string[]): Promise<number> {
    const sizes = await Promise.all(chain.map((chainId) => this.layerSize(chainId)));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  /** Bytes of one committed snapshot, by itself. */
  async layerSize(chainId: string): Promise<number> {
    let usage = this.#usage.get(chainId);
    if (usage === undefined) {
      // Many containers are often made of an image at once: it is measured for all of them together.
      usage = this.#measure(chainId);
      if (this.#usage.size > cachedMax) this.#usage.clear();
      this.#usage.set(chainId, usage);
    }
    try {
      return await usage;
    } catch (error) {
      if (this.#usage.get(chainId) === usage) this.#usage.delete(chainId);
      if (hasCode(error, "not-found")) return 0;
      throw error;
    }
  }

  /** @throws ClusterError not-found when it is not unpacked. */
  async #measure(chainId: string): Promise<number> {
    const request = { snapshotter: snapshotterName, key: chainId };
    return (await this.#client.call(SnapshotsService.usage, request)).size;
  }

  /** A manifest or index that is in the content store. */
  async manifest(digest: string, mediaType: string): Promise<ImageManifest | ImageIndex> {
    const kept = this.#manifests.get(digest);
    if (kept !== undefined) return kept;
    const parsed = parseManifest(await this.#content.readWhole(digest), mediaType);
    if (this.#manifests.size > cachedMax) this.#manifests.clear();
    this.#manifests.set(digest, parsed);
    return parsed;
  }

  async #document(digest: string): Promise<ImageDocument> {
    const kept = this.#documents.get(digest);
    if (kept !== undefined) return kept;
    const document = parseImageConfig(await this.#content.readWhole(digest));
    if (this.#documents.size > cachedMax) this.#documents.clear();
    this.#documents.set(digest, document);
    return document;
  }

  async #read(): Promise<CatalogView> {
    await this.#ready();
    const [records, content] = await Promise.all([allRecords(this.#client), this.#content.all()]);
    const names: CatalogName[] = [];
    for (const record of records) names.push(await this.#nameOf(record, content));
    return { names, content };
  }

  async #nameOf(
    record: NameRecord,
    content: ReadonlyMap<string, ContentRecord>,
  ): Promise<CatalogName> {
    const images: CatalogImage[] = [];
    let complete = true;
    for (const target of await this.#imageTargets(record.target, content)) {
      const image = content.has(target.digest) ? await this.#imageAt(target, content) : undefined;
      if (image === undefined) complete = false;
      else images.push(image);
    }
    return { record, images, complete };
  }

  /** Descriptors of the image manifests of an index, or the manifest itself. */
  async #imageTargets(
    target: NameRecord["target"],
    content: ReadonlyMap<string, ContentRecord>,
  ): Promise<readonly Pick<Descriptor, "mediaType" | "digest">[]> {
    if (!content.has(target.digest)) return [target];
    const manifest = await this.#gone(() => this.manifest(target.digest, target.mediaType));
    return manifest?.kind === "index" ? imagesOf(manifest) : [target];
  }

  /** undefined when a part of it is not here. */
  async #imageAt(
    target: Pick<Descriptor, "mediaType" | "digest">,
    content: ReadonlyMap<string, ContentRecord>,
  ): Promise<CatalogImage | undefined> {
    const image = await this.#gone(async () => {
      const manifest = await this.manifest(target.digest, target.mediaType);
      if (manifest.kind === "index" || !content.has(manifest.config.digest)) return undefined;
      return await this.image(target.digest, manifest);
    });
    const layersAreHere = image?.manifest.layers.every(({ digest }) => content.has(digest));
    return layersAreHere === true ? image : undefined;
  }

  /** Content may go while the list of it is read; what is no image is none of ours. */
  async #gone<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (hasCode(error, "not-found") || hasCode(error, "failed-precondition")) return undefined;
      throw error;
    }
  }
}

/** Manifests, configurations and sizes remembered: some kilobytes each. */
const cachedMax = 1_000;

/**
 * `name@sha256:…` for every repository that is known to have the target. A tag speaks for its own repository only: with the
 * last tag of a repository go its digests, as with Docker. An image that has lost its tags keeps them all.
 */
function digestsOf(record: NameRecord, content: ReadonlyMap<string, ContentRecord>): string[] {
  const { digest } = record.target;
  const labels = content.get(digest)?.labels ?? {};
  const found = Object.entries(labels).flatMap(([label, repositories]) => {
    if (!label.startsWith(sourceLabel)) return [];
    const domain = label.slice(sourceLabel.length);
    return repositories
      .split(",")
      .map((repository) => familiarName({ domain, repository, tag: "", digest: "" }));
  });
  const kind = kindOfName(record.name);
  if (kind === "dangling") return [...new Set(found)].map((name) => `${name}@${digest}`);
  const own = familiarName(parseReference(record.name));
  return kind === "digest" || found.includes(own) ? [`${own}@${digest}`] : [];
}

/** Docker's answer for an image that is not there. */
export function noSuchImage(reference: string): ClusterError {
  return new ClusterError("not-found", `No such image: ${reference}`);
}
