/**
 * What the data path asks of the kernel beside batches: facts of the node's own network, what is there now, the rules, and
 * the removal of everything.
 */
import { existsSync } from "node:fs";
import { sandboxLooksMax } from "../../src/common/limits/network.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Steps } from "./diff.ts";
import { emptySpace, hostSpace, type Plan, type SpaceState, swarmSpace } from "./model.ts";
import { isUplink, uplinkDevice } from "./names.ts";
import { command } from "./namespace.ts";
import type { KernelThread } from "./nft/library.ts";
import { addressesFrom, observe } from "./observe.ts";
import type { PlanInput } from "./plan.ts";
import { type Uplink, uplinkOf } from "./pools.ts";
import { makesPorts, Shortcuts } from "./shortcut/shortcuts.ts";
import { chooseSlot } from "./uplink-slot.ts";

type Thread = Pick<KernelThread, "look" | "putPrograms">;
type Facts = Pick<PlanInput, "uplink" | "underlay" | "ipv6">;

/** The kernel as one daemon deals with it. */
export class Kernel {
  readonly #instance: string;
  readonly #fileOf: (space: string) => string | undefined;
  #facts: Facts | undefined;
  #factsFor = "";
  #uplink: Uplink | undefined;
  readonly #thread: Thread;
  /** Frames past bridges, and streams past rules. */
  readonly #shortcuts: readonly Shortcuts[];
  /** Whether what is there was looked at, and not known from before. */
  #hasLooked = false;
  #looked = 0;
  /** Containers that were as they should be when they were last looked into; see `look`. */
  #trusted = new Set<string>();

  constructor(o: {
    readonly instance: string;
    readonly fileOf: (space: string) => string | undefined;
    readonly thread: Thread;
    /** Whether frames of overlay networks are to go past their bridges, and streams of published ports past rules. */
    readonly shortcuts: boolean;
    readonly log: Log;
  }) {
    this.#instance = o.instance;
    this.#fileOf = o.fileOf;
    this.#thread = o.thread;
    this.#shortcuts = (["frames", "streams"] as const).map(
      (kind) => new Shortcuts({ ...o, kind, isWanted: o.shortcuts }),
    );
  }

  /** Name of the device that leads to the other nodes; empty while it is not known. */
  get underlayDevice(): string {
    return this.#facts?.underlay.device ?? "";
  }

  #host(): string | undefined {
    return this.#fileOf(hostSpace);
  }

  /** @param address The node's data path address; empty where it has none. @param fresh Whether to ask anew. */
  async facts(address: string, fresh: boolean): Promise<Facts> {
    if (this.#facts !== undefined && !fresh && this.#factsFor === address) return this.#facts;
    const devices = await ask(this.#host(), "ip", "-json", "addr");
    const addresses = devices.flatMap(addressesFrom);
    const own = uplinkDevice(this.#instance);
    this.#uplink ??= uplinkOf(chooseSlot(own, addresses, this.#instance));
    const found = addresses.find((one) => one.address === address);
    const device = found?.device ?? (await defaultDevice(this.#host()));
    const mtu = devices.map(mtuOf).find(({ name }) => name === device)?.mtu ?? 1500;
    this.#facts = {
      uplink: this.#uplink,
      underlay: { device, address: found?.address ?? "", mtu },
      ipv6: existsSync("/proc/sys/net/ipv6"),
    };
    this.#factsFor = address;
    return this.#facts;
  }

  /**
   * What there is of ours; of containers that were looked into before only some at a time, in turn.
   *
   * @param all Whether what is not wanted counts, too.
   */
  async look(wanted: Plan, all: boolean): Promise<Plan> {
    this.#hasLooked = true;
    const seen = new Map<string, SpaceState>();
    const containers = [...wanted.keys()].filter((key) => key !== hostSpace && key !== swarmSpace);
    const begin = this.#looked % Math.max(1, containers.length);
    const turn = [...containers.slice(begin), ...containers.slice(0, begin)];
    const chosen = new Set(turn.slice(0, sandboxLooksMax));
    this.#looked += sandboxLooksMax;
    for (const [space, state] of wanted) {
      if (this.#trusted.has(space) && !chosen.has(space)) {
        seen.set(space, state);
        continue;
      }
      const everything = space === swarmSpace;
      const settings = [...state.settings.keys()];
      const found = await observe(this.#fileOf(space), { everything, settings }, this.#thread);
      // Elsewhere there are devices of others, too.
      seen.set(space, space === swarmSpace && all ? found : common(found, state));
    }
    this.#trusted = new Set(containers);
    return seen;
  }

  /**
   * Lets frames go past bridges and streams past rules, or has them stop to; those that do go the long way once, as devices, routes or
   * rules may be others.
   *
   * @param steps By which the kernel has become as it is wanted.
   */
  async shorten(wanted: Plan, steps: Steps): Promise<void> {
    const looks = this.#hasLooked || makesPorts(steps);
    this.#hasLooked = false;
    const file = this.#fileOf(swarmSpace);
    if (file === undefined) return;
    for (const shortcuts of this.#shortcuts) {
      await shortcuts.keep(file, wanted.get(swarmSpace), looks);
    }
  }

  /** Leaves everything where it is. */
  close(): void {
    for (const shortcuts of this.#shortcuts) shortcuts.close();
  }

  /** Something was not done in this namespace: it is looked into the next time. */
  distrust(space: string): void {
    this.#trusted.delete(space);
  }

  /** Removes the device of the node's own network. @returns Whether another daemon has such a device. */
  async remove(): Promise<boolean> {
    this.#facts = undefined;
    // Absent is fine: then nothing was made.
    await command(["ip", "link", "del", uplinkDevice(this.#instance)], { file: this.#host() });
    this.#uplink = undefined;
    const devices = await ask(this.#host(), "ip", "-json", "addr");
    return devices.map(mtuOf).some(({ name }) => isUplink(name));
  }
}

async function ask(
  file: string | undefined,
  ...words: readonly string[]
): Promise<readonly unknown[]> {
  const { stdout } = await command(words, { file });
  const value: unknown = JSON.parse(stdout.trim() || "[]");
  return Array.isArray(value) ? value : [];
}

/** Device of the route to everywhere; empty where there is none. */
async function defaultDevice(file: string | undefined): Promise<string> {
  const [route] = await ask(file, "ip", "-json", "route", "show", "default");
  const name = (route as { readonly dev?: unknown } | undefined)?.dev;
  return typeof name === "string" ? name : "";
}

function mtuOf(json: unknown): { readonly name: string; readonly mtu: number } {
  const { ifname, mtu } = json as { readonly ifname?: unknown; readonly mtu?: unknown };
  return {
    name: typeof ifname === "string" ? ifname : "",
    mtu: typeof mtu === "number" ? mtu : 0,
  };
}

/** Those entries that both have, as they are. */
function common(found: SpaceState, wanted: SpaceState): SpaceState {
  const both = <T>(map: ReadonlyMap<string, T>, other: ReadonlyMap<string, unknown>) =>
    new Map([...map].filter(([key]) => other.has(key)));
  return {
    ...emptySpace,
    links: both(found.links, wanted.links),
    addresses: both(found.addresses, wanted.addresses),
    routes: both(found.routes, wanted.routes),
    rules: both(found.rules, wanted.rules),
    neighbours: both(found.neighbours, wanted.neighbours),
    forwarding: both(found.forwarding, wanted.forwarding),
    settings: found.settings,
  };
}
