/**
 * Addresses of one subnet: which are taken and by whom, and the next one to give. Pure.
 *
 * The next address is looked for after the one given last, so that one that was just freed rests for as long as there are
 * others: somebody may still send to it.
 */
import type { IpamConfig } from "../../src/common/api/generated/api.ts";
import {
  addressAt,
  contains,
  formatAddress,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
  networkOf,
  overlaps,
  parseAddress,
  parsePrefix,
  sizeOf,
} from "../../src/common/spec/cidr.ts";

/** More places than this are not counted in one subnet: no cluster has so many tasks, and numbers stay exact. */
const placesMax = 2 ** 32;

/** One subnet of a network. Holders are ids of tasks and services; each has one address at most. */
export class Subnet {
  readonly prefix: IpPrefix;
  /** Places that may be given: both inclusive, counted from the first address of the subnet. */
  readonly #from: number;
  readonly #to: number;
  readonly #holders = new Map<number, string>();
  readonly #places = new Map<string, number>();
  /** Places that are nobody's to take: gateway and reserved addresses. */
  readonly #reserved = new Set<number>();
  /** Places that only this holder, as a label of its service says, may take. */
  readonly #kept = new Map<number, number>();
  #last: number;
  /** The last search found nothing, and nothing was given back since. */
  #isFull = false;

  /** @param config With a subnet that is valid; range and gateway lie in it. */
  constructor(config: IpamConfig, prefix: IpPrefix) {
    this.prefix = networkOf(prefix);
    const size = clamp(sizeOf(prefix));
    const range = parsePrefix(config.range);
    const start = range === undefined ? 0 : this.#placeOf(networkOf(range));
    const end = range === undefined ? size - 1 : start + clamp(sizeOf(range)) - 1;
    // The first address names the network itself; in IPv4 the last one is everybody's.
    this.#from = Math.max(start, 1);
    this.#to = Math.min(end, this.prefix.family === 4 ? size - 2 : size - 1);
    this.#last = this.#from - 1;
    for (const text of [config.gateway, ...Object.values(config.reserved)]) {
      const address = parseAddress(text.split("/")[0] ?? "");
      if (address !== undefined && contains(this.prefix, address))
        this.#reserved.add(this.#placeOf(address));
    }
  }

