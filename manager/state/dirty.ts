/**
 * What changed since the last checkpoint: names only, so that many changes of one object cost one write.
 */
import type { TableKey } from "./tables.ts";

/** Names of changed things, gathered while applying and taken as a whole by the checkpoint. */
export class Dirty {
  /** By table and id: the version the checkpoint has of the object, 0 when it has none. */
  readonly objects = new Map<TableKey, Map<string, number>>();
  /** Digests of shared sub-objects that came into use or went out of it. */
  readonly shared = new Set<string>();
  /** Proposers whose record changed. */
  readonly clients = new Set<number>();
  #objectCount = 0;

  /** Notes a change of an object that had this version before it; the first note since a checkpoint counts. */
  object(table: TableKey, id: string, versionBefore: number): void {
    let ids = this.objects.get(table);
    if (ids === undefined) {
      ids = new Map();
      this.objects.set(table, ids);
    }
    if (ids.has(id)) return;
    ids.set(id, versionBefore);
    this.#objectCount++;
  }

  get objectCount(): number {
    return this.#objectCount;
  }

  get isEmpty(): boolean {
    return this.#objectCount === 0 && this.shared.size === 0 && this.clients.size === 0;
  }

  /** Takes back what an earlier, failed checkpoint had taken; its versions are older and win. */
  restore(earlier: Dirty): void {
    for (const [table, ids] of earlier.objects) {
      for (const [id, version] of ids) {
        this.object(table, id, version);
        this.objects.get(table)?.set(id, version);
      }
    }
    for (const digest of earlier.shared) this.shared.add(digest);
    for (const id of earlier.clients) this.clients.add(id);
  }
}
