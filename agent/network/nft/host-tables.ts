/**
 * The tables of the host's own namespace: published ports lead to the data path's namespace, and the filter keeps strangers
 * out of overlays and containers (network.md 3 and 5.2). Pure.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { VxlanPorts } from "../pools.ts";
import { ofFamily } from "./balance.ts";
import type { Table, TableChain, TableSet } from "./table.ts";

/** A port that every node publishes for a service. */
export interface PublishedPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  /** An address of the host or the name of one of its devices, to which it is bound; all where undefined. */
  readonly at: string | undefined;
}

/** A port of this host that leads to one container of this node. */
export interface HostBinding {
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Address of the host; all when empty, all of one family with 0.0.0.0 and `::`. */
  readonly hostAddress: string;
  readonly hostPort: number;
  /** Addresses of the container, reached through the uplink; IPv4, IPv6, or one of each. */
  readonly addresses: readonly string[];
  readonly containerPort: number;
}

/** What the table of published ports is made from. */
export interface PortRules {
  readonly name: string;
  /** Device of the host that leads to the data path's namespace. */
  readonly uplink: string;
  /** Its far end. */
  readonly entrance: { readonly address: string; readonly address6: string };
  readonly published: readonly PublishedPort[];
  readonly bindings: readonly HostBinding[];
  /** Subnets of containers whose own addresses the outside sees. */
  readonly untranslated: readonly string[];
}

/** What the filter is made from. */
export interface GuardRules {
  readonly name: string;
  readonly uplink: string;
  /** WireGuard device; undefined where there is none, and then no packet of an encrypted network passes. */
  readonly wireguard: string | undefined;
  readonly ports: VxlanPorts;
  /** Addresses of the data paths of nodes that this one has to do with; none in no cluster, where no overlay is to guard. */
  readonly peers: readonly string[];
}

const port = "inet_proto . inet_service";
const protocols = "meta l4proto { tcp, udp, sctp }";

/** The table of published ports, of ports bound to containers of this node, and of the way out. */
export function portTable(rules: PortRules): Table {
  const { uplink } = rules;
  const published: TableChain = {
    hook: "",
    rules: [...bindingRules(), ...publishedRules(rules.entrance)],
  };
  const hooked = (hook: string, ...lines: string[]): TableChain => ({
    hook: `type nat hook ${hook}; policy accept;`,
    rules: lines,
  });
  return {
    family: "inet",
    name: rules.name,
    sets: new Map([
      ...publishedSets(rules.published),
      ...bindingMaps(rules),
      ["untranslated", subnets(rules, 4)],
      ["untranslated6", subnets(rules, 6)],
    ]),
    chains: new Map([
      ["published", published],
      // Before Docker's own chains, where both are on one host.
      ["c_pre", hooked("prerouting priority dstnat - 1", "fib daddr type local jump published")],
      [
        "c_out",
        hooked(
          "output priority -101",
          // The kernel cannot lead the IPv6 loopback address anywhere else.
          "ip6 daddr ::1 accept",
          "fib daddr type local jump published",
        ),
      ],
      [
        "c_post",
        hooked(
          "postrouting priority srcnat - 1",
          `oifname "${uplink}" ip saddr 127.0.0.0/8 masquerade`,
          `iifname "${uplink}" oifname "${uplink}" masquerade`,
          `iifname "${uplink}" ip saddr != @untranslated masquerade`,
          `iifname "${uplink}" ip6 saddr != @untranslated6 masquerade`,
        ),
      ],
    ]),
  };
}

