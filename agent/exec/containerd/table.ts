/**
 * The containers of the node in memory, by id and by name.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { Entry } from "./entry.ts";

/** All containers; names are taken before their container exists. */
export class ContainerTable {
  #entries = new Map<string, Entry>();
  /** Id of the container that has each name. */
  #names = new Map<string, string>();

  /** In the order they came. */
  list(): Entry[] {
    return [...this.#entries.values()];
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  isTaken(name: string): boolean {
    return this.#names.has(name);
  }

  /** @throws ClusterError already-exists in Docker's words. */
  takeName(name: string, id: string): void {
    const holder = this.#names.get(name);
    if (holder !== undefined && holder !== id) {
      throw new ClusterError(
        "already-exists",
        `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    this.#names.set(name, id);
  }

  /** Frees a name if this container has it. */
  freeName(name: string, id: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name);
  }

  add(entry: Entry): void {
    this.#entries.set(entry.id, entry);
    this.#names.set(entry.facts.name, entry.id);
  }

  delete(entry: Entry): void {
    this.#entries.delete(entry.id);
    this.freeName(entry.facts.name, entry.id);
  }

  /** @throws ClusterError not-found, or invalid-argument when several ids begin so. */
  find(reference: string): Entry {
    const text = reference.startsWith("/") ? reference.slice(1) : reference;
    const exact = this.#entries.get(text) ?? this.#entries.get(this.#names.get(text) ?? "");
    if (exact !== undefined) return exact;
    const found = /^[0-9a-f]+$/.test(text)
      ? this.list().filter((entry) => entry.id.startsWith(text))
      : [];
    const [only] = found;
    if (found.length > 1) {
      throw new ClusterError(
        "invalid-argument",
        `Multiple IDs found with provided prefix: ${reference}`,
      );
    }
    if (only === undefined) {
      throw new ClusterError("not-found", `No such container: ${reference}`);
    }
    return only;
  }
}
