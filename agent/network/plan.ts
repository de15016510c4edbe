/**
 * What the kernel of this node should hold: from the cluster's state and the containers here. Pure (network.md, sections 1,
 * 2 and 5).
 */
import type { Network, NetworkEndpoint, NetworkPeer } from "../../src/common/api/generated/api.ts";
import { parsePrefix } from "../../src/common/spec/cidr.ts";
import type { ClusterState } from "./cluster-state.ts";
import { isEncrypted } from "./encrypted.ts";
import {
  type Address,
  hostSpace,
  type Link,
  mainTable,
  type Plan,
  type Route,
  type Rule,
  type SpaceState,
  spaceState,
  swarmSpace,
} from "./model.ts";
import {
  gatewayDevice,
  gatewayPort,
  overlayBridge,
  overlayDevice,
  overlayPort,
  overlayTunnel,
  swarmDevices,
  uplinkDevice,
} from "./names.ts";
import { peerNumbers } from "./nft/from-state.ts";
import { rewriteMark, rewritesReturn } from "./nft/mesh-table.ts";
import {
  canonical,
  canonicalPrefix,
  endpointMac,
  gateway,
  ingress6Of,
  meshVni,
  transitAddress,
  transitAddress6,
  transitMac,
  transitPrefixLength,
  type Uplink,
  uplinkSlotOf,
  type VxlanPorts,
  vxlanPortsOf,
  wireguardAddress,
} from "./pools.ts";
import { type ReachedNetwork, remoteEndpoints } from "./remote-endpoints.ts";
import type { OverlayPlace, Sandbox } from "./sandbox.ts";

/** The bridge of a network of this node alone. */
export interface LocalBridge {
  readonly device: string;
  readonly mtu: number;
  /** Of the gateway. */
  readonly addresses: readonly Omit<Address, "device">[];
  /** Prefixes behind it. */
  readonly subnets: readonly string[];
}

/** The device that leads to the other nodes. */
export interface Underlay {
  readonly device: string;
  /** The node's data path address, if it is one of this machine's; else empty. */
  readonly address: string;
  readonly mtu: number;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly instance: string;
  readonly uplink: Uplink;
  readonly underlay: Underlay;
  /** Address of the WireGuard device and its name; undefined while there is none. */
  readonly secure: { readonly device: string; readonly address: string } | undefined;
  /** Whether the kernel has IPv6. */
  readonly ipv6: boolean;
  readonly cluster: ClusterState;
  readonly sandboxes: readonly Sandbox[];
  readonly bridges: readonly LocalBridge[];
  /** Containers that ports of the host lead to. */
  readonly bound: ReadonlySet<string>;
}

/** Routing tables of peers: this and their number. */
const peerTables = 0x10000;
/** The one table in the variant for many peers. */
const manyTable = 0x0fff0;
const peerPreference = 1_000;
/** Routes of the node's own network: this and the number of the link. */
const hostMetrics = 2_000;
/** No node has it, and it is in no prefix of the device, hence the route to it. */
const manyNextHop = "169.254.0.1";
const manyNextHop6 = "fd54::ffff";
const manyMac = "02:42:0a:fe:ff:ff";

/** Everything there should be; empty when nothing needs the data path. */
export function plan(input: PlanInput): Plan {
  const { sandboxes } = input;
  if (!isNeeded(input)) return new Map();
  return new Map<string, SpaceState>([
    [hostSpace, hostPlan(input)],
    [swarmSpace, swarmPlan(input)],
    ...sandboxes.map((sandbox) => [sandbox.id, sandboxPlan(sandbox, input)] as const),
  ]);
}

/** Whether the mesh has anything to do: some service publishes a port by it. */
export function hasMesh({ self, services }: ClusterState): boolean {
  if (self === undefined || self.number === 0) return false;
  for (const { ports } of services.values()) {
    if (ports.some(({ publishMode }) => publishMode === "ingress")) return true;
  }
  return false;
}

/** Whether it leads to other nodes: an encrypted one does not while there is no tunnel, and then nothing of it leaves. */
export function hasMeshLink({ cluster, secure }: Pick<PlanInput, "cluster" | "secure">): boolean {
  return hasMesh(cluster) && (secure !== undefined || !isMeshEncrypted(cluster));
}

/** Whether what nodes pass on to each other for published ports travels inside WireGuard. */
export function isMeshEncrypted({ networks }: ClusterState): boolean {
  return [...networks.values()].some(
    (network) => network.spec?.ingress === true && isEncrypted(network),
  );
}