/** The filter; it must be there before the first VXLAN device is. */
export function guardTable(rules: GuardRules): Table {
  const addresses = (type: string, family: 4 | 6): TableSet => ({
    kind: "set",
    header: `type ${type}`,
    elements: new Map(ofFamily(rules.peers, family).map((peer) => [peer, ""])),
  });
  return {
    family: "inet",
    name: rules.name,
    sets: new Map([
      ["peers", addresses("ipv4_addr", 4)],
      ["peers6", addresses("ipv6_addr", 6)],
    ]),
    chains: new Map<string, TableChain>([
      [
        "c_raw",
        {
          hook: "type filter hook prerouting priority raw; policy accept;",
          rules: [
            ...overlayRules(rules, "jump plain_come", "jump secure_come"),
            // The uplink lets loopback addresses through for the host's own clients, not for containers.
            `ip daddr 127.0.0.0/8 iifname "${rules.uplink}" drop`,
          ],
        },
      ],
      [
        "c_raw_output",
        {
          hook: "type filter hook output priority raw; policy accept;",
          rules: overlayRules(rules, "goto plain_go", "goto secure_go"),
        },
      ],
      [
        "c_input",
        {
          hook: "type filter hook input priority filter - 10; policy accept;",
          rules: overlayRules(rules, "goto plain_in", "goto secure_in"),
        },
      ],
      [
        "c_output",
        {
          hook: "type filter hook output priority filter - 10; policy accept;",
          // Nor does it leave in clear when the tunnel is gone.
          rules:
            rules.peers.length === 0
              ? []
              : [`udp dport ${rules.ports.secure} ${byTunnelOnly(rules, "oifname")}`],
        },
      ],
      ["c_forward", { hook: forwardHook, rules: forwardRules(rules) }],
      ...overlayChains(rules),
      ...forwardChains(rules),
    ]),
  };
}

/** The rule that tells packets of overlays from all others; none in no cluster, where there are none. */
function overlayRules({ peers, ports }: GuardRules, plain: string, secure: string): string[] {
  if (peers.length === 0) return [];
  return [`udp dport vmap { ${ports.plain} : ${plain}, ${ports.secure} : ${secure} }`];
}

/** Drops packets of encrypted networks that do not go by the tunnel. */
function byTunnelOnly({ wireguard }: GuardRules, way: "iifname" | "oifname"): string {
  return wireguard === undefined ? "counter drop" : `${way} != "${wireguard}" counter drop`;
}

/**
 * What becomes of packets of overlays. Each one inside has a connection of its own, so that to track those around them tells
 * nothing and costs time with every packet: between nodes none is tracked. What containers send may have to be translated.
 */
function overlayChains(rules: GuardRules): [string, TableChain][] {
  if (rules.peers.length === 0) return [];
  const { uplink, wireguard } = rules;
  const chain = (...lines: string[]): TableChain => ({ hook: "", rules: lines });
  const tunnel = (way: "iifname" | "oifname") =>
    chain(...(wireguard === undefined ? [] : [`${way} "${wireguard}" notrack`]));
  const known = (verdict: string) => [
    `ip saddr @peers iifname != "${uplink}" ${verdict}`,
    `ip6 saddr @peers6 iifname != "${uplink}" ${verdict}`,
  ];
  return [
    ["plain_come", chain(...known("notrack accept"))],
    ["secure_come", tunnel("iifname")],
    ["plain_go", chain("ip daddr @peers notrack accept", "ip6 daddr @peers6 notrack")],
    ["secure_go", tunnel("oifname")],
    // In clear nothing enters an encrypted network, and strangers and containers enter none.
    ["secure_in", chain(byTunnelOnly(rules, "iifname"))],
    ["plain_in", chain(...known("accept"), "counter drop")],
  ];
}

const forwardHook = "type filter hook forward priority filter - 10; policy accept;";

function forwardRules({ uplink, wireguard, ports }: GuardRules): string[] {
  const tunnel = wireguard === undefined ? "" : `, "${wireguard}" : goto to_tunnel`;
  return [
    `oifname vmap { "${uplink}" : goto to_containers${tunnel} }`,
    `udp dport { ${ports.plain}, ${ports.secure} } iifname "${uplink}" goto overlay_of_container`,
  ];
}

function forwardChains({ wireguard }: GuardRules): [string, TableChain][] {
  return [
    [
      "to_containers",
      {
        hook: "",
        rules: [
          // Published ports come in, answers do; nobody routes himself to a container by its own address.
          "ct state { established, related } accept",
          "ct status dnat accept",
          "counter drop",
        ],
      },
    ],
    [
      "overlay_of_container",
      {
        hook: "",
        // What containers send leaves with the address of their node, which the others trust: so no overlay packets.
        rules: ["ip daddr @peers counter drop", "ip6 daddr @peers6 counter drop"],
      },
    ],
    ["to_tunnel", { hook: "", rules: wireguard === undefined ? [] : ["counter drop"] }],
  ];
}

