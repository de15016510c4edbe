/**
 * What of the kernel's network the data path is made of, as data: `plan.ts` says what should be, `observe.ts` what is,
 * `diff.ts` how to get from one to the other.
 */

/** Where a VXLAN device sends, and as whom. */
export interface VxlanSettings {
  readonly id: number;
  /** Address of this node between nodes. */
  readonly local: string;
  /** UDP port. */
  readonly port: number;
  /** Device to send through; any when empty. */
  readonly through: string;
}

/** One network device. */
export interface Link {
  readonly name: string;
  readonly kind: "veth" | "bridge" | "vxlan" | "macvlan" | "ipvlan";
  /** That of the device below it when 0. */
  readonly mtu: number;
  /** Any when empty. */
  readonly mac: string;
  /** Bridge it is a port of; empty for none. */
  readonly master: string;
  /** Frames may leave by the port they came through. */
  readonly hairpin: boolean;
  /**
   * Other end of a veth, made with this one; undefined for the end that is made with the other. `space` as in `Plan`.
   */
  readonly peer: { readonly name: string; readonly space: string } | undefined;
  readonly vxlan: VxlanSettings | undefined;
  /** Device of the node's own network that a macvlan or ipvlan device is on, and how. */
  readonly parent?: { readonly device: string; readonly mode: string };
}

/** An address of a device. */
export interface Address {
  readonly device: string;
  readonly address: string;
  readonly length: number;
}

/** A route; addresses of IPv6 are told by their colons. */
export interface Route {
  readonly device: string;
  /** `default`, or a prefix; those of one address have no length. */
  readonly destination: string;
  /** Next hop; none when empty. */
  readonly via: string;
  /** Address to send from; the kernel's choice when empty. */
  readonly source: string;
  /** Number of its table; 254 is the main one. */
  readonly table: number;
  /** The lowest wins among those with the same destination; the kernel's choice when 0. */
  readonly metric: number;
}

/** A rule that sends marked packets to a table. */
export interface Rule {
  readonly family: 4 | 6;
  readonly preference: number;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
}

/** An entry of the table of neighbours that stays. */
export interface Neighbour {
  readonly device: string;
  readonly address: string;
  readonly mac: string;
}

/** An entry of a forwarding table that stays. */
export interface Forwarding {
  readonly device: string;
  readonly mac: string;
  /** Node to send to; empty for the entry of the bridge that the device is a port of. */
  readonly destination: string;
}

/** What one namespace holds; the keys of the maps tell entries apart. */
export interface SpaceState {
  readonly links: ReadonlyMap<string, Link>;
  readonly addresses: ReadonlyMap<string, Address>;
  readonly routes: ReadonlyMap<string, Route>;
  readonly rules: ReadonlyMap<string, Rule>;
  readonly neighbours: ReadonlyMap<string, Neighbour>;
  readonly forwarding: ReadonlyMap<string, Forwarding>;
  /** Kernel settings by their path below /proc/sys. */
  readonly settings: ReadonlyMap<string, string>;
}

/**
 * Namespaces with what they hold, by key: `host` is the node's own network, of which only what is ours is looked at;
 * `swarm`; and the ids of containers.
 */
export type Plan = ReadonlyMap<string, SpaceState>;

/** Key of the node's own network. */
export const hostSpace = "host";
/** Key of the namespace that holds the data path. */
export const swarmSpace = "swarm";
/** Number of the main routing table. */
export const mainTable = 254;

/** Lists of which a state is made. */
export interface SpaceContents {
  readonly links?: readonly Link[];
  readonly addresses?: readonly Address[];
  readonly routes?: readonly Route[];
  readonly rules?: readonly Rule[];
  readonly neighbours?: readonly Neighbour[];
  readonly forwarding?: readonly Forwarding[];
  readonly settings?: readonly (readonly [path: string, value: string])[];
  /** More of them, with their keys. */
  readonly keyed?: {
    readonly neighbours: readonly (readonly [key: string, neighbour: Neighbour])[];
    readonly forwarding: readonly (readonly [key: string, entry: Forwarding])[];
  };
}

/** A state from lists. */
export function spaceState(contents: SpaceContents): SpaceState {
  const neighbours = new Map(contents.keyed?.neighbours);
  for (const one of contents.neighbours ?? []) neighbours.set(neighbourKey(one), one);
  const forwarding = new Map(contents.keyed?.forwarding);
  for (const one of contents.forwarding ?? []) forwarding.set(forwardingKey(one), one);
  return {
    links: keyed(contents.links, ({ name }) => name),
    addresses: keyed(contents.addresses, (a) => `${a.device} ${a.address}/${a.length}`),
    routes: keyed(contents.routes, routeKey),
    rules: keyed(
      contents.rules,
      (r) => `${r.family} ${r.preference} ${r.mark}/${r.mask} ${r.table}`,
    ),
    neighbours,
    forwarding,
    settings: new Map(contents.settings),
  };
}

/** What tells entries apart. */
export function neighbourKey({ device, address, mac }: Neighbour): string {
  return `${device} ${address} ${mac}`;
}

/** What tells entries apart. */
export function forwardingKey({ device, mac, destination }: Forwarding): string {
  return `${device} ${mac} ${destination}`;
}

function routeKey({ table, destination, via, device, source, metric }: Route): string {
  return `${table} ${destination} ${via} ${device} ${source} ${metric}`;
}

function keyed<T>(list: readonly T[] | undefined, keyOf: (item: T) => string): Map<string, T> {
  return new Map((list ?? []).map((item) => [keyOf(item), item]));
}

/** A namespace that holds nothing of ours. */
export const emptySpace: SpaceState = spaceState({});