/** UDP ports of VXLAN in the cluster. */
export function portsOf({ self }: ClusterState): VxlanPorts {
  return vxlanPortsOf(self?.vxlanPort ?? 0);
}

function isNeeded({ sandboxes, bridges, cluster }: PlanInput): boolean {
  return sandboxes.length > 0 || bridges.length > 0 || hasMesh(cluster);
}

function hostPlan(input: PlanInput): SpaceState {
  const { instance, uplink, underlay, ipv6, bridges, sandboxes, bound } = input;
  const device = uplinkDevice(instance);
  const ends = sandboxes.flatMap(({ id, gateway: place }) =>
    place !== undefined && bound.has(id) ? [place.address, canonical(place.address6)] : [],
  );
  const subnets = [...bridges.flatMap((bridge) => bridge.subnets).map(canonicalPrefix), ...ends];
  return spaceState({
    // Programs of this node reach containers of its own networks. Daemons that share a network do not take each other's
    // routes, as each has a metric of its own.
    routes: subnets
      .filter((subnet) => ipv6 || !subnet.includes(":"))
      .map((destination) =>
        route(device, destination, {
          via: destination.includes(":") ? uplink.swarm6 : uplink.swarm,
          metric: hostMetrics + uplinkSlotOf(uplink),
        }),
      ),
    links: [
      {
        ...plainLink(device, "veth", underlay.mtu),
        peer: { name: swarmDevices.uplink, space: swarmSpace },
      },
    ],
    addresses: [
      { device, address: uplink.host, length: uplink.length },
      ...(ipv6 ? [{ device, address: uplink.host6, length: uplink.length6 }] : []),
    ],
    // Clients on this node call published ports at 127.0.0.1.
    settings: [[`net/ipv4/conf/${device}/route_localnet`, "1"]],
  });
}

/** Settings of the namespace `swarm`: it routes, and what comes back may come another way. */
const swarmSettings: readonly (readonly [string, string])[] = [
  ["net/ipv4/ip_forward", "1"],
  ["net/ipv6/conf/all/forwarding", "1"],
  ["net/ipv4/conf/all/rp_filter", "0"],
  ["net/ipv4/conf/default/rp_filter", "0"],
  // Spares a look at the routes for the source of every packet.
  ["net/ipv4/conf/all/accept_local", "1"],
  ["net/ipv4/conf/all/send_redirects", "0"],
  ["net/ipv4/conf/default/send_redirects", "0"],
  ["net/bridge/bridge-nf-call-iptables", "0"],
  ["net/bridge/bridge-nf-call-ip6tables", "0"],
];

function swarmPlan(input: PlanInput): SpaceState {
  const { uplink, underlay, ipv6 } = input;
  const device = swarmDevices.uplink;
  const port = swarmDevices.gateway;
  const parts = [
    gatewayPorts(input),
    localBridges(input),
    overlays(input),
    ...(hasMesh(input.cluster) ? [mesh(input)] : []),
  ];
  const all = <T>(pick: (part: Part) => readonly T[] | undefined) =>
    parts.flatMap((part) => pick(part) ?? []);
  const addresses: Address[] = [
    { device, address: uplink.swarm, length: uplink.length },
    { device: port, address: gateway.address, length: 16 },
  ];
  const routes = [route(device, "default", { via: uplink.host })];
  if (ipv6) {
    addresses.push({ device, address: uplink.swarm6, length: uplink.length6 });
    addresses.push({ device: port, address: gateway.address6, length: 64 });
    routes.push(route(device, "default", { via: uplink.host6 }));
  }
  return spaceState({
    links: [
      plainLink(device, "veth", underlay.mtu),
      // A bridge takes the address of a port otherwise, and another one when that goes: who knows the old one is lost.
      { ...plainLink(port, "bridge", underlay.mtu), mac: endpointMac([gateway.address]) },
      ...all((part) => part.links),
    ],
    addresses: [...addresses, ...all((part) => part.addresses)],
    routes: [...routes, ...all((part) => part.routes)],
    rules: all((part) => part.rules),
    neighbours: all((part) => part.neighbours),
    forwarding: all((part) => part.forwarding),
    keyed: {
      neighbours: all((part) => part.keyed?.neighbours),
      forwarding: all((part) => part.keyed?.forwarding),
    },
    settings: swarmSettings,
  });
}

type Part = Parameters<typeof spaceState>[0];

/** Ports of the gateway, one per container. */
function gatewayPorts({ sandboxes, underlay }: PlanInput): Part {
  const links = sandboxes
    .filter((sandbox) => sandbox.gateway !== undefined)
    .map(({ id }) => ({
      ...plainLink(gatewayPort(id), "veth", underlay.mtu),
      master: swarmDevices.gateway,
      hairpin: true,
      peer: { name: gatewayDevice, space: id },
    }));
  return { links };
}

