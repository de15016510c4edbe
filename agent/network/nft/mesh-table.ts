/**
 * The tables of the namespace of the data path (network.md 5.2, 5.4, 5.5): published ports lead to tasks anywhere with the
 * client's own address, answers find the node at which the client knocked, and nobody gets where it has no business. Pure.
 *
 * A connection that came from another node has that node's number as mark and as conntrack zone; the mark leads answers
 * back, the zone keeps apart two connections with the same addresses and ports that came in at two nodes.
 */
import { transitMac } from "../pools.ts";
import { type Backends, balance, ofFamily } from "./balance.ts";
import type { Table, TableChain, TableSet } from "./table.ts";

/** Names of devices in the namespace. */
export interface MeshDevices {
  /** Towards the host. */
  readonly uplink: string;
  /** Bridge of the tasks' gateways. */
  readonly gateway: string;
  /** VXLAN device between nodes; undefined while there is none. */
  readonly mesh: string | undefined;
  /** Bridges of local networks, by device; `internal` ones lead nowhere. */
  readonly bridges: readonly { readonly device: string; readonly internal: boolean }[];
}

/** A published port and the tasks behind it. */
export interface MeshPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly published: number;
  readonly target: number;
  /** Mesh addresses, IPv4 and IPv6, of ready tasks; the port is refused at once when there is none. */
  readonly backends: readonly string[];
  /** Clients keep to one task. */
  readonly affinity: boolean;
  /** Tasks see an address of the node instead of the client's. */
  readonly sourceNat: boolean;
}

/** What the tables are made from. */
export interface MeshRules {
  readonly names: { readonly mesh: string; readonly return: string };
  readonly devices: MeshDevices;
  /** Addresses at which published ports arrive from the host. */
  readonly entrance: { readonly address: string; readonly address6: string };
  /** Numbers of the other nodes. */
  readonly peers: readonly number[];
  readonly ports: readonly MeshPort[];
  /** Gateway addresses of local tasks and containers that may reach the outside; others only answer. */
  readonly outward: readonly string[];
  /** Prefixes of the tasks' mesh addresses, which nobody outside knows. */
  readonly inner: readonly string[];
  readonly dns: { readonly address: string; readonly port: number } | undefined;
}

/** Nodes up to which each has a routing rule of its own; above, answers are led by rewriting (network.md 5.5). */
export const routedPeersMax = 100;
/** In the rewriting variant: set in every mark, so that one routing rule does. */
export const rewriteMark = 0x10000;
/** What of a mark tells a node. */
const nodeMarks = "0x0001ffff";
/** Mark of connections whose source is to be translated. */
const sourceNatMark = "0x40000000";

/** Whether answers find their node by rewriting, not by a routing rule per node. */
export function rewritesReturn(peers: readonly number[]): boolean {
  return peers.length > routedPeersMax;
}

/** Mark of connections that came from a node. */
export function meshMark(peer: number, rewrites: boolean): number {
  return rewrites ? rewriteMark + peer : peer;
}

/** The table of marks, zones, ports and filters. */
export function meshTable(rules: MeshRules, previous?: Table): Table {
  const { devices } = rules;
  const sets = new Map<string, TableSet>();
  const chains = new Map<string, TableChain>();
  const services = new Map<string, string>();
  for (const port of rules.ports) {
    const name = `${port.protocol}_${port.published}`;
    const chain = portChain(port, { sets, previous, uplink: devices.uplink });
    if (chain.rules.length === 0) continue;
    chains.set(name, chain);
    services.set(`${port.protocol} . ${port.published}`, `goto ${name}`);
  }
  sets.set("ports", {
    kind: "map",
    header: "type inet_proto . inet_service : verdict",
    elements: services,
  });
  const members = (type: string, elements: readonly string[]): TableSet => ({
    kind: "set",
    header: `type ${type}`,
    elements: new Map(elements.map((element) => [element, ""])),
  });
  sets.set("outward", members("ipv4_addr", ofFamily(rules.outward, 4)));
  sets.set("outward6", members("ipv6_addr", ofFamily(rules.outward, 6)));
  const bridges = devices.bridges.map((bridge) => `"${bridge.device}"`);
  const closed = devices.bridges.filter((bridge) => bridge.internal);
  sets.set("bridges", members("ifname", bridges));
  sets.set(
    "closed",
    members(
      "ifname",
      closed.map((bridge) => `"${bridge.device}"`),
    ),
  );
  for (const [name, chain] of natChains(rules)) chains.set(name, chain);
  for (const [name, chain] of filterChains(rules)) chains.set(name, chain);
  if (devices.mesh !== undefined) {
    for (const [name, set] of peerSets(rules.peers)) sets.set(name, set);
    for (const [name, chain] of markChains(devices.gateway, devices.mesh)) chains.set(name, chain);
  }
  const leadsTo = new Set(rules.ports.flatMap((port) => port.backends));
  return { family: "inet", name: rules.names.mesh, sets, chains, leadsTo };
}

