/**
 * Seccomp filters as crun compiled them, for the next containers with the same rules: compiling takes it 20 ms of processor
 * time, a third of what a start costs.
 *
 * crun keeps the filter of a container beside its state, and takes one from an annotation. What it is given is only ever its
 * own work of this life of the daemon, so that a newer crun, libseccomp or kernel compiles anew. The rules stay in the spec:
 * a program that does not know the annotation goes by them.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { OciSeccomp } from "./seccomp.ts";

/** The program that takes compiled filters, and the annotation by which it does. */
const compiler = "crun";
const annotation = "run.oci.seccomp_bpf_data";
/** Its file with the filter of a container, in its state of that. */
const filterFile = "seccomp.bpf";
/** An instruction has eight bytes, and the kernel takes 4,096 of them. */
const instructionBytes = 8;
const instructionsMax = 4096;
/** Kinds of containers differ in capabilities and profiles; there are few on a node. */
const filtersMax = 32;

/** The filters of one node. */
export class SeccompFilters {
  readonly #folderOf: (program: string) => string | undefined;
  /** By the rules as JSON; in base64. */
  readonly #filters = new Map<string, string>();

  /** @param folderOf Holds a program's state, a folder for each container. */
  constructor(folderOf: (program: string) => string | undefined) {
    this.#folderOf = folderOf;
  }

  /** Annotations of a container that the program is to start under these rules. */
  annotations(program: string, rules: OciSeccomp | undefined): Readonly<Record<string, string>> {
    if (program !== compiler || rules === undefined) return {};
    const filter = this.#filters.get(JSON.stringify(rules));
    return filter === undefined ? {} : { [annotation]: filter };
  }

  /** Keeps the filter of a container that the program has made under these rules. Never rejects. */
  async learn(program: string, id: string, rules: OciSeccomp | undefined): Promise<void> {
    const folder = this.#folderOf(program);
    if (program !== compiler || rules === undefined || folder === undefined) return;
    const key = JSON.stringify(rules);
    if (this.#filters.has(key)) return;
    try {
      const filter = await readFile(join(folder, id, filterFile));
      if (!isFilter(filter)) return;
      if (this.#filters.size >= filtersMax) this.#filters.clear();
      this.#filters.set(key, filter.toString("base64"));
    } catch {
      // This one keeps none, or has ended: each container has its filter compiled.
    }
  }
}

function isFilter({ length }: Uint8Array): boolean {
  const instructions = length / instructionBytes;
  return Number.isInteger(instructions) && instructions > 0 && instructions <= instructionsMax;
}