/** Bridges of networks of this node alone, with the ports of their containers. */
function localBridges({ bridges, sandboxes }: PlanInput): Part {
  const mtus = new Map(bridges.map(({ device, mtu }) => [device, mtu]));
  return {
    links: [
      ...bridges.map(({ device, mtu, addresses }) => ({
        ...plainLink(device, "bridge", mtu),
        mac: endpointMac(addresses.map(({ address }) => address)),
      })),
      ...sandboxes.flatMap(({ id, bridges: places }) =>
        places.map(({ bridge, device }, position) => ({
          ...plainLink(overlayPort(id, 50 + position), "veth", mtus.get(bridge) ?? 1500),
          master: bridge,
          hairpin: true,
          peer: { name: device, space: id },
        })),
      ),
    ],
    addresses: bridges.flatMap(({ device, addresses }) =>
      addresses.map((address) => ({ device, ...address })),
    ),
  };
}

/** A bridge and a VXLAN device per overlay network that a container here is in, and where its remote endpoints are. */
function overlays({ sandboxes, underlay, secure, cluster }: PlanInput): Part {
  const mtuOf = (place: OverlayPlace) => overlayMtu(place, underlay);
  const networks = new Map<string, OverlayPlace>();
  const links: Link[] = [];
  for (const { id, overlays: places } of sandboxes) {
    for (const [position, place] of places.entries()) {
      networks.set(place.networkId, place);
      links.push({
        ...plainLink(overlayPort(id, position), "veth", mtuOf(place)),
        master: overlayBridge(place.vni),
        peer: { name: overlayDevice(position), space: id },
      });
    }
  }
  const ports = portsOf(cluster);
  const bridges: Link[] = [];
  const tunnels: Link[] = [];
  const reached = new Map<string, ReachedNetwork>();
  for (const place of networks.values()) {
    const { vni, encrypted } = place;
    const mtu = mtuOf(place);
    bridges.push(plainLink(overlayBridge(vni), "bridge", mtu));
    // Without a tunnel nothing of an encrypted network leaves the node.
    if (encrypted && secure === undefined) continue;
    const settings =
      encrypted && secure !== undefined
        ? { id: vni, local: secure.address, port: ports.secure, through: secure.device }
        : { id: vni, local: underlay.address, port: ports.plain, through: "" };
    const device = overlayTunnel(vni);
    const link = plainLink(device, "vxlan", mtu);
    tunnels.push({ ...link, master: overlayBridge(vni), vxlan: settings });
    reached.set(place.networkId, { device, encrypted });
  }
  const keyed = remoteEndpoints(cluster, reached);
  return { links: [...bridges, ...tunnels, ...links], keyed };
}

/** The published tasks of this node, and the way to those of others. */
function mesh(input: PlanInput): Part {
  return hasMeshLink(input) ? meshBetween(input) : { routes: ownMeshRoutes(input) };
}

/** The routed network between nodes that carries connections to published ports (network.md 5.2). */
function meshBetween(input: PlanInput): Part {
  const { cluster, ipv6 } = input;
  const device = swarmDevices.mesh;
  const self = cluster.self as NetworkPeer;
  const others = peersOf(cluster);
  const link = meshLink(input);
  const addresses: Address[] = [
    { device, address: transitAddress(self.number), length: transitPrefixLength.v4 },
  ];
  if (ipv6) {
    addresses.push({
      device,
      address: transitAddress6(self.number),
      length: transitPrefixLength.v6,
    });
  }
  const back = rewritesReturn(peerNumbers(cluster))
    ? manyWaysBack(ipv6)
    : plainWaysBack(others, ipv6);
  return {
    links: [link],
    addresses,
    forwarding: others.map((peer) => ({
      device,
      mac: transitMac(peer.number),
      destination: isMeshEncrypted(cluster)
        ? wireguardAddress(peer.number)
        : canonical(peer.address),
    })),
    neighbours: [
      ...others.flatMap(({ number }) => [
        { device, address: transitAddress(number), mac: transitMac(number) },
        ...(ipv6 ? [{ device, address: transitAddress6(number), mac: transitMac(number) }] : []),
      ]),
      ...(back.neighbours ?? []),
    ],
    rules: back.rules ?? [],
    routes: [...(back.routes ?? []), ...ownMeshRoutes(input), ...farMeshRoutes(cluster, ipv6)],
  };
}