function publishedRules(entrance: PortRules["entrance"]): string[] {
  const lines: string[] = [];
  for (const [family, suffix, ip, address] of [
    ["ipv4", "", "ip", entrance.address],
    ["ipv6", "6", "ip6", entrance.address6],
  ]) {
    const key = "meta l4proto . th dport";
    lines.push(
      `meta nfproto ${family} ${key} @published dnat ${ip} to ${address}`,
      `${ip} daddr . ${key} @published_at${suffix} dnat ${ip} to ${address}`,
      `meta nfproto ${family} iifname . ${key} @published_on dnat ${ip} to ${address}`,
    );
  }
  return lines;
}

/** Bound to one address goes before bound to all. */
function bindingRules(): string[] {
  return [
    `${protocols} dnat ip to ip daddr . meta l4proto . th dport map @bound_at`,
    `${protocols} dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound_at6`,
    `meta nfproto ipv4 ${protocols} dnat ip to meta l4proto . th dport map @bound`,
    `meta nfproto ipv6 ${protocols} dnat ip6 to meta l4proto . th dport map @bound6`,
  ];
}

function publishedSets(published: readonly PublishedPort[]): [string, TableSet][] {
  const all = new Map<string, string>();
  const at4 = new Map<string, string>();
  const at6 = new Map<string, string>();
  const on = new Map<string, string>();
  for (const { protocol, port: number, at } of published) {
    const key = `${protocol} . ${number}`;
    if (at === undefined) all.set(key, "");
    else if (isIPv6(at)) at6.set(`${at} . ${key}`, "");
    else if (isIPv4(at)) at4.set(`${at} . ${key}`, "");
    // What can be neither is bound to nothing: it is the user's text, and would be part of a command.
    else if (/^[\w.@-]{1,15}$/.test(at)) on.set(`"${at}" . ${key}`, "");
  }
  const set = (header: string, elements: ReadonlyMap<string, string>): TableSet => ({
    kind: "set",
    header: `type ${header}`,
    elements,
  });
  return [
    ["published", set(port, all)],
    ["published_at", set(`ipv4_addr . ${port}`, at4)],
    ["published_at6", set(`ipv6_addr . ${port}`, at6)],
    ["published_on", set(`ifname . ${port}`, on)],
  ];
}

function bindingMaps({ bindings }: PortRules): [string, TableSet][] {
  const maps = { bound: new Map(), bound_at: new Map(), bound6: new Map(), bound_at6: new Map() };
  for (const binding of bindings) {
    for (const address of binding.addresses) {
      const suffix = isIPv6(address) ? "6" : "";
      const any = suffix === "6" ? "::" : "0.0.0.0";
      const { hostAddress } = binding;
      const key = `${binding.protocol} . ${binding.hostPort}`;
      const value = `${address} . ${binding.containerPort}`;
      if (hostAddress === "" || hostAddress === any) maps[`bound${suffix}`].set(key, value);
      else if (isIPv6(hostAddress) === isIPv6(address)) {
        maps[`bound_at${suffix}`].set(`${hostAddress} . ${key}`, value);
      }
    }
  }
  const map = (header: string, elements: ReadonlyMap<string, string>): TableSet => ({
    kind: "map",
    header: `type ${header}`,
    elements,
  });
  return [
    ["bound", map(`${port} : ipv4_addr . inet_service`, maps.bound)],
    ["bound_at", map(`ipv4_addr . ${port} : ipv4_addr . inet_service`, maps.bound_at)],
    ["bound6", map(`${port} : ipv6_addr . inet_service`, maps.bound6)],
    ["bound_at6", map(`ipv6_addr . ${port} : ipv6_addr . inet_service`, maps.bound_at6)],
  ];
}

function subnets(rules: PortRules, family: 4 | 6): TableSet {
  const own = rules.untranslated.filter((subnet) => subnet.includes(":") === (family === 6));
  return {
    kind: "set",
    header: `type ipv${family}_addr; flags interval`,
    elements: new Map(own.map((subnet) => [subnet, ""])),
  };
}
