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

/** @throws ClusterError `invalid-argument` for a value that is none. */
export function imageMatcher(filters: Filters, targets: ImageTargets): (image: Image) => boolean {
  const dangling = truthFor(filters, "dangling");
  const patterns = valuesFor(filters, "reference").map(globOf);
  const { beforeMs, sinceMs, untilMs } = targets;
  return (image) =>
    (dangling === undefined || dangling === (image.tags.length === 0)) &&
    matchesLabels(filters, "label", image.config.labels) &&
    (beforeMs === undefined || image.createdAtMs < beforeMs) &&
    (sinceMs === undefined || image.createdAtMs > sinceMs) &&
    (untilMs === undefined || image.createdAtMs <= untilMs) &&
    (patterns.length === 0 || namesOf(image).some((name) => patterns.some((p) => p.test(name))));
}

/** Names with and without their tags, which patterns may leave out. */
function namesOf(image: Image): readonly string[] {
  return [...image.tags, ...image.digests].flatMap((name) => [
    name,
    name.replace(/[:@][^/]*$/, ""),
  ]);
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
