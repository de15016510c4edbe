/**
 * The networks every node has by itself, and the rules for the names of others. Pure.
 *
 * Their ids are made from the id of the installation, so that they stay the same over restarts and differ between nodes.
 */
import { createHash } from "node:crypto";
import type { LocalNetwork } from "../../../src/common/container/networks.ts";
import { gateway } from "../pools.ts";
import type { ChosenSubnet } from "./ipam.ts";

/** Name of the network containers are in that name none. */
export const defaultNetworkName = "bridge";
/** Through which containers in overlay networks reach the outside. */
export const gatewayNetworkName = "docker_gwbridge";

/** Id of a network of every node. */
export function predefinedId(engineId: string, name: string): string {
  return createHash("sha256").update(`${engineId}/network/${name}`).digest("hex");
}

/** @param subnets Those of the network `bridge`; undefined where the node has none. */
export function predefinedNetworks(
  engineId: string,
  subnets: readonly ChosenSubnet[] | undefined,
  createdAtMs: number,
): readonly LocalNetwork[] {
  const make = (
    name: string,
    driver: string,
    more: Partial<Pick<LocalNetwork, "subnets" | "options">>,
  ): LocalNetwork => ({
    id: predefinedId(engineId, name),
    name,
    driver,
    labels: {},
    options: {},
    internal: false,
    ipv6: false,
    ipam: undefined,
    createdAtMs,
    subnets: [],
    predefined: true,
    ...more,
  });
  const bridgeOptions = {
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
  };
  const isDefault = { "com.docker.network.bridge.default_bridge": "true" };
  const options = { ...isDefault, ...bridgeOptions };
  return [
    ...(subnets === undefined ? [] : [make(defaultNetworkName, "bridge", { subnets, options })]),
    make(gatewayNetworkName, "bridge", {
      subnets: [{ subnet: gateway.subnet, gateway: gateway.address }],
      options: { ...bridgeOptions, "com.docker.network.bridge.enable_icc": "false" },
    }),
    make("host", "host", {}),
    make("none", "null", {}),
  ];
}
