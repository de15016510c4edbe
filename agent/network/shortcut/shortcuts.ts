/**
 * Lets frames of overlay networks go past the bridges that know them, and streams of published ports past the rules that do: keeps the
 * programs at their devices.
 *
 * A gain in speed and nothing else. Where the kernel or the machine takes no programs, bridges and rules lead everything; likewise where
 * the node's operator wants none, and then programs of earlier lives of the daemon are taken away.
 */
import { closeSync } from "node:fs";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Steps } from "../diff.ts";
import type { SpaceState } from "../model.ts";
import { isOverlayDevice, swarmDevices } from "../names.ts";
import type { KernelThread } from "../nft/library.ts";
import type { Programs, ShortcutKind } from "./request.ts";

/** What the log says where the kernel refuses. */
const words = {
  frames: {
    refused: "bridges of overlay networks lead every frame",
    stay: "programs stay at bridges of overlay networks",
  },
  streams: {
    refused: "rules lead every packet of published ports",
    stay: "programs stay where packets of published ports come in",
  },
} as const;

/** The devices of one node at which programs of one kind are. */
export class Shortcuts {
  readonly #thread: Pick<KernelThread, "putPrograms">;
  readonly #log: Log;
  readonly #isWanted: boolean;
  readonly #kind: ShortcutKind;
  #programs: Programs | undefined;
  #known: ReadonlyMap<string, number> = new Map();
  #isRefused = false;
  #change = 0;

  constructor(o: {
    readonly thread: Pick<KernelThread, "putPrograms">;
    readonly kind: ShortcutKind;
    /** False: devices are to have none. */
    readonly isWanted: boolean;
    readonly log: Log;
  }) {
    this.#kind = o.kind;
    this.#isWanted = o.isWanted;
    this.#thread = o.thread;
    this.#log = o.log;
  }

  /**
   * Sees that the devices have programs, or none; what programs know of streams from before counts no more. Never rejects.
   *
   * @param file Of the namespace with the devices.
   * @param state What it holds.
   * @param looks Whether devices may have lost their programs since, or be others with the same names.
   */
  async keep(file: string, state: SpaceState | undefined, looks: boolean): Promise<void> {
    const ports = (this.#kind === "frames" ? portsOf : streamPortsOf)(state);
    const known = new Map([...this.#known].filter(([name]) => ports.has(name)));
    this.#known = known;
    if (this.#isRefused || ports.size === 0) return;
    const isDone = known.size === ports.size && !looks;
    if (isDone && this.#programs?.changes === undefined) return;
    try {
      const answer = await this.#thread.putPrograms(file, {
        of: this.#kind,
        programs: this.#isWanted ? this.#programs : "none",
        ports: isDone ? new Map() : ports,
        known,
        change: ++this.#change,
      });
      if (answer === undefined) return;
      if (answer.programs !== "none") this.#programs = answer.programs;
      if (!isDone) this.#known = answer.known;
    } catch (error) {
      this.#isRefused = true;
      const facts = { err: errorText(error) };
      const { refused, stay } = words[this.#kind];
      if (this.#isWanted) this.#log.info(refused, facts);
      else this.#log.warn(stay, facts);
    }
  }

  /** Lets go of the programs; devices keep theirs. */
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

/** Names of devices by which packets of published ports come and go, and whether another namespace is behind them. */
export function streamPortsOf(state: SpaceState | undefined): Map<string, boolean> {
  const ports = new Map<string, boolean>();
  for (const { name, master } of state?.links.values() ?? []) {
    if (name === swarmDevices.mesh) ports.set(name, false);
    if (name === swarmDevices.uplink || master === swarmDevices.gateway) ports.set(name, true);
  }
  return ports;
}
