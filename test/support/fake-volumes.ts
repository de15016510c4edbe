/**
 * Volumes of a node in memory, for tests of the HTTP API.
 */
import type {
  Volume,
  VolumeEvent,
  VolumeRequest,
  Volumes,
} from "../../src/common/container/volumes.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** Volumes in memory. */
export class FakeVolumes implements Volumes {
  readonly #volumes = new Map<string, Volume>();
  readonly #users = new Map<string, string[]>();

  list(): readonly Volume[] {
    return [...this.#volumes.values()];
  }

  find(name: string): Volume {
    const volume = this.#volumes.get(name);
    if (volume === undefined) throw new ClusterError("not-found", `get ${name}: no such volume`);
    return volume;
  }

  check(): void {}

  async create(request: VolumeRequest): Promise<Volume> {
    const name = request.name || "f".repeat(64);
    const volume = this.#volumes.get(name) ?? {
      ...request,
      name,
      createdAtMs: 1_700_000_000_000,
      mountpoint: `/volumes/${name}/_data`,
      anonymous: request.name === "",
    };
    this.#volumes.set(name, volume);
    return volume;
  }

  async remove(name: string, o: { force: boolean }): Promise<void> {
    if (!this.#volumes.has(name) && o.force) return;
    this.find(name);
    const users = this.usersOf(name);
    if (users.length > 0)
      throw new ClusterError(
        "failed-precondition",
        `remove ${name}: volume is in use - [${users.join(", ")}]`,
      );
    this.#volumes.delete(name);
  }

  async prune(o: { all: boolean; accept: (volume: Volume) => boolean }) {
    const gone = this.list().filter(
      (volume) =>
        (o.all || volume.anonymous) && o.accept(volume) && this.usersOf(volume.name).length === 0,
    );
    for (const { name } of gone) this.#volumes.delete(name);
    return { removed: gone.map(({ name }) => name), freedBytes: 100 * gone.length };
  }

  async acquire(name: string, containerId: string): Promise<string> {
    this.#users.set(name, [...this.usersOf(name), containerId]);
    return this.find(name).mountpoint;
  }

  async release(name: string, containerId: string): Promise<void> {
    this.#users.set(
      name,
      this.usersOf(name).filter((id) => id !== containerId),
    );
  }

  usersOf(name: string): readonly string[] {
    return this.#users.get(name) ?? [];
  }

  async sizeBytes(): Promise<number> {
    return 100;
  }

  async *events(signal: AbortSignal): AsyncIterable<VolumeEvent> {
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}