/**
 * The table that leads marked answers to their node at the mesh device's way out, whose default route has a neighbour that
 * does not exist. Undefined where routing rules do.
 */
export function returnTable(rules: MeshRules): Table | undefined {
  const { mesh } = rules.devices;
  if (mesh === undefined || !rewritesReturn(rules.peers)) return undefined;
  const elements = new Map(
    rules.peers.map((peer) => [markText(meshMark(peer, true)), transitMac(peer)]),
  );
  return {
    family: "netdev",
    name: rules.names.return,
    sets: new Map([["macs", { kind: "map", header: "type mark : ether_addr", elements }]]),
    chains: new Map([
      [
        "c_egress",
        {
          hook: `type filter hook egress device "${mesh}" priority 0; policy accept;`,
          rules: ["ether daddr set meta mark map @macs"],
        },
      ],
    ]),
  };
}

function portChain(
  port: MeshPort,
  at: { sets: Map<string, TableSet>; previous: Table | undefined; uplink: string },
): TableChain {
  const rules: string[] = [];
  for (const family of [4, 6] as const) {
    const backends: Backends = {
      addresses: ofFamily(port.backends, family),
      affinity: port.affinity,
    };
    if (backends.addresses.length === 0) continue;
    const mapName = `to${family}_${port.protocol}_${port.published}`;
    const place = { mapName, previous: at.previous, port: port.target, family };
    const { statement, map } = balance(backends, place);
    if (map !== undefined) at.sets.set(mapName, map);
    rules.push(`meta nfproto ipv${family} meta l4proto ${port.protocol} ${statement}`);
  }
  if (port.sourceNat && rules.length > 0) {
    rules.unshift(`iifname "${at.uplink}" ct mark set ${sourceNatMark}`);
  }
  return { hook: "", rules };
}

function natChains({ devices, entrance }: MeshRules): [string, TableChain][] {
  const { uplink, gateway } = devices;
  return [
    [
      "c_pre",
      {
        hook: "type nat hook prerouting priority dstnat; policy accept;",
        rules: [
          `ip daddr ${entrance.address} meta l4proto . th dport vmap @ports`,
          `ip6 daddr ${entrance.address6} meta l4proto . th dport vmap @ports`,
        ],
      },
    ],
    [
      "c_post",
      {
        hook: "type nat hook postrouting priority srcnat; policy accept;",
        rules: [
          // From task to task of one node: the answer must come back through here.
          `iifname "${gateway}" oifname "${gateway}" ct status dnat masquerade`,
          `iifname "${uplink}" ct mark ${sourceNatMark} masquerade`,
        ],
      },
    ],
  ];
}

/** What may pass between devices, and what may come to the namespace itself. */
function filterChains(rules: MeshRules): [string, TableChain][] {
  const { devices, dns } = rules;
  const { uplink } = devices;
  const names =
    dns === undefined
      ? []
      : ["udp", "tcp"].map(
          (protocol) => `ip daddr ${dns.address} ${protocol} dport ${dns.port} accept`,
        );
  return [
    ...forwardChains(rules, names),
    [
      "c_input",
      {
        hook: "type filter hook input priority filter; policy accept;",
        rules: [
          'iifname "lo" accept',
          "ct state { established, related } accept",
          "meta l4proto { icmp, ipv6-icmp } accept",
          ...names.map((rule) => `iifname != "${uplink}" ${rule}`),
          // Published ports without a ready task end here.
          "meta l4proto tcp reject with tcp reset",
          "reject",
        ],
      },
    ],
    ...waitingNames(dns),
  ];
}

/**
 * Every packet that passes comes here, so most are through after a few steps: where it goes, whether it is an answer, where
 * it comes from.
 */
