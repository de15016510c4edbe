/**
 * Which image a user means: by name, digest, id or the beginning of an id, in Docker's order. Pure.
 */
import type { Platform } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  choosePlatform,
  normalizePlatform,
  platformText,
} from "../../src/common/platform/match.ts";
import { wrongPlatform } from "../../src/common/platform/refusal.ts";
import {
  familiarText,
  fullName,
  fullText,
  type ImageReference,
  parseReference,
  withDefaultTag,
} from "../../src/common/registry/reference.ts";
import { isImageReference } from "../../src/common/spec/image-reference.ts";
import {
  type CatalogImage,
  type CatalogName,
  type CatalogView,
  noSuchImage,
  sourceLabel,
} from "./catalog.ts";
import { kindOfName } from "./records.ts";

/** What a reference stands for on this node. */
export interface Found {
  /** The names that were meant; all of the image's when it was meant by its id. */
  readonly names: readonly CatalogName[];
  /** One per platform. */
  readonly images: readonly CatalogImage[];
  /** Undefined when it was an id. */
  readonly reference: ImageReference | undefined;
}

/** @throws ClusterError `not-found`, `invalid-argument` when several ids begin so */
export function lookUp(view: CatalogView, text: string): Found {
  const hex = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(text)?.[1] ?? "";
  if (text.startsWith("sha256:") || hex.length === 64) {
    const found = byId(view, hex) ?? byManifest(view, `sha256:${hex}`);
    if (found !== undefined) return found;
  }
  if (isImageReference(text)) {
    const reference = withDefaultTag(parseReference(text));
    const names = view.names.filter((name) => isMeant(name, reference, view));
    const images = unique(names.flatMap((name) => imagesMeant(name, reference)));
    if (images.length > 0) return { names, images, reference };
    const found = hex === "" ? undefined : byId(view, hex);
    if (found !== undefined) return found;
    throw noSuchImage(familiarText(reference));
  }
  throw noSuchImage(text);
}

/** The image for a platform, else for the node's; without a wish any will do. @throws ClusterError `not-found` */
export function pickImage(
  found: Found,
  o: {
    readonly wanted: Platform | undefined;
    readonly node: readonly Platform[];
    readonly text: string;
  },
): CatalogImage {
  const offered = found.images.map(({ document }) => document.platform);
  const wanted = o.wanted === undefined ? o.node : [o.wanted];
  const position = choosePlatform(offered, wanted, { emulated: true });
  const image = found.images[position] ?? (o.wanted === undefined ? found.images[0] : undefined);
  if (image !== undefined) return image;
  const there = offered.map((platform) => platformText(normalizePlatform(platform))).join(", ");
  throw new ClusterError(
    "not-found",
    `image with reference ${o.text} was found but ${wrongPlatform}: wanted ${wanted.map(platformText).join(", ")}, actual: ${there}`,
  );
}

function isMeant({ record }: CatalogName, reference: ImageReference, view: CatalogView): boolean {
  if (reference.digest === "") return record.name === fullText(reference);
  const own =
    kindOfName(record.name) !== "dangling" &&
    fullName(parseReference(record.name)) === fullName(reference);
  if (own) return true;
  const sources = view.content.get(record.target.digest)?.labels[
    `${sourceLabel}${reference.domain}`
  ];
  return sources?.split(",").includes(reference.repository) === true;
}

function imagesMeant(name: CatalogName, reference: ImageReference): readonly CatalogImage[] {
  const { digest } = reference;
  if (digest === "" || name.record.target.digest === digest) return name.images;
  return name.images.filter(({ manifestDigest }) => manifestDigest === digest);
}

function byId(view: CatalogView, prefix: string): Found | undefined {
  if (prefix === "") return undefined;
  const all = unique(view.names.flatMap(({ images }) => images));
  const images = all.filter(({ id }) => id.startsWith(`sha256:${prefix}`));
  if (images.length > 1) {
    throw new ClusterError(
      "invalid-argument",
      `image id ${prefix} is ambiguous (${images.length} matches found)`,
    );
  }
  const [image] = images;
  if (image === undefined) return undefined;
  const names = view.names.filter((name) => name.images.some(({ id }) => id === image.id));
  return { names, images, reference: undefined };
}

function byManifest(view: CatalogView, digest: string): Found | undefined {
  const names = view.names.filter(
    ({ record, images }) =>
      record.target.digest === digest || images.some((image) => image.manifestDigest === digest),
  );
  const images = unique(
    names.flatMap((name) =>
      name.images.filter(
        ({ manifestDigest }) => name.record.target.digest === digest || manifestDigest === digest,
      ),
    ),
  );
  return images.length === 0 ? undefined : { names, images, reference: undefined };
}

function unique(images: readonly CatalogImage[]): CatalogImage[] {
  return [...new Map(images.map((image) => [image.id, image])).values()];
}
