/**
 * The table in the network namespace of each task and container: service addresses, and where its name server is. Pure.
 *
 * Services are balanced in the client's own namespace (network.md 4), so that a backend sees the client's address and its
 * answer finds the way back. A service address without backends is refused at once instead of left to time out; streams
 * that are open are past these rules and go on.
 */
import { isIPv6 } from "node:net";
import { balance } from "./balance.ts";
import type { Table, TableChain, TableSet } from "./table.ts";

/** Its name, in every namespace of a task. */
export const taskTableName = { family: "inet", name: "skep" } as const;

/** A service's address in one network. */
export interface ServiceAddress {
  /** Without prefix length. */
  readonly address: string;
  /** Ready backends, of the same family. */
  readonly backends: readonly string[];
  /** A client keeps to one backend. */
  readonly affinity: boolean;
}

/** What the table of one namespace is made from. */
export interface TaskRules {
  /** Of all networks it is in; addresses are distinct. */
  readonly services: readonly ServiceAddress[];
  /** Where 127.0.0.11:53 leads; undefined for containers with name servers of their own. */
  readonly dns: { readonly address: string; readonly port: number } | undefined;
}

/** The table; `previous`, as this function made it before, keeps backends of large services in their slots. */
export function taskTable(rules: TaskRules, previous?: Table): Table {
  const sets = new Map<string, TableSet>();
  const chains = new Map<string, TableChain>();
  const lead = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  const dead = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  for (const service of rules.services) {
    const family = isIPv6(service.address) ? 6 : 4;
    if (service.backends.length === 0) {
      dead[family].set(service.address, "");
      continue;
    }
    const label = service.address.replaceAll(":", "_");
    const place = { mapName: `to_${label}`, previous, port: 0, family } as const;
    const { statement, map } = balance(
      { addresses: service.backends, affinity: service.affinity },
      place,
    );
    chains.set(`vip_${label}`, { hook: "", rules: [statement] });
    if (map !== undefined) sets.set(place.mapName, map);
    lead[family].set(service.address, `goto vip_${label}`);
  }
  sets.set("vips", { kind: "map", header: "type ipv4_addr : verdict", elements: lead[4] });
  sets.set("vips6", { kind: "map", header: "type ipv6_addr : verdict", elements: lead[6] });
  sets.set("dead", { kind: "set", header: "type ipv4_addr", elements: dead[4] });
  sets.set("dead6", { kind: "set", header: "type ipv6_addr", elements: dead[6] });
  for (const [name, chain] of baseChains(rules)) chains.set(name, chain);
  const leadsTo = new Set(rules.services.flatMap((service) => service.backends));
  return { ...taskTableName, sets, chains, leadsTo };
}

function baseChains(rules: TaskRules): [string, TableChain][] {
  const vips = ["ip daddr vmap @vips", "ip6 daddr vmap @vips6"];
  const nat = (hook: string) => `type nat hook ${hook}; policy accept;`;
  const filter = (hook: string) => `type filter hook ${hook} priority filter; policy accept;`;
  return [
    ["c_out", { hook: nat("output priority -100"), rules: [...toNameServer(rules), ...vips] }],
    // Of containers inside the container.
    ["c_pre", { hook: nat("prerouting priority dstnat"), rules: vips }],
    [
      "c_post",
      {
        hook: nat("postrouting priority srcnat"),
        // Queries begin at a loopback address, to which no answer could come.
        rules: ['oifname != "lo" ip saddr 127.0.0.0/8 masquerade'],
      },
    ],
    ["refuse_out", { hook: filter("output"), rules: refusals }],
    ["refuse_forward", { hook: filter("forward"), rules: refusals }],
  ];
}

const refusals: readonly string[] = [
  "ip daddr @dead meta l4proto tcp reject with tcp reset",
  "ip daddr @dead reject with icmp type port-unreachable",
  "ip6 daddr @dead6 meta l4proto tcp reject with tcp reset",
  "ip6 daddr @dead6 reject with icmpv6 type port-unreachable",
];

function toNameServer({ dns }: TaskRules): string[] {
  if (dns === undefined) return [];
  return ["udp", "tcp"].map(
    (protocol) => `ip daddr 127.0.0.11 ${protocol} dport 53 dnat ip to ${dns.address}:${dns.port}`,
  );
}