/** What a frame may hold beside the headers of VXLAN, and of WireGuard around it. */
export function overlayMtu({ mtu, encrypted }: OverlayPlace, underlay: Underlay): number {
  if (mtu > 0) return mtu;
  if (encrypted) return underlay.mtu - secureOverhead;
  return underlay.mtu - vxlanOverhead(underlay);
}

/** Bytes: VXLAN within WireGuard. */
const secureOverhead = 130;

/** Bytes of VXLAN, UDP, IP and Ethernet. */
function vxlanOverhead({ address }: Underlay): number {
  return address.includes(":") ? 70 : 50;
}

function meshLink({ cluster, underlay, secure }: PlanInput): Link {
  const ports = portsOf(cluster);
  const isSecure = isMeshEncrypted(cluster) && secure !== undefined;
  const overhead = isSecure ? secureOverhead : vxlanOverhead(underlay);
  return {
    ...plainLink(swarmDevices.mesh, "vxlan", underlay.mtu - overhead),
    mac: transitMac(cluster.self?.number ?? 0),
    vxlan: isSecure
      ? { id: meshVni, local: secure.address, port: ports.secure, through: secure.device }
      : { id: meshVni, local: underlay.address, port: ports.plain, through: "" },
  };
}

function peersOf({ peers, self }: ClusterState): NetworkPeer[] {
  return [...peers.values()].filter(
    ({ nodeId, number, address }) => nodeId !== self?.nodeId && number > 0 && address !== "",
  );
}

/** A table and a rule per node that connections may have come through. */
function plainWaysBack(peers: readonly NetworkPeer[], ipv6: boolean): Part {
  const device = swarmDevices.mesh;
  const rules: Rule[] = [];
  const routes: Route[] = [];
  for (const { number } of peers) {
    const table = peerTables + number;
    const way = { preference: peerPreference, mark: number, mask: 0xffff, table };
    rules.push({ family: 4, ...way });
    routes.push(route(device, "default", { via: transitAddress(number), table }));
    if (!ipv6) continue;
    rules.push({ family: 6, ...way });
    routes.push(route(device, "default", { via: transitAddress6(number), table }));
  }
  return { rules, routes };
}

/** One rule for all; the hardware address is written by the rules of the device itself. */
function manyWaysBack(ipv6: boolean): Part {
  const device = swarmDevices.mesh;
  const way = {
    preference: peerPreference,
    mark: rewriteMark,
    mask: rewriteMark,
    table: manyTable,
  };
  const hops = [manyNextHop, ...(ipv6 ? [manyNextHop6] : [])];
  return {
    rules: [{ family: 4, ...way }, ...(ipv6 ? [{ family: 6 as const, ...way }] : [])],
    routes: [
      route(device, manyNextHop),
      ...hops.map((via) => route(device, "default", { via, table: manyTable })),
    ],
    neighbours: hops.map((address) => ({ device, address, mac: manyMac })),
  };
}

/** Where the published tasks of other nodes are: each has one address in the whole mesh. */
function farMeshRoutes(cluster: ClusterState, ipv6: boolean): Route[] {
  return [...meshAddresses(cluster, false)].flatMap(([address, nodeId]) => {
    const number = cluster.peers.get(nodeId)?.number ?? 0;
    if (number === 0) return [];
    const device = swarmDevices.mesh;
    const far = [route(device, address, { via: transitAddress(number) })];
    if (ipv6) {
      const address6 = canonical(ingress6Of(address));
      far.push(route(device, address6, { via: transitAddress6(number) }));
    }
    return far;
  });
}

/** Those of this node. */
function ownMeshRoutes({ cluster, ipv6 }: PlanInput): Route[] {
  return [...meshAddresses(cluster, true).keys()].flatMap((address) => {
    const own = [address, ...(ipv6 ? [canonical(ingress6Of(address))] : [])];
    return own.map((one) => route(swarmDevices.gateway, one));
  });
}

/** Addresses of published tasks with their nodes. @param own Of this node, or of the others. */
function meshAddresses(cluster: ClusterState, own: boolean): Map<string, string> {
  const found = new Map<string, string>();
  for (const endpoint of cluster.endpoints.values()) {
    if ((endpoint.nodeId === cluster.self?.nodeId) !== own) continue;
    const address = meshAddressOf(endpoint, cluster.networks);
    if (address !== undefined) found.set(address, endpoint.nodeId);
  }
  return found;
}

