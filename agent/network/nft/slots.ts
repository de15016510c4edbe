/**
 * Service addresses and their backends as a few maps that all services share. Pure.
 *
 * A rule per service would have every change pay for all services, as nftables is told of all chains and sets of a namespace
 * before it takes a change; so there is one rule per number of backends, which looks for the service's address and a random
 * slot in one map: `10.0.1.2 . 7 : 10.0.1.19`. A backend more or less is a slot or two, and another rule for its service.
 *
 * A packet may be on its way through the old rules while maps are the new ones already: it may ask for a slot that is gone,
 * or come to a chain that is not filled yet. Both lead it back to the rules `firstSlots`, as the first slot is always there.
 */
import { densePlaces } from "./balance.ts";
import type { TableChain, TableSet } from "./table.ts";

/** The backends of one service in their slots; lists are replaced, never changed. */
export interface Slots {
  /** As they were given, to tell whether they are others. */
  readonly backends: readonly string[];
  /** The backend of each slot from 0. */
  readonly places: readonly string[];
}

/** Slots by service address. */
export type SlotsByAddress = ReadonlyMap<string, Slots>;

/** The slots of a service, whose backends stay where they were before if they can. */
export function slotsOf(backends: readonly string[], before: Slots | undefined): Slots {
  if (before !== undefined && sameList(before.backends, backends)) return before;
  // Only newcomers need an order, so that equal backends have equal slots on a node that just began.
  const wanted = [...new Set(backends)];
  if (before === undefined) wanted.sort();
  const taken = (before?.places ?? []).map((address, slot) => [String(slot), address] as const);
  return { backends, places: densePlaces(taken, wanted) };
}

/** Maps and rules of slots. */
export interface SlotRules {
  /** The maps `slots` and `slots6`. */
  readonly sets: readonly (readonly [name: string, set: TableSet])[];
  /** One chain per number of backends. */
  readonly chains: readonly (readonly [name: string, chain: TableChain])[];
  /** Verdict by service address. */
  readonly leads: { readonly 4: Map<string, string>; readonly 6: Map<string, string> };
}

/** Everything that leads to services; those without backends are left out. */
export function slotRules(slots: SlotsByAddress): SlotRules {
  const chains = new Map<string, TableChain>();
  const leads = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  const elements = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  for (const [address, { places }] of slots) {
    if (places.length === 0) continue;
    const family = address.includes(":") ? 6 : 4;
    const name = `${chainPrefix[family]}${places.length}`;
    if (!chains.has(name)) chains.set(name, { hook: "", rules: [slotRule(family, places.length)] });
    leads[family].set(address, `jump ${name}`);
    for (let slot = 0; slot < places.length; slot++) {
      elements[family].set(`${address} . ${slot}`, places[slot] ?? "");
    }
  }
  const map = (ip: string, of: Map<string, string>): TableSet => ({
    kind: "map",
    header: `typeof ${ip} daddr . numgen random mod 65536 : ${ip} daddr`,
    elements: of,
  });
  return {
    sets: [
      ["slots", map("ip", elements[4])],
      ["slots6", map("ip6", elements[6])],
    ],
    chains: [...chains],
    leads,
  };
}

/** After the rules that lead to the chains: the first backend of a service. */
export const firstSlots: readonly string[] = [slotRule(4, 1), slotRule(6, 1)];

const chainPrefix = { 4: "to_", 6: "to6_" } as const;

function slotRule(family: 4 | 6, count: number): string {
  const ip = family === 4 ? "ip" : "ip6";
  const map = family === 4 ? "slots" : "slots6";
  return `dnat ${ip} to ${ip} daddr . numgen random mod ${count} map @${map}`;
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((one, at) => one === b[at]));
}
