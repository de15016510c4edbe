/**
 * One secondary index: from a key to the ids of the objects that have it.
 *
 * Made for a million objects: a key with one id costs one Map entry, up to eight ids an array, more a Set. Pairs of
 * group and key are nested, so that no string has to be built and kept for each of them.
 */
import type { IndexKey } from "./tables.ts";

type Ids = string | string[] | Set<string>;
type Level = Map<string | number, Ids>;

/** Above this many ids a Set is smaller than the time an array costs. */
const arrayMax = 8;

/** Ids by key. */
export class IndexMap {
  readonly #plain: Level = new Map();
  readonly #nested = new Map<string, Level>();

  add(key: IndexKey, id: string): void {
    if (typeof key !== "object") {
      addTo(this.#plain, key, id);
      return;
    }
    let level = this.#nested.get(key[0]);
    if (level === undefined) {
      level = new Map();
      this.#nested.set(key[0], level);
    }
    addTo(level, key[1], id);
  }

  remove(key: IndexKey, id: string): void {
    if (typeof key !== "object") {
      removeFrom(this.#plain, key, id);
      return;
    }
    const level = this.#nested.get(key[0]);
    if (level === undefined) return;
    removeFrom(level, key[1], id);
    if (level.size === 0) this.#nested.delete(key[0]);
  }

  /** Ids that have the key, in no particular order. */
  ids(key: IndexKey): readonly string[] {
    const ids = this.#get(key);
    if (ids === undefined) return [];
    if (typeof ids === "string") return [ids];
    return Array.isArray(ids) ? ids : [...ids];
  }

  count(key: IndexKey): number {
    const ids = this.#get(key);
    if (ids === undefined) return 0;
    if (typeof ids === "string") return 1;
    return Array.isArray(ids) ? ids.length : ids.size;
  }

  #get(key: IndexKey): Ids | undefined {
    return typeof key === "object" ? this.#nested.get(key[0])?.get(key[1]) : this.#plain.get(key);
  }
}

/** A key as text: what watchers and preconditions name it by. */
export function keyText(key: IndexKey): string {
  return typeof key === "object" ? `${key[0]}/${key[1]}` : String(key);
}

function addTo(level: Level, key: string | number, id: string): void {
  const ids = level.get(key);
  if (ids === undefined) level.set(key, id);
  else if (typeof ids === "string") {
    if (ids !== id) level.set(key, [ids, id]);
  } else if (Array.isArray(ids)) {
    if (ids.includes(id)) return;
    if (ids.length < arrayMax) ids.push(id);
    else level.set(key, new Set(ids).add(id));
  } else ids.add(id);
}

function removeFrom(level: Level, key: string | number, id: string): void {
  const ids = level.get(key);
  if (ids === undefined) return;
  if (typeof ids === "string") {
    if (ids === id) level.delete(key);
  } else if (Array.isArray(ids)) {
    const at = ids.indexOf(id);
    if (at < 0) return;
    ids.splice(at, 1);
    const [only] = ids;
    if (ids.length === 1 && only !== undefined) level.set(key, only);
  } else {
    ids.delete(id);
    if (ids.size <= arrayMax / 2) level.set(key, [...ids]);
  }
}