  /** How many addresses may be given at all. */
  get size(): number {
    let size = Math.max(0, this.#to - this.#from + 1);
    for (const place of this.#reserved) if (place >= this.#from && place <= this.#to) size--;
    return size;
  }

  /** How many are taken. */
  get taken(): number {
    return this.#holders.size;
  }

  /** Whether the address lies in the subnet. */
  contains(address: IpAddress): boolean {
    return contains(this.prefix, address);
  }

  /** All that have an address here. */
  holders(): Iterable<string> {
    return this.#places.keys();
  }

  /** The address a holder has, with the length of the prefix. */
  addressOf(holder: string): string | undefined {
    const place = this.#places.get(holder);
    return place === undefined ? undefined : this.#text(place);
  }

  /** Who has the address. */
  holderOf(address: IpAddress): string | undefined {
    return this.#holders.get(this.#placeOf(address));
  }

  /** Gives the holder an address, the one it has if it has one; undefined when all are taken. */
  take(holder: string): string | undefined {
    const has = this.#places.get(holder);
    if (has !== undefined) return this.#text(has);
    const count = this.#to - this.#from + 1;
    if (this.#isFull) return undefined;
    for (let step = 1; step <= count; step++) {
      const place = this.#from + ((this.#last - this.#from + step) % count);
      if (this.#holders.has(place) || this.#reserved.has(place) || this.#kept.has(place)) continue;
      this.#last = place;
      this.#put(holder, place);
      return this.#text(place);
    }
    this.#isFull = true;
    return undefined;
  }

  /** Gives the holder this very address; undefined when another one has it, or nobody may. */
  takeAt(holder: string, address: IpAddress): string | undefined {
    const place = this.#placeOf(address);
    const present = this.#holders.get(place);
    if (present !== undefined && present !== holder) return undefined;
    if (!this.mayGive(address)) return undefined;
    this.release(holder);
    this.#put(holder, place);
    return this.#text(place);
  }

  /** Whether the address is one for tasks: neither the network's own, nor reserved. Ranges bind only the choice of ours. */
  mayGive(address: IpAddress): boolean {
    if (!contains(this.prefix, address)) return false;
    const place = this.#placeOf(address);
    const isLast = this.prefix.family === 4 && place === clamp(sizeOf(this.prefix)) - 1;
    return place > 0 && !isLast && !this.#reserved.has(place);
  }

  /** Takes note of what the store says: the holder has this address. */
  note(holder: string, address: IpAddress): void {
    const place = this.#placeOf(address);
    if (this.#places.get(holder) === place) return;
    this.release(holder);
    this.#put(holder, place);
    if (place >= this.#from && place <= this.#to) this.#last = Math.max(this.#last, place);
  }

  /** The holder has none any more; true when it had one. */
  release(holder: string): boolean {
    const place = this.#places.get(holder);
    if (place === undefined) return false;
    this.#isFull = false;
    this.#places.delete(holder);
    if (this.#holders.get(place) === holder) this.#holders.delete(place);
    return true;
  }

  /** Keeps an address for those that ask for it by name. Several may keep one. */
  keep(address: IpAddress): void {
    const place = this.#placeOf(address);
    this.#kept.set(place, (this.#kept.get(place) ?? 0) + 1);
  }

  /** Ends one `keep`. */
  unkeep(address: IpAddress): void {
    const place = this.#placeOf(address);
    const count = this.#kept.get(place) ?? 0;
    this.#isFull = false;
    if (count <= 1) this.#kept.delete(place);
    else this.#kept.set(place, count - 1);
  }

  #put(holder: string, place: number): void {
    this.#places.set(holder, place);
    this.#holders.set(place, holder);
  }

  #placeOf(address: IpAddress): number {
    return Number(address.value - this.prefix.value);
  }

  #text(place: number): string {
    const address = addressAt(this.prefix, BigInt(place));
    return `${formatAddress(address)}/${this.prefix.length}`;
  }
}

function clamp(size: bigint): number {
  return size > BigInt(placesMax) ? placesMax : Number(size);
}

/** Subnets in a pool that is cut into equal ones. */
export interface PoolOfSubnets {
  /** Pools in CIDR form, used in this order. */
  readonly pools: readonly string[];
  /** Prefix length of each subnet. */
  readonly length: number;
}

/** The first subnet of the pools that overlaps with nothing taken; undefined when there is none. */
export function chooseSubnet(
  { pools, length }: PoolOfSubnets,
  taken: readonly IpPrefix[],
): string | undefined {
  for (const text of pools) {
    const pool = parsePrefix(text);
    if (pool === undefined || pool.length > length) continue;
    const chosen = firstFree(networkOf(pool), length, taken);
    if (chosen !== undefined) return formatPrefix(chosen);
  }
  return undefined;
}

function firstFree(
  pool: IpPrefix,
  length: number,
  taken: readonly IpPrefix[],
): IpPrefix | undefined {
  const inPool = taken
    .filter((prefix) => overlaps(pool, prefix))
    .map((prefix) => {
      const { value } = networkOf(prefix);
      return { value, end: value + sizeOf(prefix) };
    })
    .sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
  const step = sizeOf({ ...pool, length });
  const end = pool.value + sizeOf(pool);
  let next = pool.value;
  for (const one of inPool) {
    if (one.value >= next + step) break;
    // On to the first whole subnet after what is taken.
    while (next < one.end) next += step * ((one.end - next + step - 1n) / step);
  }
  return next + step <= end ? { family: pool.family, value: next, length } : undefined;
}
