/**
 * The `filters` parameter of lists: parsing, checking, matching. Pure.
 *
 * JSON in the query, either `{"name":{"web":true}}` or, from old clients, `{"name":["web"]}`. Values of one key are
 * alternatives, keys must all match; values of `label` must all match.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Values per key. */
export type Filters = ReadonlyMap<string, readonly string[]>;

/**
 * @param accepted Keys the list knows.
 * @throws ClusterError `invalid-argument` for malformed filters and unknown keys.
 */
export function parseFilters(text: string | null, accepted: readonly string[]): Filters {
  const filters = new Map<string, readonly string[]>();
  if (text === null || text === "") return filters;
  for (const [key, values] of Object.entries(parsed(text))) {
    if (!accepted.includes(key))
      throw new ClusterError("invalid-argument", `invalid filter '${key}'`);
    filters.set(key, valuesOf(values));
  }
  return filters;
}

/** The values of a key; empty when it is not given. */
export function valuesFor(filters: Filters, key: string): readonly string[] {
  return filters.get(key) ?? [];
}

/** Whether the key is not given or one value is a prefix of the text. */
export function matchesPrefix(filters: Filters, key: string, text: string): boolean {
  const values = valuesFor(filters, key);
  return values.length === 0 || values.some((value) => text.startsWith(value));
}

/** Whether the key is not given or one value is the text. */
export function matchesExactly(filters: Filters, key: string, text: string): boolean {
  const values = valuesFor(filters, key);
  return values.length === 0 || values.includes(text);
}

/** Whether the key is not given or one value is a part of the text. */
export function matchesPart(filters: Filters, key: string, text: string): boolean {
  const values = valuesFor(filters, key);
  return values.length === 0 || values.some((value) => text.includes(value));
}

/** Whether every `key` or `key=value` given holds for the labels; `key=` is like `key`. */
export function matchesLabels(
  filters: Filters,
  key: string,
  labels: Readonly<Record<string, string>>,
): boolean {
  return valuesFor(filters, key).every((wanted) => {
    const at = wanted.indexOf("=");
    const name = at < 0 ? wanted : wanted.slice(0, at);
    const value = at < 0 ? "" : wanted.slice(at + 1);
    if (!Object.hasOwn(labels, name)) return false;
    return value === "" || labels[name] === value;
  });
}

/**
 * Values of a key that must come from a closed list, in any case; "" is ignored.
 * @throws ClusterError `invalid-argument` for any other.
 */
export function wordsFor<W extends string>(
  filters: Filters,
  key: string,
  words: readonly W[],
): readonly W[] {
  return valuesFor(filters, key).flatMap((text) => {
    if (text === "") return [];
    const word = words.find((w) => w === text.toLowerCase());
    if (word === undefined)
      throw new ClusterError("invalid-argument", `Invalid ${key} filter: '${text}'`);
    return [word];
  });
}

function parsed(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ClusterError("invalid-argument", "invalid filter", { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ClusterError("invalid-argument", "invalid filter");
  return value;
}

function valuesOf(values: unknown): readonly string[] {
  if (Array.isArray(values) && values.every((value) => typeof value === "string")) return values;
  if (typeof values === "object" && values !== null && !Array.isArray(values))
    return Object.keys(values);
  throw new ClusterError("invalid-argument", "invalid filter");
}
