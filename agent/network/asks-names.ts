/**
 * Which containers ask the node's name server. Pure.
 */
import type { Sandbox } from "./sandbox.ts";

/** Whether a container asks the node's name server: as with Docker not one that is in the default network alone. */
export function asksNames({ overlays, bridges, gateway: place, parents }: Sandbox): boolean {
  const isOnParent = (parents ?? []).some(({ networkId }) => networkId !== undefined);
  const isNamed = overlays.length > 0 || isOnParent || bridges.some(({ named }) => named);
  return place !== undefined || isNamed;
}