function forwardChains(
  { devices, inner }: MeshRules,
  names: readonly string[],
): [string, TableChain][] {
  const { uplink, gateway, mesh, bridges } = devices;
  const chain = (...lines: string[]): TableChain => ({ hook: "", rules: lines });
  const leads = (entries: readonly (readonly [device: string | undefined, verdict: string])[]) =>
    entries
      .filter(([device]) => device !== undefined)
      .map(([device, verdict]) => `"${device}" : ${verdict}`)
      .join(", ");
  const toClosed = bridges.some(({ internal }) => internal) ? ["oifname @closed drop"] : [];
  const chains: [string, TableChain][] = [
    [
      "c_forward",
      {
        hook: "type filter hook forward priority filter; policy accept;",
        rules: [
          `oifname vmap { ${leads([
            [uplink, "jump to_uplink"],
            [mesh, "jump to_mesh"],
          ])} }`,
          // A mesh connection's answer leaves by the way it came, also when its first packet was another node's.
          "ct direction reply accept",
          "ct state related accept",
          `iifname vmap { ${leads([
            [uplink, "goto from_uplink"],
            [mesh, "goto from_mesh"],
            [gateway, "goto from_gateway"],
          ])} }`,
          ...names,
          ...toClosed,
          "iifname @closed drop",
          `iifname @bridges oifname != "${uplink}" drop`,
        ],
      },
    ],
    [
      "to_uplink",
      chain(
        // While there is no way between nodes, what belongs there goes nowhere else.
        ...inner.map((prefix) => `${prefix.includes(":") ? "ip6" : "ip"} daddr ${prefix} drop`),
        `meta mark & ${nodeMarks} != 0 drop`,
      ),
    ],
    ["from_uplink", chain(...toClosed)],
    [
      "from_gateway",
      chain(
        ...names,
        ...toClosed,
        "ct status dnat accept",
        "ip saddr != @outward drop",
        "ip6 saddr != @outward6 drop",
        `oifname != "${uplink}" drop`,
      ),
    ],
  ];
  if (mesh !== undefined) {
    chains.push(
      // Both directions pass here on their way to another node, the SYN and its answer.
      ["to_mesh", chain("tcp flags syn tcp option maxseg size set rt mtu")],
      ["from_mesh", chain(`oifname != "${gateway}" drop`)],
    );
  }
  return chains;
}

/**
 * While the daemon restarts nobody listens where names are asked. Programs give up at a refusal, and ask again when they hear
 * nothing: so they hear nothing.
 */
function waitingNames(dns: MeshRules["dns"]): [string, TableChain][] {
  if (dns === undefined) return [];
  const { address, port } = dns;
  const asked = `ct state related ct protocol udp ct original proto-dst ${port}`;
  return [
    [
      "c_output",
      {
        hook: "type filter hook output priority filter; policy accept;",
        rules: [
          `icmp type destination-unreachable ${asked} drop`,
          `ip saddr ${address} tcp sport ${port} tcp flags rst drop`,
        ],
      },
    ],
  ];
}

function peerSets(peers: readonly number[]): [string, TableSet][] {
  const rewrites = rewritesReturn(peers);
  const byMac = (value: (peer: number) => string) =>
    new Map(peers.map((peer) => [transitMac(peer), value(peer)]));
  return [
    [
      "peer_mark",
      {
        kind: "map",
        header: "type ether_addr : mark",
        elements: byMac((peer) => markText(meshMark(peer, rewrites))),
      },
    ],
    ["peer_zone", { kind: "map", header: "typeof ether saddr : ct zone", elements: byMac(String) }],
  ];
}

function markChains(gateway: string, mesh: string): [string, TableChain][] {
  return [
    [
      "c_zone",
      {
        hook: "type filter hook prerouting priority raw; policy accept;",
        rules: [`iifname "${mesh}" ct original zone set ether saddr map @peer_zone`],
      },
    ],
    [
      "c_mark",
      {
        hook: "type filter hook prerouting priority mangle; policy accept;",
        rules: [
          `ct mark != 0 ct direction reply iifname "${gateway}" meta mark set ct mark`,
          `ct state new iifname "${mesh}" ct mark set ether saddr map @peer_mark`,
        ],
      },
    ],
  ];
}

function markText(mark: number): string {
  return `0x${mark.toString(16).padStart(8, "0")}`;
}
