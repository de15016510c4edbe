/**
 * The short name that tells one daemon of a machine from another: sockets, control groups and mounts carry it.
 */
import { createHash } from "node:crypto";

/** Eight characters that differ between data roots. */
export function instanceOf(dataRoot: string): string {
  return createHash("sha256").update(dataRoot).digest("hex").slice(0, 8);
}

/** The control group below which the daemon of a data root keeps its containers' groups, in every tree. */
export function cgroupParentOf(dataRoot: string): string {
  return `/skep/${instanceOf(dataRoot)}`;
}
