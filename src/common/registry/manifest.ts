/**
 * Manifests, indexes and image configurations as registries and archives hold them, read into typed values once. Pure.
 *
 * OCI image specification 1.1 and Docker's image manifest 2.2, whose JSON is the same but for media types.
 */
import { Platform } from "../api/generated/api.ts";
import { ClusterError, errorText } from "../errors/cluster-error.ts";
import { isDigest } from "./reference.ts";

/** Media types of manifests, indexes and what they point at. */
export const mediaTypes = {
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

/** What a client of a registry accepts as a manifest. */
export const manifestAccept: readonly string[] = [
  mediaTypes.ociIndex,
  mediaTypes.dockerIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
];

/** A reference to content by its digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  /** Only in indexes. */
  readonly platform: Platform | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** The manifest of one image for one platform. */
export interface ImageManifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
}

/** An index (Docker: manifest list) of several. */
export interface ImageIndex {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

/** Whether a media type is one of manifests. */
export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
}

/** Whether a media type is one of indexes. */
export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex;
}

/**
 * Reads a manifest or an index.
 *
 * @param mediaType What the registry or the descriptor calls it; "" when nothing was said.
 * @throws ClusterError `failed-precondition` saying what is wrong with it.
 */
export function parseManifest(body: Uint8Array, mediaType: string): ImageManifest | ImageIndex {
  const json = objectOf(parseJson(body, "manifest"), "manifest");
  const inside = stringOf(json["mediaType"]);
  const type = inside || mediaType.split(";")[0]?.trim() || "";
  if (json["schemaVersion"] === 1) {
    throw malformed(
      "is of Docker's old schema 1, which is not supported: pull it with an older docker and push it again",
    );
  }
  if (Array.isArray(json["manifests"])) {
    const manifests = json["manifests"].map((item) => descriptorOf(item, "manifest"));
    return { kind: "index", mediaType: isIndexType(type) ? type : mediaTypes.ociIndex, manifests };
  }
  if (Array.isArray(json["layers"])) {
    const config = descriptorOf(json["config"], "config");
    const layers = json["layers"].map((item) => descriptorOf(item, "layer"));
    const manifestType = isManifestType(type) ? type : mediaTypes.ociManifest;
    return { kind: "manifest", mediaType: manifestType, config, layers };
  }
  throw malformed(`is of a kind that is not known: ${JSON.stringify(type.slice(0, 128))}`);
}

/** What of an image configuration says for which machine it is. @throws ClusterError `failed-precondition` */
export function configPlatform(body: Uint8Array): Platform {
  const json = objectOf(parseJson(body, "configuration"), "configuration");
  return platformOf(json);
}

/** Manifests of an index that are images: those that only tell of others, such as attestations, are left out. */
export function imagesOf(index: ImageIndex): readonly Descriptor[] {
  return index.manifests.filter(
    ({ platform, annotations }) =>
      platform?.architecture !== "unknown" &&
      annotations["vnd.docker.reference.type"] === undefined,
  );
}

/** JSON of a descriptor as it stands in manifests. */
export function descriptorJson(descriptor: Descriptor): Record<string, unknown> {
  const { mediaType, digest, sizeBytes, platform, annotations } = descriptor;
  return {
    mediaType,
    digest,
    size: sizeBytes,
    ...(platform === undefined ? {} : { platform: platformJson(platform) }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** JSON of a platform as it stands in an index. */
export function platformJson(platform: Platform): Record<string, string> {
  const { architecture, os, variant } = platform;
  return { architecture, os, ...(variant === "" ? {} : { variant }) };
}

/** A descriptor without the rarer fields. */
export function descriptor(d: Pick<Descriptor, "mediaType" | "digest" | "sizeBytes">): Descriptor {
  return { ...d, platform: undefined, annotations: {} };
}

function descriptorOf(value: unknown, what: string): Descriptor {
  const json = objectOf(value, what);
  const digest = stringOf(json["digest"]);
  const size = json["size"];
  if (!isDigest(digest)) throw malformed(`has a ${what} without a digest that can be checked`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw malformed(`has a ${what} without a size: ${digest}`);
  }
  const platform = json["platform"];
  return {
    mediaType: stringOf(json["mediaType"]),
    digest,
    sizeBytes: size,
    platform: platform === undefined ? undefined : platformOf(objectOf(platform, "platform")),
    annotations: stringsOf(json["annotations"]),
  };
}

function platformOf(json: Readonly<Record<string, unknown>>): Platform {
  return Platform.create({
    architecture: stringOf(json["architecture"]),
    os: stringOf(json["os"]),
    variant: stringOf(json["variant"]),
  });
}

function parseJson(body: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString("utf8"));
  } catch (error) {
    throw new ClusterError("failed-precondition", `the ${what} is no JSON: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw malformed(`has no ${what} where one must be`);
}

function stringOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function stringsOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );
}

function malformed(text: string): ClusterError {
  return new ClusterError("failed-precondition", `the manifest ${text}`);
}
