/**
 * Join tokens: `SWMTKN-1-<digest>-<secret>`, as Docker prints them.
 *
 * The digest (SHA-256 of the root certificate, 50 base-36 characters) lets a new node check whom it talks to before it
 * trusts anything; the secret (16 random bytes, 25 base-36 characters) lets the cluster check the node and names its role.
 */
import { timingSafeEqual } from "node:crypto";
import { ClusterError } from "../errors/cluster-error.ts";
import type { Random } from "../random/random.ts";
import { rootDigest } from "./root.ts";

/** The two halves of a token. */
export interface JoinToken {
  /** Lower-case hex SHA-256 of the root certificate. */
  readonly rootDigest: string;
  readonly secret: string;
}

const digestLength = 50;
const secretLength = 25;

/** A new token for the cluster with this root (PEM). */
export function createJoinToken(rootPem: string, random: Random): string {
  const digest = BigInt(`0x${rootDigest(rootPem)}`)
    .toString(36)
    .padStart(digestLength, "0");
  const secret = BigInt(`0x${Buffer.from(random.bytes(16)).toString("hex")}`)
    .toString(36)
    .padStart(secretLength, "0");
  return `SWMTKN-1-${digest}-${secret}`;
}

/** Reads a token. @throws ClusterError invalid-argument when it does not have the form of one. */
export function parseJoinToken(token: string): JoinToken {
  const match = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/.exec(token);
  const [, digest = "", secret = ""] = match ?? [];
  const number = [...digest].reduce((sum, digit) => sum * 36n + BigInt(parseInt(digit, 36)), 0n);
  if (match === null || number >= 1n << 256n) {
    throw new ClusterError("invalid-argument", "invalid join token");
  }
  return { rootDigest: number.toString(16).padStart(64, "0"), secret };
}

/** Whether two tokens are the same, in a time that does not tell where they differ. */
export function sameToken(given: string, expected: string): boolean {
  const a = Buffer.from(given);
  const b = Buffer.from(expected);
  return expected !== "" && a.length === b.length && timingSafeEqual(a, b);
}
