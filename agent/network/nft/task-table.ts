/**
 * The table in the network namespace of each task and container: service addresses, and where its name server is. Pure.
 *
 * Services are balanced in the client's own namespace (network.md 4), so that a backend sees the client's address and its
 * answer finds the way back. A service address without backends is refused at once instead of left to time out; streams
 * that are open are past these rules and go on.
 */
import { isIPv6 } from "node:net";
import { nameQueriesAtOnceMax, nameQueriesPerSecondMax } from "../../../src/common/limits/names.ts";
import { balance } from "./balance.ts";
import { firstSlots, type Slots, type SlotsByAddress, slotRules, slotsOf } from "./slots.ts";
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

/** A table of a task, with what the next one is made from. */
export interface TaskTable extends Table {
  readonly slots: SlotsByAddress;
}

/** The table; `previous`, as this function made it before, keeps backends in their slots. */
export function taskTable(rules: TaskRules, previous?: TaskTable): TaskTable {
  const slots = new Map<string, Slots>();
  const keeping = new Map<string, TableChain>();
  const dead = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  for (const { address, backends, affinity } of rules.services) {
    if (backends.length === 0) dead[isIPv6(address) ? 6 : 4].set(address, "");
    else if (affinity) keeping.set(address, keepingChain(address, backends));
    else slots.set(address, slotsOf(backends, previous?.slots.get(address)));
  }
  const { sets: maps, chains: slotChains, leads } = slotRules(slots);
  const chains = new Map<string, TableChain>(slotChains);
  for (const [address, chain] of keeping) {
    const name = `keep_${address.replaceAll(":", "_")}`;
    chains.set(name, chain);
    leads[isIPv6(address) ? 6 : 4].set(address, `goto ${name}`);
  }
  const sets = new Map<string, TableSet>(maps);
  sets.set("vips", { kind: "map", header: "type ipv4_addr : verdict", elements: leads[4] });
  sets.set("vips6", { kind: "map", header: "type ipv6_addr : verdict", elements: leads[6] });
  sets.set("dead", { kind: "set", header: "type ipv4_addr", elements: dead[4] });
  sets.set("dead6", { kind: "set", header: "type ipv6_addr", elements: dead[6] });
  for (const [name, chain] of baseChains(rules)) chains.set(name, chain);
  const leadsTo = new Set<string>();
  for (const { backends } of rules.services) for (const backend of backends) leadsTo.add(backend);
  return { ...taskTableName, sets, chains, leadsTo, slots };
}

/** Clients keep to one backend each: the rule of a service has its backends written into it. */
function keepingChain(address: string, backends: readonly string[]): TableChain {
  const family = isIPv6(address) ? 6 : 4;
  const place = { mapName: "", previous: undefined, port: 0, family } as const;
  const { statement } = balance({ addresses: backends, affinity: true }, place);
  return { hook: "", rules: [statement] };
}

function baseChains(rules: TaskRules): [string, TableChain][] {
  const vips = ["ip daddr vmap @vips", "ip6 daddr vmap @vips6", ...firstSlots];
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
    [
      "refuse_out",
      {
        hook: filter("output"),
        // Nobody answers at a refused address, so what is answered has another one.
        rules: [...floodOfQuestions(rules), "ct state established accept", ...refusals],
      },
    ],
    ["refuse_forward", { hook: filter("forward"), rules: refusals }],
  ];
}

const refusals: readonly string[] = [
  "ip daddr @dead meta l4proto tcp reject with tcp reset",
  "ip daddr @dead reject with icmp type port-unreachable",
  "ip6 daddr @dead6 meta l4proto tcp reject with tcp reset",
  "ip6 daddr @dead6 reject with icmpv6 type port-unreachable",
];

/**
 * All containers of a node share the name server's socket: what one of them asks beyond measure is dropped before it gets there,
 * or the questions of the others find no room in it.
 */
function floodOfQuestions({ dns }: TaskRules): string[] {
  if (dns === undefined) return [];
  const limit = `limit rate over ${nameQueriesPerSecondMax}/second burst ${nameQueriesAtOnceMax} packets`;
  return [`ip daddr ${dns.address} udp dport ${dns.port} ${limit} drop`];
}

function toNameServer({ dns }: TaskRules): string[] {
  if (dns === undefined) return [];
  return ["udp", "tcp"].map(
    (protocol) => `ip daddr 127.0.0.11 ${protocol} dport 53 dnat ip to ${dns.address}:${dns.port}`,
  );
}
