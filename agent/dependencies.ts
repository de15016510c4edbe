/**
 * The secrets and configs that tasks of this node may read: in memory, never on its disk.
 */
import type { Assignments, Config, Secret, Task } from "../src/common/api/generated/api.ts";
import { payloadKey, payloadReferences } from "../src/common/spec/payload-revision.ts";
import type { TaskDependencies } from "./exec/executor.ts";

/** What managers have sent for the tasks of this node; ids are the keys of revisions. */
export class Dependencies implements TaskDependencies {
  readonly #secrets = new Map<string, Secret>();
  readonly #configs = new Map<string, Config>();

  secret(id: string): Secret | undefined {
    return this.#secrets.get(id);
  }

  config(id: string): Config | undefined {
    return this.#configs.get(id);
  }

  /** Takes what an assignment message brings, and drops what it takes away. */
  take(assignments: Assignments): void {
    for (const secret of assignments.secrets) this.#secrets.set(secret.id, secret);
    for (const config of assignments.configs) this.#configs.set(config.id, config);
    for (const id of assignments.removedSecretIds) this.#secrets.delete(id);
    for (const id of assignments.removedConfigIds) this.#configs.delete(id);
  }

  /** Drops all but these. */
  keepOnly(secretIds: ReadonlySet<string>, configIds: ReadonlySet<string>): void {
    for (const id of this.#secrets.keys()) if (!secretIds.has(id)) this.#secrets.delete(id);
    for (const id of this.#configs.keys()) if (!configIds.has(id)) this.#configs.delete(id);
  }

  /** What of a task's secrets and configs is not here, in words; empty when all is. */
  missing(task: Task): string {
    const absent = payloadReferences(task.spec).find(({ kind, id, revision }) => {
      const here = kind === "secret" ? this.#secrets : this.#configs;
      return !here.has(payloadKey(id, revision));
    });
    return absent === undefined ? "" : `its ${absent.kind} ${absent.name || absent.id}`;
  }
}
