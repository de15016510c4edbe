/**
 * What the node remembers of its containers' places over restarts of the daemon, beside the files that keep their
 * namespaces: one file each, worth nothing after a boot, like the namespaces themselves.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Sandbox } from "./sandbox.ts";

/** The folder of the files. */
export class SandboxStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Those of earlier lives of the daemon. */
  load(): Sandbox[] {
    return this.#names().flatMap((name) => {
      const id = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
      if (id === undefined) return [];
      try {
        return [JSON.parse(readFileSync(join(this.#folder, name), "utf8")) as Sandbox];
      } catch {
        // Cut off while it was written: its container was not started.
        rmSync(join(this.#folder, name), { force: true });
        return [];
      }
    });
  }

  /** Ids of the containers whose namespaces have files. */
  files(): string[] {
    return this.#names().filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  /** File that keeps the namespace of a container. */
  fileOf(id: string): string {
    return join(this.#folder, id);
  }

  save(sandbox: Sandbox): void {
    const path = join(this.#folder, `${sandbox.id}.json`);
    mkdirSync(this.#folder, { recursive: true, mode: 0o711 });
    writeFileSync(`${path}.new`, JSON.stringify(sandbox), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  delete(id: string): void {
    rmSync(join(this.#folder, `${id}.json`), { force: true });
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder);
    } catch {
      // Not made yet.
      return [];
    }
  }
}
