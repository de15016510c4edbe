/**
 * Identifiers of cluster objects: 25 characters of base 36 from 128 random bits, as Docker's swarm prints them.
 */
import type { Random } from "../random/random.ts";

/** Length of every object id. */
export const idLength = 25;

/** A new object id: 25 lower-case base-36 characters. */
export function newId(random: Random): string {
  let value = 0n;
  for (const byte of random.bytes(16)) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(idLength, "0");
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
