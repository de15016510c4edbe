/**
 * What a namespace has otherwise than planned, in sentences for people. Pure.
 */
import { macAddressIn } from "../../../src/common/spec/mac-address.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Forwarding, Link, Neighbour, Route, SpaceState } from "../model.ts";
import {
  canonical,
  endpointMac,
  ingress6Of,
  transitAddress,
  transitAddress6,
  transitMac,
} from "../pools.ts";

/** The two sides, and what is of interest. */
export interface Sides {
  readonly wanted: SpaceState;
  readonly seen: SpaceState;
  /** Devices that are there and switched off. */
  readonly down: ReadonlySet<string>;
  /** Devices that are looked at; all when undefined. */
  readonly devices?: ReadonlySet<string>;
  /** Whether what is there and not wanted counts: only where everything is ours. */
  readonly strict: boolean;
  readonly who: Whose;
}

/** Tells whose an address or hardware address is, such as ` of web.1 on w2`; empty when that is not known. */
export type Whose = (address: string) => string;

/** What was compared, and what differs. */
export interface Comparison {
  readonly compared: number;
  readonly differences: readonly string[];
}

/** Compares one namespace with its plan. */
export function compareSpace(sides: Sides): Comparison {
  const { wanted, seen, devices } = sides;
  const isLookedAt = (device: string) => devices === undefined || devices.has(device);
  const links = [...wanted.links.values()].filter(({ name }) => isLookedAt(name));
  const gone = new Set(links.filter(({ name }) => !seen.links.has(name)).map(({ name }) => name));
  // What was on a device that is missing is missing with it.
  const onDevices = <T extends { readonly device: string }>(map: ReadonlyMap<string, T>) =>
    new Map([...map].filter(([, { device }]) => isLookedAt(device) && !gone.has(device)));
  const tables = [
    table(onDevices(wanted.addresses), seen.addresses, (a) => {
      return `${a.device} has no address ${a.address}/${a.length}`;
    }),
    table(onDevices(wanted.routes), seen.routes, (one) => `there is no ${routeText(one, sides)}`),
    table(onDevices(wanted.neighbours), seen.neighbours, (one) => {
      return `there is no ${neighbourText(one, sides)}`;
    }),
    table(onDevices(wanted.forwarding), seen.forwarding, (one) => {
      return `there is no ${forwardingText(one, sides)}`;
    }),
    table(wanted.rules, seen.rules, (one) => {
      return `there is no routing rule for mark ${one.mark} to table ${one.table}`;
    }),
    settings(sides, gone),
  ];
  const extra = sides.strict ? extras(sides, isLookedAt) : [];
  return {
    compared: links.length + tables.reduce((sum, { compared }) => sum + compared, 0),
    differences: [
      ...links.flatMap((link) => linkDifferences(link, seen.links.get(link.name), sides.down)),
      ...tables.flatMap(({ differences }) => differences),
      ...extra,
    ],
  };
}

function table<T>(
  wanted: ReadonlyMap<string, T>,
  seen: ReadonlyMap<string, unknown>,
  tell: (item: T) => string,
): Comparison {
  const missing = [...wanted].filter(([key]) => !seen.has(key)).map(([, item]) => tell(item));
  return { compared: wanted.size, differences: missing };
}

function linkDifferences(
  wanted: Link,
  seen: Link | undefined,
  down: ReadonlySet<string>,
): readonly string[] {
  const { name } = wanted;
  if (seen === undefined) return [`device ${name} is missing`];
  const found: string[] = [];
  if (down.has(name)) found.push(`device ${name} is switched off`);
  if (seen.kind !== wanted.kind) found.push(`device ${name} is a ${seen.kind}`);
  if (wanted.mtu > 0 && seen.mtu !== wanted.mtu) {
    found.push(`device ${name} has an MTU of ${seen.mtu} instead of ${wanted.mtu}`);
  }
  if (seen.master !== wanted.master) {
    const bridge = wanted.master === "" ? "no bridge" : `bridge ${wanted.master}`;
    found.push(`device ${name} is a port of ${seen.master || "no bridge"} instead of ${bridge}`);
  }
  const [is, should] = [seen.vxlan, wanted.vxlan];
  if (is !== undefined && should !== undefined) {
    const same = is.id === should.id && is.local === should.local && is.port === should.port;
    if (!same) {
      found.push(
        `device ${name} sends VXLAN ${is.id} from ${is.local}:${is.port} instead of ${should.id} from ${should.local}:${should.port}`,
      );
    }
  }
  return found;
}

function settings({ wanted, seen }: Sides, gone: ReadonlySet<string>): Comparison {
  const differences: string[] = [];
  for (const [path, value] of wanted.settings) {
    const is = seen.settings.get(path);
    // Those that the kernel lacks are not needed; those of missing devices are missing with them.
    if (is === undefined || is === value || gone.has(path.split("/")[3] ?? "")) continue;
    differences.push(`the setting ${path} is ${is} instead of ${value}`);
  }
  return { compared: wanted.settings.size, differences };
}

/** Entries that lead where nothing of ours is any more. */
function extras(sides: Sides, isLookedAt: (device: string) => boolean): string[] {
  const { wanted, seen } = sides;
  const stale = <T extends { readonly device: string }>(
    is: ReadonlyMap<string, T>,
    should: ReadonlyMap<string, T>,
    tell: (item: T) => string,
  ) =>
    [...is]
      .filter(([key, { device }]) => !should.has(key) && isLookedAt(device))
      .map(([, item]) => `there is a ${tell(item)} that nothing is to have`);
  return [
    ...stale(seen.forwarding, wanted.forwarding, (one) => forwardingText(one, sides)),
    ...stale(seen.neighbours, wanted.neighbours, (one) => neighbourText(one, sides)),
  ];
}

function routeText({ destination, via, device }: Route, { who }: Sides): string {
  const through = via === "" ? "" : ` via ${via}`;
  return `route to ${destination}${who(destination)}${through} on ${device}`;
}

function neighbourText({ device, address, mac }: Neighbour, { who }: Sides): string {
  return `neighbour entry for ${address}${who(address)} at ${mac} on ${device}`;
}

function forwardingText({ device, mac, destination }: Forwarding, { who }: Sides): string {
  const to = destination === "" ? "" : ` to ${destination}`;
  return `FDB entry for ${mac}${who(mac)}${to} on ${device}`;
}

/** Finds whose addresses are among the endpoints of these networks and of the mesh, and among the nodes. */
export function whoseIn(state: ClusterState, networkIds: ReadonlySet<string>): Whose {
  const { endpoints, peers, networks } = state;
  const names = new Map<string, string>();
  for (const { number, hostname, nodeId } of peers.values()) {
    const keys = [transitMac(number), transitAddress(number), transitAddress6(number)];
    for (const key of keys) names.set(key, ` of node ${hostname || nodeId}`);
  }
  for (const { name, nodeId, networks: attachments } of endpoints.values()) {
    const text = ` of ${name} on ${peers.get(nodeId)?.hostname || nodeId}`;
    for (const { networkId, addresses, driverOptions } of attachments) {
      const isMesh = networks.get(networkId)?.spec?.ingress === true;
      if (!isMesh && !networkIds.has(networkId)) continue;
      const plain = addresses.map((one) => canonical(one.split("/")[0] ?? one));
      const six = isMesh ? plain.filter((one) => !one.includes(":")).map(ingress6Of) : [];
      const keys = [
        ...plain,
        ...six.map(canonical),
        macAddressIn(driverOptions) || endpointMac(plain),
      ];
      for (const key of keys) names.set(key, text);
    }
  }
  return (address) => names.get(address) ?? "";
}