/** The address of a task in the routing mesh; undefined when it publishes nothing there. */
export function meshAddressOf(
  { networks: attachments }: Pick<NetworkEndpoint, "networks">,
  networks: ReadonlyMap<string, Network>,
): string | undefined {
  for (const { networkId, addresses } of attachments) {
    if (networks.get(networkId)?.spec?.ingress !== true) continue;
    const address = addresses.map(withoutLength).find((text) => !text.includes(":"));
    if (address !== undefined) return address;
  }
  return undefined;
}

/** A container's own namespace. */
function sandboxPlan(sandbox: Sandbox, { underlay, ipv6, bridges }: PlanInput): SpaceState {
  const links: Link[] = [];
  const addresses: Address[] = [];
  const routes: Route[] = [];
  const settings: [string, string][] = [];
  const put = (device: string, list: readonly Omit<Address, "device">[]) => {
    for (const { address, length } of list) {
      if (address.includes(":") && !ipv6) continue;
      addresses.push({ device, address: canonical(address), length });
    }
  };
  for (const [position, place] of sandbox.overlays.entries()) {
    const device = overlayDevice(position);
    links.push({ ...plainLink(device, "veth", overlayMtu(place, underlay)), mac: place.mac });
    put(device, place.addresses);
  }
  for (const { device, bridge, addresses: list, mac, gateway: via, gateway6 } of sandbox.bridges) {
    const mtu = bridges.find((one) => one.device === bridge)?.mtu ?? underlay.mtu;
    links.push({ ...plainLink(device, "veth", mtu), mac });
    put(device, list);
    if (via !== "") routes.push(route(device, "default", { via }));
    if (gateway6 !== "" && ipv6) routes.push(route(device, "default", { via: gateway6 }));
    // The name server at 127.0.0.11 is reached through it.
    settings.push([`net/ipv4/conf/${device}/route_localnet`, "1"]);
  }
  for (const place of sandbox.parents ?? []) {
    const { device, kind, parent, mode, gateway: via, gateway6 } = place;
    const mac = kind === "macvlan" ? place.mac : "";
    links.push({ ...plainLink(device, kind, 0), mac, parent: { device: parent, mode } });
    put(device, place.addresses);
    if (via !== "") routes.push(route(device, "default", { via }));
    if (gateway6 !== "" && ipv6) routes.push(route(device, "default", { via: gateway6 }));
  }
  routes.push(...nameServerRoute(sandbox, bridges));
  if (sandbox.gateway !== undefined) {
    const device = gatewayDevice;
    const { address, address6, namesOnly } = sandbox.gateway;
    // Whoever gets the address next has the same: what the gateway knows of it stays true.
    links.push({ ...plainLink(device, "veth", underlay.mtu), mac: endpointMac([address]) });
    put(device, [{ address, length: 32 }]);
    // Servers on all addresses answer from the one they were called at: it is the only one of the device.
    const source = { source: address };
    routes.push(route(device, gateway.address, source));
    if (namesOnly !== true) {
      routes.push(route(device, "default", { ...source, via: gateway.address }));
    }
    if (ipv6 && namesOnly !== true) {
      put(device, [{ address: address6, length: 128 }]);
      const source6 = { source: canonical(address6) };
      routes.push(route(device, gateway.address6, source6));
      routes.push(route(device, "default", { ...source6, via: gateway.address6 }));
    }
    // The name server at 127.0.0.11 is reached through it.
    settings.push([`net/ipv4/conf/${device}/route_localnet`, "1"]);
  }
  return spaceState({ links, addresses, routes, settings });
}

/** A container that has no way out reaches the name server all the same. */
function nameServerRoute(
  { gateway: place, bridges: places }: Sandbox,
  bridges: readonly LocalBridge[],
): Route[] {
  if (place !== undefined || places.some(({ gateway: via }) => via !== "")) return [];
  for (const { bridge, device } of places) {
    const found = bridges.find((one) => one.device === bridge);
    const via = found?.addresses.find(({ address }) => !address.includes(":"))?.address;
    if (via !== undefined) return [route(device, gateway.address, { via })];
  }
  return [];
}

function plainLink(name: string, kind: Link["kind"], mtu: number): Link {
  return {
    name,
    kind,
    mtu,
    mac: "",
    master: "",
    hairpin: false,
    peer: undefined,
    vxlan: undefined,
  };
}

function route(
  device: string,
  destination: string,
  more: Partial<Omit<Route, "device" | "destination">> = {},
): Route {
  return { device, destination, via: "", source: "", table: mainTable, metric: 0, ...more };
}

/** An address as stored, with or without the length of its prefix. */
export function withoutLength(text: string): string {
  return parsePrefix(text) === undefined ? text : (text.split("/")[0] ?? text);
}
