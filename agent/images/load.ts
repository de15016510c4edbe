/**
 * Loads images from an archive: what `docker save` writes today (an OCI layout), what it wrote before (a manifest.json that
 * names layers as tar files), and OCI layouts of other tools.
 */
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import {
  type Descriptor,
  descriptor,
  imagesOf,
  mediaTypes,
  parseManifest,
} from "../../src/common/registry/manifest.ts";
import {
  familiarText,
  fullText,
  parseReference,
  withDefaultTag,
} from "../../src/common/registry/reference.ts";
import { isImageReference } from "../../src/common/spec/image-reference.ts";
import { type ArchiveContents, readArchive } from "./archive-reader.ts";
import type { CatalogImage } from "./catalog.ts";
import { parseImageConfig } from "./image-config.ts";
import { type LeasePlace, type LeaseTools, underLease } from "./leases.ts";
import { assignName } from "./names.ts";
import { collectorLabels, snapshotLabel } from "./pull.ts";
import { type StoreTools, storeImage } from "./store-image.ts";
import { chainIds, holdSnapshot, unpackLayer } from "./unpack.ts";

/** What archives are loaded with. */
export interface LoadTools extends StoreTools, LeaseTools {}

/** One image that was loaded. */
export interface LoadedImage {
  readonly image: CatalogImage;
  /** As Docker shows them. */
  readonly names: readonly string[];
}

/** Loads all images of an archive. @throws ClusterError `invalid-argument` when it is none of the known forms */
export async function loadArchive(
  tools: LoadTools,
  archive: AsyncIterable<Uint8Array>,
): Promise<readonly LoadedImage[]> {
  return await underLease(tools, "load", async (place) => {
    const contents = await readArchive({ ...place, content: tools.content }, archive);
    return await new LoadJob(tools, contents, place).run();
  });
}

/** One entry of a manifest.json. */
interface SavedImage {
  readonly config: string;
  readonly names: readonly string[];
  readonly layers: readonly string[];
}

/** Makes images of what was in one archive. */
class LoadJob {
  readonly #tools: LoadTools;
  readonly #contents: ArchiveContents;
  readonly #place: LeasePlace;
  /** What is in the content store now. */
  readonly #blobs: ReadonlySet<string>;

  constructor(tools: LoadTools, contents: ArchiveContents, place: LeasePlace) {
    this.#tools = tools;
    this.#contents = contents;
    this.#place = place;
    this.#blobs = new Set([...contents.stored.values()].map(({ digest }) => digest));
  }

  async run(): Promise<readonly LoadedImage[]> {
    const { small } = this.#contents;
    const index = small.get("index.json");
    const list = small.get("manifest.json");
    if (index !== undefined) return await this.#loadLayout(index, savedImages(list));
    if (list !== undefined) {
      const loaded: LoadedImage[] = [];
      for (const saved of savedImages(list)) loaded.push(await this.#loadSaved(saved));
      return loaded;
    }
    throw new ClusterError(
      "invalid-argument",
      "this is no image archive: it has neither a manifest.json nor an index.json (a file system is imported with docker import)",
    );
  }

  /** An OCI layout; where it names nothing, the names may stand in docker's list beside it. */
  async #loadLayout(
    index: Uint8Array,
    saved: readonly SavedImage[],
  ): Promise<readonly LoadedImage[]> {
    const parsed = parseManifest(index, mediaTypes.ociIndex);
    if (parsed.kind !== "index") throw malformed("index.json is no index");
    const loaded: LoadedImage[] = [];
    const hasNames = parsed.manifests.some((entry) => namesOfEntry(entry).length > 0);
    for (const entry of parsed.manifests) {
      const images = await this.#takeIn(entry, 0);
      const first = images[0];
      if (first === undefined) continue;
      const listed = saved.filter(({ config }) =>
        images.some(({ id }) => config.includes(id.slice("sha256:".length))),
      );
      const names = hasNames
        ? namesOfEntry(entry)
        : [...new Set(listed.flatMap((image) => image.names))];
      await this.#name(entry, names);
      loaded.push({ image: first, names: names.map((name) => familiarText(parseReference(name))) });
    }
    if (loaded.length === 0) throw malformed("none of its images is complete");
    return loaded;
  }

