/**
 * Generic resources of one node: how many of a kind are free, and which of the named ones. Pure.
 *
 * A node offers a kind either as a number (`SSD=4`) or as names (`GPU=uuid1`, `GPU=uuid2`); a service asks for a number, or for
 * some by their names.
 * What a task was given is in the task itself, so that the state of a node follows from its tasks.
 */
import { GenericResource } from "../../src/common/api/generated/api.ts";

interface Kind {
  count: number;
  /** In the order the node gave them. */
  readonly named: Map<string, number>;
}

/** What a node has of generic resources, less what its tasks were given. */
export class GenericPool {
  readonly #kinds = new Map<string, Kind>();

  constructor(offered: readonly GenericResource[] = []) {
    for (const resource of offered) this.#add(resource, 1);
  }

  /** Takes out what a task was given; what the node no longer offers counts below zero, until it is given back. */
  take(given: readonly GenericResource[]): void {
    for (const resource of given) this.#add(resource, -1);
  }

  /** Puts back what a task was given. */
  giveBack(given: readonly GenericResource[]): void {
    for (const resource of given) this.#add(resource, 1);
  }

  /** Whether there is enough of everything. */
  has(wanted: readonly GenericResource[]): boolean {
    return this.choose(wanted) !== undefined;
  }

  /** What a task that wants this would be given; undefined when there is not enough. Nothing is taken yet. */
  choose(wanted: readonly GenericResource[]): GenericResource[] | undefined {
    const given: GenericResource[] = [];
    for (const { kind, named } of wanted) {
      if (named === "") continue;
      if ((this.#kinds.get(kind)?.named.get(named) ?? 0) <= 0) return undefined;
      given.push(GenericResource.create({ kind, named }));
    }
    for (const [kind, count] of totals(wanted)) {
      const pool = this.#kinds.get(kind);
      if (pool === undefined) return undefined;
      const taken = new Set(given.filter((one) => one.kind === kind).map(({ named }) => named));
      const names = freeNames(pool, count, taken);
      if (names.length === count) {
        given.push(...names.map((named) => GenericResource.create({ kind, named })));
      } else if (pool.count >= count) {
        given.push(GenericResource.create({ kind, count }));
      } else return undefined;
    }
    return given;
  }

  #add({ kind, named, count }: GenericResource, sign: 1 | -1): void {
    let pool = this.#kinds.get(kind);
    if (pool === undefined) {
      pool = { count: 0, named: new Map() };
      this.#kinds.set(kind, pool);
    }
    if (named === "") pool.count += sign * count;
    else pool.named.set(named, (pool.named.get(named) ?? 0) + sign);
  }
}

/** @param taken Names that are spoken for already. */
function freeNames(pool: Kind, count: number, taken: ReadonlySet<string>): string[] {
  const names: string[] = [];
  for (const [name, free] of pool.named) {
    if (names.length === count) break;
    if (free > 0 && !taken.has(name)) names.push(name);
  }
  return names;
}

/** A kind may be named twice in a spec: both count. */
function totals(wanted: readonly GenericResource[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { kind, count } of wanted) {
    if (count > 0) counts.set(kind, (counts.get(kind) ?? 0) + count);
  }
  return counts;
}
