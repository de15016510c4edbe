/**
 * Saves images as an archive: an OCI layout with Docker's manifest.json beside it, which old and new `docker load` take.
 */
import type { Platform } from "../../src/common/api/generated/api.ts";
import { type Descriptor, descriptorJson, mediaTypes } from "../../src/common/registry/manifest.ts";
import { familiarText, fullText } from "../../src/common/registry/reference.ts";
import type { CatalogImage, CatalogView } from "./catalog.ts";
import type { ContentStore } from "./content.ts";
import type { Json } from "./image-config.ts";
import { lookUp, pickImage } from "./look-up.ts";
import { kindOfName } from "./records.ts";

/** One image to be saved. */
interface Saved {
  /** Of the index where all of it is here, else of the manifest. */
  readonly target: Pick<Descriptor, "mediaType" | "digest" | "sizeBytes">;
  readonly images: readonly CatalogImage[];
  /** The one for readers that know of one platform only. */
  readonly image: CatalogImage;
  /** Complete, and as Docker shows it; empty when it was named by its id. */
  readonly name: string;
  readonly shown: string;
}

/** Begins an archive. @throws ClusterError `not-found` for the first image that is not here, before anything is written */
export function saveImages(
  content: ContentStore,
  view: CatalogView,
  o: { readonly references: readonly string[]; readonly platforms: readonly Platform[] },
): AsyncIterable<Uint8Array> {
  const all = o.references.map((text) => savedOf(view, text, o.platforms));
  return archive(content, view, all);
}

function savedOf(view: CatalogView, text: string, platforms: readonly Platform[]): Saved {
  const found = lookUp(view, text);
  const image = pickImage(found, { wanted: undefined, node: platforms, text });
  const { reference, names } = found;
  const whole = names.find(({ complete }) => complete);
  const name =
    reference === undefined || reference.tag === "" || kindOfName(fullText(reference)) !== "tag"
      ? ""
      : fullText(reference);
  const shown = name === "" || reference === undefined ? "" : familiarText(reference);
  if (reference !== undefined && whole !== undefined)
    return { target: whole.record.target, images: whole.images, image, name, shown };
  const size = view.content.get(image.manifestDigest)?.size ?? 0;
  const { mediaType } = image.manifest;
  const target = { mediaType, digest: image.manifestDigest, sizeBytes: size };
  return { target, images: [image], image, name, shown };
}

async function* archive(
  content: ContentStore,
  view: CatalogView,
  all: readonly Saved[],
): AsyncGenerator<Uint8Array, void, void> {
  const blobs = new Set<string>();
  for (const { target, images } of all) {
    for (const { manifestDigest, manifest } of images) {
      for (const { digest } of [manifest.config, ...manifest.layers]) blobs.add(digest);
      blobs.add(manifestDigest);
    }
    blobs.add(target.digest);
  }
  yield folderHeader("blobs/");
  yield folderHeader("blobs/sha256/");
  for (const digest of blobs) {
    yield fileHeader(blobPath(digest), view.content.get(digest)?.size ?? 0);
    let length = 0;
    for await (const piece of content.read(digest)) {
      length += piece.length;
      yield piece;
    }
    yield padding(length);
  }
  const layout = { imageLayoutVersion: "1.0.0" };
  yield* jsonFile("index.json", indexJson(all));
  yield* jsonFile("manifest.json", listJson(all));
  yield* jsonFile("oci-layout", layout);
  yield* jsonFile("repositories", repositoriesJson(all));
  // Two empty blocks end a tar file.
  yield new Uint8Array(2 * blockBytes);
}

function indexJson(all: readonly Saved[]): Json {
  const manifests = all.map(({ target, name }) => ({
    ...descriptorJson({ ...target, platform: undefined, annotations: {} }),
    ...(name !== "" && {
      annotations: {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
      },
    }),
  }));
  return { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
}

/** Docker's own list: one entry per image, with all of its names. */
function listJson(all: readonly Saved[]): readonly Json[] {
  const byId = new Map<string, { image: CatalogImage; tags: string[] }>();
  for (const { image, shown } of all) {
    const entry = byId.get(image.id) ?? { image, tags: [] };
    if (shown !== "") entry.tags.push(shown);
    byId.set(image.id, entry);
  }
  return [...byId.values()].map(({ image, tags }) => ({
    Config: blobPath(image.id),
    RepoTags: tags.length === 0 ? null : tags,
    Layers: image.manifest.layers.map(({ digest }) => blobPath(digest)),
  }));
}

function repositoriesJson(all: readonly Saved[]): Json {
  const found: Record<string, Record<string, string>> = {};
  for (const { name, shown, image } of all) {
    if (name === "") continue;
    const at = shown.lastIndexOf(":");
    const repository = shown.slice(0, at);
    const tags = found[repository] ?? {};
    tags[shown.slice(at + 1)] = image.id.slice("sha256:".length);
    found[repository] = tags;
  }
  return found;
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function* jsonFile(name: string, json: unknown): Generator<Uint8Array, void, void> {
  const body = Buffer.from(JSON.stringify(json));
  yield fileHeader(name, body.length);
  yield body;
  yield padding(body.length);
}

const blockBytes = 512;

function fileHeader(name: string, sizeBytes: number): Uint8Array {
  return header({ name, sizeBytes, mode: 0o644, type: "0" });
}

function folderHeader(name: string): Uint8Array {
  return header({ name, sizeBytes: 0, mode: 0o755, type: "5" });
}

/** A ustar header (POSIX.1-1988); sizes from 8 GiB on in GNU's binary form. Names here are short. */
function header(o: { name: string; sizeBytes: number; mode: number; type: string }): Uint8Array {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length, "0")}\0`;
  block.write(o.name, 0, 100);
  block.write(octal(o.mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  if (o.sizeBytes < 8 ** 11) block.write(octal(o.sizeBytes, 11), 124);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(o.sizeBytes), 128);
  }
  block.write(octal(0, 11), 136);
  block.write("        ", 148);
  block.write(o.type, 156);
  block.write("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function padding(length: number): Uint8Array {
  return new Uint8Array((blockBytes - (length % blockBytes)) % blockBytes);
}