  /** The images of a manifest or index that are in the archive, unpacked and kept by it. */
  async #takeIn(entry: Descriptor, depth: number): Promise<readonly CatalogImage[]> {
    const { content, catalog } = this.#tools;
    if (!this.#blobs.has(entry.digest) || depth > layoutDepthMax) return [];
    const body = await content.readWhole(entry.digest);
    const manifest = parseManifest(body, entry.mediaType);
    const labels = collectorLabels({ body, mediaType: entry.mediaType });
    if (manifest.kind === "index") {
      const images: CatalogImage[] = [];
      for (const child of imagesOf(manifest))
        images.push(...(await this.#takeIn(child, depth + 1)));
      await content.label(entry.digest, labels);
      return images;
    }
    const missing = [manifest.config, ...manifest.layers].find(
      ({ digest }) => !this.#blobs.has(digest),
    );
    if (missing !== undefined)
      throw malformed(`it lacks blobs/${missing.digest.replace(":", "/")}`);
    const image = await catalog.image(entry.digest, manifest);
    const top = image.chain.at(-1);
    if (top !== undefined) await content.label(manifest.config.digest, { [snapshotLabel]: top });
    await this.#unpack(manifest.layers, image.document.diffIds);
    await content.label(entry.digest, labels);
    return [image];
  }

  /** Docker's older form: the manifest is made here. */
  async #loadSaved(saved: SavedImage): Promise<LoadedImage> {
    const { small, stored } = this.#contents;
    const config = await this.#configOf(saved.config);
    const { diffIds } = parseImageConfig(config);
    const layers = saved.layers.map((path): Descriptor => {
      const file = stored.get(path);
      if (file === undefined) {
        const isEmpty = small.has(path);
        throw malformed(isEmpty ? `${path} is no layer` : `it lacks the layer ${path}`);
      }
      const { dockerLayer, dockerLayerGzip } = mediaTypes;
      const { digest, sizeBytes, isGzip } = file;
      return descriptor({ mediaType: isGzip ? dockerLayerGzip : dockerLayer, digest, sizeBytes });
    });
    if (layers.length !== diffIds.length) {
      throw malformed(
        `${saved.config} is of ${diffIds.length} layers, the list has ${layers.length}`,
      );
    }
    await this.#unpack(layers, diffIds);
    const image = await storeImage(this.#tools, {
      ...{ config, diffIds, layers, names: saved.names },
      ...this.#place,
    });
    return { image, names: saved.names.map((name) => familiarText(parseReference(name))) };
  }

  async #configOf(path: string): Promise<Uint8Array> {
    const { small, stored } = this.#contents;
    const file = stored.get(path);
    const body = small.get(path) ?? (file && (await this.#tools.content.readWhole(file.digest)));
    if (body === undefined) throw malformed(`it lacks the configuration ${path}`);
    return body;
  }

  async #unpack(layers: readonly Descriptor[], diffIds: readonly string[]): Promise<void> {
    const { client, random } = this.#tools;
    const chain = chainIds(diffIds);
    for (const [position, layer] of layers.entries()) {
      const { lease } = this.#place;
      if (await holdSnapshot(client, lease, chain[position] ?? "")) continue;
      await unpackLayer(client, {
        ...{ layer, random, ...this.#place },
        diffId: diffIds[position] ?? "",
        parent: chain[position - 1] ?? "",
      });
    }
  }

  async #name(target: Descriptor, names: readonly string[]): Promise<void> {
    const { client, catalog } = this.#tools;
    for (const name of names.length === 0 ? [""] : names)
      await assignName(client, catalog, { name, target });
  }
}

/** Layouts may hold an index of indexes. */
const layoutDepthMax = 4;

/** Names an entry of a layout gives its image: containerd's and Docker's annotation, else the OCI one if it is a name. */
function namesOfEntry({ annotations }: Descriptor): string[] {
  const own = annotations["io.containerd.image.name"];
  const plain = annotations["org.opencontainers.image.ref.name"];
  if (own !== undefined && isImageReference(own)) return [fullText(tagged(own))];
  // A tag alone names nothing.
  const isName = plain !== undefined && isImageReference(plain) && /[/:]/.test(plain);
  return isName ? [fullText(tagged(plain))] : [];
}

function tagged(text: string) {
  return withDefaultTag(parseReference(text));
}

function savedImages(list: Uint8Array | undefined): readonly SavedImage[] {
  if (list === undefined) return [];
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(list).toString("utf8"));
  } catch (error) {
    throw malformed(`manifest.json: ${errorText(error)}`);
  }
  if (!Array.isArray(json)) throw malformed("manifest.json is no list");
  return json.map((item: unknown) => {
    const { Config, RepoTags, Layers } = (item ?? {}) as Record<string, unknown>;
    const strings = (value: unknown) =>
      Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
    const names = strings(RepoTags).map((text) => {
      if (!isImageReference(text)) throw malformed(`manifest.json: ${text} is no image name`);
      return fullText(tagged(text));
    });
    return { config: String(Config ?? ""), names, layers: strings(Layers) };
  });
}

function malformed(text: string): ClusterError {
  return new ClusterError("invalid-argument", `the archive cannot be loaded: ${text}`);
}
