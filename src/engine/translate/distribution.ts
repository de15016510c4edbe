/**
 * What a registry says of an image → the answer to `GET /distribution/{name}/json`. Pure.
 */
import type { ResolvedImage } from "../../common/registry/registry.ts";
import type { Json } from "./common.ts";

/** Descriptor and platforms; the lowest level of amd64 is not written, as in the indexes that registries hold. */
export function resolvedToJson({ digest, mediaType, sizeBytes, platforms }: ResolvedImage): Json {
  return {
    Descriptor: { mediaType, digest, size: sizeBytes },
    Platforms: platforms.map(({ architecture, os, variant }) => ({
      architecture,
      os,
      ...(variant === "" || (architecture === "amd64" && variant === "v1") ? {} : { variant }),
    })),
  };
}
