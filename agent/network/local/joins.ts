/**
 * Which networks a container is to be in, from what it was made with. Pure.
 */
import type { Container, NetworkJoin } from "../../../src/common/container/types.ts";
import { defaultNetworkName } from "./predefined.ts";

/** Modes in which a container has no networks of its own. */
export function hasOwnNetworks(config: Container["config"]): boolean {
  const main = config.networks[0] ?? "default";
  return main !== "host" && main !== "none" && !main.startsWith("container:");
}

/** In the order the container names them; none for `host`, `none` and `container:`. */
export function joinsFromConfig(config: Container["config"]): readonly NetworkJoin[] {
  if (!hasOwnNetworks(config)) return [];
  const names = config.networks.length === 0 ? ["default"] : config.networks;
  return names.map((name) => joinNamed(config, name));
}

function joinNamed(config: Container["config"], name: string): NetworkJoin {
  const said = config.joins.find(({ network }) => network === name);
  const network = name === "default" || name === "" ? defaultNetworkName : name;
  return {
    aliases: [],
    addresses: [],
    macAddress: "",
    driverOptions: {},
    ...said,
    network,
  };
}
