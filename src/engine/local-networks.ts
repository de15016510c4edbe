/**
 * The networks every node has of its own: `bridge`, `host` and `none`. Pure.
 *
 * Their ids are made from the id of the installation, so that they stay the same over restarts and differ between nodes.
 */
import { createHash } from "node:crypto";
import type { Json } from "./translate/common.ts";

/** A node-local network as lists and look-ups need it. */
export interface LocalNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
}

const drivers = [
  ["bridge", "bridge"],
  ["host", "host"],
  ["none", "null"],
] as const;

/** Names no user may take. */
export const predefinedNames: readonly string[] = [...drivers.map(([name]) => name), "default"];

/** The three networks of the installation with this id. */
export function localNetworks(engineId: string): readonly LocalNetwork[] {
  return drivers.map(([name, driver]) => ({
    id: createHash("sha256").update(`${engineId}/network/${name}`).digest("hex"),
    name,
    driver,
  }));
}

/** A node-local network as `GET /networks` shows it. */
export function localNetworkToJson(network: LocalNetwork): Json {
  return {
    Name: network.name,
    Id: network.id,
    Created: "0001-01-01T00:00:00Z",
    Scope: "local",
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: "default", Options: null, Config: [] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: {},
    Options: {},
    Labels: {},
  };
}
