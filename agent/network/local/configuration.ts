/**
 * Networks that only hold settings (`--config-only`), and networks that are made from them (`--config-from`). Pure.
 */
import type { LocalNetwork, LocalNetworkConfig } from "../../../src/common/container/networks.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** Driver that Docker shows for networks that only hold settings. */
export const configurationDriver = "null";

/** What is asked for with the settings of the network it is to be made from. @throws ClusterError in Docker's words. */
export function configured(
  config: LocalNetworkConfig,
  networks: readonly LocalNetwork[],
): LocalNetworkConfig {
  const { configFrom = "", configOnly = false } = config;
  if (configOnly && config.internal)
    throw forbidden(
      "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported: give them to the networks that are made from it",
    );
  if (configFrom === "") return configOnly ? { ...config, driver: configurationDriver } : config;
  if (configOnly)
    throw forbidden("a configuration network cannot depend on another configuration network");
  const hasSettings =
    config.ipv6 || Object.keys(config.labels).length > 0 || isOwnIpam(config.ipam);
  if (hasSettings)
    throw forbidden(
      `user-specified configurations are not supported if the network depends on a configuration network: set subnets, labels and --ipv6 in ${configFrom}`,
    );
  if (Object.keys(config.options).length > 0)
    throw forbidden(
      `network driver options are not supported if the network depends on a configuration network: set them in ${configFrom}`,
    );
  const from = networks.find((one) => one.configOnly === true && one.name === configFrom);
  if (from === undefined)
    throw new ClusterError(
      "not-found",
      `configuration network ${JSON.stringify(configFrom)} does not exist: make it on this node with docker network create --config-only`,
    );
  const { labels, options, ipv6, ipam } = from;
  return { ...config, labels, options, ipv6, ipam };
}

/** @throws ClusterError permission-denied for settings that networks are made from. */
export function checkUnused(
  { name, configOnly }: LocalNetwork,
  all: readonly LocalNetwork[],
): void {
  if (configOnly !== true) return;
  const users = all.filter(({ configFrom }) => configFrom === name);
  if (users.length === 0) return;
  const names = users.map((network) => network.name).join(", ");
  throw forbidden(`configuration network ${JSON.stringify(name)} is in use: remove ${names} first`);
}

function isOwnIpam(ipam: LocalNetworkConfig["ipam"]): boolean {
  if (ipam === undefined) return false;
  const driver = ipam.driver?.name ?? "";
  const isDefault = driver === "" || driver === "default";
  return (
    !isDefault || ipam.configs.length > 0 || Object.keys(ipam.driver?.options ?? {}).length > 0
  );
}

function forbidden(message: string): ClusterError {
  return new ClusterError("permission-denied", message);
}
