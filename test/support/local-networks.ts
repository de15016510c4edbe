/**
 * The networks of a node in memory only, on a host without routes and with free ports.
 */
import type { TakenPort } from "../../agent/network/local/host-ports.ts";
import {
  LocalNetworks,
  type LocalNetworksOptions,
} from "../../agent/network/local/local-networks.ts";
import type { Kept } from "../../agent/network/local/store.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import { silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { parsePrefix } from "../../src/common/spec/cidr.ts";

/** What a test knows of the host, and what is kept over a restart of the daemon. */
export interface FakeHost {
  routes: readonly string[];
  /** Error codes of the kernel by `protocol/port`. */
  readonly bound: Map<string, string>;
  kept: Kept | undefined;
  /** How often the disk was waited for. */
  saves: number;
}

/** A host with nothing on it. */
export function fakeHost(): FakeHost {
  return { routes: [], bound: new Map(), kept: undefined, saves: 0 };
}

/** The networks as a daemon that starts on the host has them. */
export function networksOn(
  host: FakeHost,
  more: Partial<LocalNetworksOptions> = {},
): LocalNetworks {
  return new LocalNetworks({
    store: {
      load: () => host.kept,
      save: async (kept: Kept) => {
        host.kept = JSON.parse(JSON.stringify(kept)) as Kept;
        host.saves++;
      },
      keepPlaces: (id, at) => {
        if (host.kept === undefined) return;
        const { [id]: had, ...others } = host.kept.containers;
        const containers = at === undefined ? others : { ...others, [id]: { ...had, ...at } };
        host.kept = { ...host.kept, containers };
      },
    },
    engineId: "engine",
    hasBridge: true,
    pools: [],
    takenPrefixes: () => host.routes.flatMap((text) => parsePrefix(text) ?? []),
    probe: async ({ protocol, hostPort }: TakenPort) => {
      const code = host.bound.get(`${protocol}/${hostPort}`);
      return code === undefined ? undefined : { code, program: "nginx (7)" };
    },
    hasDevice: (name) => name.startsWith("eth"),
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    ...more,
  });
}
