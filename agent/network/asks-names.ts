/**
 * Which containers ask the node's name server. Pure.
 */
import type { Sandbox } from "./sandbox.ts";

/** Whether a container asks the node's name server: as with Docker not one that is in the default network alone. */
export function asksNames({ overlays, bridges, gateway: place }: Sandbox): boolean {
  return place !== undefined || overlays.length > 0 || bridges.some(({ named }) => named);
}
