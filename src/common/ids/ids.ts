/**
 * Identifiers of cluster objects: 25 characters of base 36 from 128 random bits, as Docker's swarm prints them.
 */
import type { Random } from "../random/random.ts";

/** Length of every object id. */
export const idLength = 25;

/** Characters of an id that are made at a time, and how many values they have. */
const groupLength = 5;
const groupSize = 36 ** groupLength;

/** A new object id: 25 lower-case base-36 characters. */
export function newId(random: Random): string {
  const bytes = random.bytes(16);
  // The number in units of 16 bits, divided by 36^5 five times: numbers of this size are far cheaper than a BigInt.
  const units: number[] = [];
  for (let at = 0; at < 16; at += 2) units.push((bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0));
  let id = "";
  while (id.length < idLength) {
    let rest = 0;
    for (let at = 0; at < units.length; at++) {
      const value = rest * 65_536 + (units[at] ?? 0);
      const quotient = Math.floor(value / groupSize);
      units[at] = quotient;
      rest = value - quotient * groupSize;
    }
    id = rest.toString(36).padStart(groupLength, "0") + id;
  }
  return id;
}

/** A new Raft member id: 1 to 2^48 - 1, so that it is exact as a JavaScript number. */
export function newRaftId(random: Random): number {
  let value = 0;
  for (const byte of random.bytes(6)) value = value * 256 + byte;
  return value === 0 ? 1 : value;
}

/** Whether `text` has the form of an object id. */
export function isId(text: string): boolean {
  return /^[0-9a-z]{25}$/.test(text);
}
