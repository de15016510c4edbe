/**
 * Unlock keys in the form people copy: `SWMKEY-1-` and 32 bytes in base 64 without padding, as Docker prints them.
 */
import { ClusterError } from "../errors/cluster-error.ts";

const prefix = "SWMKEY-1-";
/** Bytes of an unlock key. */
export const unlockKeyBytes = 32;

/** The text of an unlock key. */
export function unlockKeyToText(key: Uint8Array): string {
  return prefix + Buffer.from(key).toString("base64").replace(/=+$/, "");
}

/** Reads an unlock key. @throws ClusterError invalid-argument when it does not have the form of one. */
export function unlockKeyFromText(text: string): Uint8Array {
  const key = Buffer.from(text.trim().slice(prefix.length), "base64");
  if (key.length !== unlockKeyBytes || unlockKeyToText(key) !== text.trim()) {
    throw new ClusterError("invalid-argument", "swarm could not be unlocked: invalid key provided");
  }
  return new Uint8Array(key);
}
