/**
 * What waits for something of the cluster, why, and for what. Pure.
 */

/** One thing that waits. */
export interface BlockedObject {
  readonly table: "network" | "service" | "task";
  readonly id: string;
}

interface Entry extends BlockedObject {
  readonly on: string;
  readonly reason: string;
}

/** Everything that waits, in the order it came. */
export class Blocked {
  readonly #entries = new Map<string, Entry>();
  /** Ids by what they wait for; `""` for the cluster as a whole. */
  readonly #byCause = new Map<string, Set<string>>();

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Why an object waits; undefined when it does not. */
  reasonOf(id: string): string | undefined {
    return this.#entries.get(id)?.reason;
  }

  /** The object waits for `on`, the id of a network or service. */
  put(
    object: BlockedObject,
    { on, reason }: { readonly on: string; readonly reason: string },
  ): void {
    const before = this.#entries.get(object.id);
    if (before?.on === on && before.reason === reason) return;
    this.remove(object.id);
    this.#entries.set(object.id, { ...object, on, reason });
    const ids = this.#byCause.get(on);
    if (ids === undefined) this.#byCause.set(on, new Set([object.id]));
    else ids.add(object.id);
  }

  /** The object does not wait any more. */
  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    const ids = this.#byCause.get(entry.on);
    ids?.delete(id);
    if (ids?.size === 0) this.#byCause.delete(entry.on);
  }

  /** Those that wait for this, the first `count` of them; they wait no more, unless they are put in again. */
  take(on: string, count: number): readonly BlockedObject[] {
    const taken: Entry[] = [];
    for (const id of this.#byCause.get(on) ?? []) {
      if (taken.length >= count) break;
      const entry = this.#entries.get(id);
      if (entry !== undefined) taken.push(entry);
    }
    for (const { id } of taken) this.remove(id);
    return taken;
  }

  /** Ids of all objects of a table that wait. */
  all(table: BlockedObject["table"]): readonly string[] {
    return [...this.#entries.values()].filter((one) => one.table === table).map(({ id }) => id);
  }

  clear(): void {
    this.#entries.clear();
    this.#byCause.clear();
  }
}
