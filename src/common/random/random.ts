/**
 * Random numbers as an argument: the system's for production, a seeded generator for tests and the simulator.
 */
import { randomFillSync } from "node:crypto";

/** A source of randomness. */
export interface Random {
  /** A number in [0, 1). */
  float(): number;
  /** An integer in [0, below); `below` is at most 2^32. */
  int(below: number): number;
  /** Fills and returns `length` random bytes. */
  bytes(length: number): Uint8Array;
}

/** Asking the system costs 20 us however little is asked for, so a page is fetched at a time and handed out once. */
const pool = Buffer.alloc(8192);
let poolUsed = pool.length;

/** Offset of the next `length` unused bytes of the pool. */
function take(length: number): number {
  if (poolUsed + length > pool.length) {
    randomFillSync(pool);
    poolUsed = 0;
  }
  poolUsed += length;
  return poolUsed - length;
}

function nextWord(): number {
  return pool.readUInt32LE(take(4));
}

function nextBytes(length: number): Uint8Array {
  if (length > 64) return randomFillSync(new Uint8Array(length));
  const at = take(length);
  const bytes = new Uint8Array(pool.subarray(at, at + length));
  // What was handed out may become a key: no copy of it stays here.
  pool.fill(0, at, at + length);
  return bytes;
}

/** Randomness of the operating system; fit for keys and ids. */
export const systemRandom: Random = {
  float: () => nextWord() / 2 ** 32,
  int: (below) => Math.floor((nextWord() / 2 ** 32) * below),
  bytes: nextBytes,
};

/**
 * A reproducible generator (xoshiro128**, Blackman and Vigna 2018); not for secrets.
 *
 * @param seed Any integer; equal seeds give equal sequences.
 */
export function seededRandom(seed: number): Random {
  const s = seedState(seed);
  const next = () => xoshiro(s);
  return {
    float: () => next() / 2 ** 32,
    int: (below) => Math.floor((next() / 2 ** 32) * below),
    bytes: (length) => Uint8Array.from({ length }, () => next() & 255),
  };
}

function seedState(seed: number): Uint32Array {
  const s = new Uint32Array(4);
  let x = (seed >>> 0) ^ Math.floor(seed / 2 ** 32);
  for (let i = 0; i < 4; i++) {
    x = (x + 0x9e3779b9) | 0;
    let z = x;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    s[i] = z ^ (z >>> 15);
  }
  return s;
}

function xoshiro(s: Uint32Array): number {
  const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = s;
  const m = Math.imul(s1, 5);
  const result = Math.imul((m << 7) | (m >>> 25), 9) >>> 0;
  const t = s1 << 9;
  const n2 = s2 ^ s0;
  const n3 = s3 ^ s1;
  s[1] = s1 ^ n2;
  s[0] = s0 ^ n3;
  s[2] = n2 ^ t;
  s[3] = (n3 << 11) | (n3 >>> 21);
  return result;
}
