/**
 * How new connections spread over backends: the rule, and where there are very many backends the named map it reads. Pure.
 *
 * A rule with its backends written into it is replaced as a whole at each change, which costs with their number; above
 * about a thousand a named map of dense slots is cheaper, of which a change touches one or two elements (network.md 4).
 */
import { isIPv6 } from "node:net";
import type { Table, TableSet } from "./table.ts";

/** Backends up to which they stand in the rule itself. */
export const inlineBackendsMax = 1_000;
/** Positions over which source addresses spread; many more than backends, so that shares come out even. */
const affinitySlots = { few: 1_024, many: 8_192, fewBackendsMax: 128 } as const;
/** The kernel's hash must be the same on each node and after each change. */
const affinitySeed = "0x5ce9";

/** Addresses of one family over which new connections spread. */
export interface Backends {
  /** Without prefix length; distinct. */
  readonly addresses: readonly string[];
  /** Connections from one source address keep to one backend while it is there. */
  readonly affinity: boolean;
}

/** Where a balance stands: names the map, if there is one, and the table as it was for its slots. */
export interface BalancePlace {
  readonly mapName: string;
  readonly previous: Table | undefined;
  /** Set by the rule: the port of the backends, 0 for the one that was called. */
  readonly port: number;
  readonly family: 4 | 6;
}

/** The statement, and the map beside it where one is needed. */
export interface Balance {
  readonly statement: string;
  readonly map: TableSet | undefined;
}

/** A statement that leads a connection to one of the backends, of which there is at least one. */
export function balance(backends: Backends, place: BalancePlace): Balance {
  const ip = place.family === 4 ? "ip" : "ip6";
  const port = place.port === 0 ? "" : ` : ${place.port}`;
  const addresses = [...new Set(backends.addresses)].sort();
  const dnat = (by: string, map: string) => `dnat ${ip} to ${by} map ${map}${port}`;
  if (backends.affinity) {
    const slots = affinityPlaces(addresses);
    const by = `jhash ${ip} saddr mod ${slots.length} seed ${affinitySeed}`;
    return { statement: dnat(by, inline(slots)), map: undefined };
  }
  const by = `numgen random mod ${addresses.length}`;
  if (addresses.length <= inlineBackendsMax) {
    return { statement: dnat(by, inline(addresses)), map: undefined };
  }
  const slots = place.previous?.sets.get(place.mapName);
  const map: TableSet = {
    kind: "map",
    header: `typeof numgen random mod 65536 : ${ip} daddr`,
    elements: elementsOf(densePlaces(slots === undefined ? [] : [...slots.elements], addresses)),
  };
  return { statement: dnat(by, `@${place.mapName}`), map };
}

/** The addresses of one family. */
export function ofFamily(addresses: readonly string[], family: 4 | 6): string[] {
  return addresses.filter((address) => isIPv6(address) === (family === 6));
}

/**
 * Slots 0 to N-1, each with an address: whoever was there keeps its slot, new ones take those that became free, and the
 * last ones move into what is left free.
 *
 * @param before Slot number and address.
 */
export function densePlaces(
  before: readonly (readonly [string, string])[],
  wanted: readonly string[],
): string[] {
  const left = new Set(wanted);
  const places: (string | undefined)[] = [];
  for (const [slot, address] of before) {
    if (left.delete(address)) places[Number(slot)] = address;
  }
  const movers = [...left];
  const result: string[] = [];
  for (let slot = wanted.length; slot < places.length; slot++) {
    const address = places[slot];
    if (address !== undefined) movers.push(address);
  }
  movers.reverse();
  for (let slot = 0; slot < wanted.length; slot++) {
    const address = places[slot] ?? movers.pop();
    if (address !== undefined) result.push(address);
  }
  return result;
}

/** Each position goes to the backend that draws highest there: a backend more or less moves only its own share. */
function affinityPlaces(addresses: readonly string[]): string[] {
  const few = addresses.length <= affinitySlots.fewBackendsMax;
  const count = few ? affinitySlots.few : affinitySlots.many;
  const seeds = addresses.map(textHash);
  const places: string[] = [];
  for (let slot = 0; slot < count; slot++) {
    let best = 0;
    let highest = -1;
    for (let index = 0; index < seeds.length; index++) {
      const draw = mix((seeds[index] ?? 0) ^ Math.imul(slot + 1, 0x9e3779b1));
      if (draw > highest) {
        highest = draw;
        best = index;
      }
    }
    places.push(addresses[best] ?? "");
  }
  return places;
}

function inline(places: readonly string[]): string {
  return `{ ${places.map((address, slot) => `${slot} : ${address}`).join(", ")} }`;
}

function elementsOf(places: readonly string[]): Map<string, string> {
  return new Map(places.map((address, slot) => [String(slot), address]));
}

/** FNV-1a. */
function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** The finalizer of MurmurHash3: every bit of the input moves about half of the output's. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
