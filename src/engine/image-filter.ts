/**
 * Filters of `GET /images/json`. Pure.
 */
import type { Image } from "../common/container/images.ts";
import { truthFor } from "./container-filter.ts";
import { type Filters, matchesLabels, valuesFor } from "./filters.ts";

/** Filters the list knows. */
export const imageFilters = ["before", "dangling", "label", "reference", "since", "until"];

/** What filters refer to, looked up before; undefined where there is no such filter. */
export interface ImageTargets {
  readonly beforeMs: number | undefined;
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
}

/**
 * The images that pass, with `reference` each with the names that do.
 * @throws ClusterError `invalid-argument` for a value that is none.
 */
export function filteredImages(
  images: readonly Image[],
  filters: Filters,
  targets: ImageTargets,
): readonly Image[] {
  const patterns = valuesFor(filters, "reference").map(globOf);
  const matches = (name: string) => namesOf(name).some((n) => patterns.some((p) => p.test(n)));
  const found = images.filter(imageMatcher(filters, targets));
  if (patterns.length === 0) return found;
  return found
    .map((image) => ({
      ...image,
      tags: image.tags.filter(matches),
      digests: image.digests.filter(matches),
    }))
    .filter(({ tags, digests }) => tags.length > 0 || digests.length > 0);
}

function imageMatcher(filters: Filters, targets: ImageTargets): (image: Image) => boolean {
  const dangling = truthFor(filters, "dangling");
  const { beforeMs, sinceMs, untilMs } = targets;
  return (image) =>
    (dangling === undefined || dangling === (image.tags.length === 0)) &&
    matchesLabels(filters, "label", image.config.labels) &&
    (beforeMs === undefined || image.createdAtMs < beforeMs) &&
    (sinceMs === undefined || image.createdAtMs > sinceMs) &&
    (untilMs === undefined || image.createdAtMs <= untilMs);
}

/** The name with and without its tag or digest, which patterns may leave out. */
function namesOf(name: string): readonly string[] {
  return [name, name.replace(/[:@][^/]*$/, "")];
}

/** A pattern as of a shell: `*` and `?` stop at slashes. */
function globOf(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|\\]/g, "\\$&")
    .replace(/\*/g, "[^/]*")
    .replace(/\?/g, "[^/]");
  try {
    return new RegExp(`^${source}$`);
  } catch {
    // A bracket that is not closed: nothing is called that.
    return /^$/;
  }
}
