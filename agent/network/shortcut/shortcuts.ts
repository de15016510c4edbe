/**
 * Lets frames of overlay networks go past the bridges that know them: keeps the programs at their ports.
 *
 * A gain in speed and nothing else. Where the kernel or the machine takes no programs, bridges lead every frame; likewise where the
 * node's operator wants none, and then programs of earlier lives of the daemon are taken away.
 */
import { closeSync } from "node:fs";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Steps } from "../diff.ts";
import type { SpaceState } from "../model.ts";
import { isOverlayDevice } from "../names.ts";
import type { KernelThread } from "../nft/library.ts";
import type { Programs } from "./request.ts";

/** The ports of one node's bridges. */
export class Shortcuts {
  readonly #thread: Pick<KernelThread, "putPrograms">;
  readonly #log: Log;
  readonly #isWanted: boolean;
  #programs: Programs | undefined;
  #known: ReadonlyMap<string, number> = new Map();
  #isRefused = false;

  constructor(o: {
    readonly thread: Pick<KernelThread, "putPrograms">;
    /** False: ports are to have none. */
    readonly isWanted: boolean;
    readonly log: Log;
  }) {
    this.#isWanted = o.isWanted;
    this.#thread = o.thread;
    this.#log = o.log;
  }

  /**
   * Sees that the ports have programs, or none. Never rejects.
   *
   * @param file Of the namespace with the bridges.
   * @param state What it holds.
   * @param looks Whether ports may have lost their programs since, or be others with the same names.
   */
  async keep(file: string, state: SpaceState | undefined, looks: boolean): Promise<void> {
    const ports = portsOf(state);
    const known = new Map([...this.#known].filter(([name]) => ports.has(name)));
    this.#known = known;
    if (this.#isRefused || ports.size === 0 || (known.size === ports.size && !looks)) return;
    try {
      const programs = this.#isWanted ? this.#programs : "none";
      const answer = await this.#thread.putPrograms(file, { programs, ports, known });
      if (answer === undefined) return;
      if (answer.programs !== "none") this.#programs = answer.programs;
      this.#known = answer.known;
    } catch (error) {
      this.#isRefused = true;
      const facts = { err: errorText(error) };
      if (this.#isWanted) this.#log.info("bridges of overlay networks lead every frame", facts);
      else this.#log.warn("programs stay at bridges of overlay networks", facts);
    }
  }

  /** Lets go of the programs; ports keep theirs. */
  close(): void {
    for (const descriptor of Object.values(this.#programs ?? {})) closeSync(descriptor);
    this.#programs = undefined;
    this.#known = new Map();
  }
}

/** Whether steps make devices, maybe in the place of others. */
export function makesPorts({ batches }: Steps): boolean {
  return batches.some(({ lines }) => lines.some(({ change }) => change.what === "make-link"));
}

/** Names of devices at bridges of overlay networks, and whether a container is behind them. */
export function portsOf(state: SpaceState | undefined): Map<string, boolean> {
  const ports = new Map<string, boolean>();
  for (const { name, kind, master } of state?.links.values() ?? []) {
    if (isOverlayDevice(master)) ports.set(name, kind === "veth");
  }
  return ports;
}
