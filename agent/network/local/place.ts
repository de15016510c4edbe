/**
 * A container's place in one network of the node. Pure.
 */
import { createHash } from "node:crypto";
import type { LocalNetwork, NetworkPlace } from "../../../src/common/container/networks.ts";
import type { NetworkJoin } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { formatAddress, parseAddress, parsePrefix } from "../../../src/common/spec/cidr.ts";
import { macOf } from "../pools.ts";
import { type AddressSource, checkAddress, freeAddress } from "./ipam.ts";
import { gatewayNetworkName } from "./predefined.ts";

/**
 * The place: the addresses the join names, else the lowest free ones.
 * @param taken Addresses in the network.
 * @throws ClusterError in Docker's words.
 */
export function choosePlace(
  network: LocalNetwork,
  join: NetworkJoin,
  taken: ReadonlySet<string>,
  endpointId: string,
): NetworkPlace {
  checkJoin(network, join);
  const sources = network.subnets.map((subnet) => sourceOf(network, subnet));
  const named = join.addresses.map((text) => checkAddress(text, sources, taken));
  const of = (family: 4 | 6) => {
    const source = sources.find(({ subnet }) => subnet.includes(":") === (family === 6));
    if (source === undefined) return { address: "", prefixLength: 0, gateway: "" };
    const fixed = named.find((one) => one.source === source)?.address;
    return {
      address: fixed ?? freeAddress(source, taken),
      prefixLength: parsePrefix(source.subnet)?.length ?? 0,
      gateway: network.internal ? "" : source.gateway,
    };
  };
  const [four, six] = [of(4), of(6)];
  return {
    networkId: network.id,
    networkName: network.name,
    endpointId,
    ...four,
    address6: six.address,
    prefixLength6: six.prefixLength,
    gateway6: six.gateway,
    macAddress: join.macAddress || macFor(four.address, six.address),
    aliases: join.aliases,
  };
}

function checkJoin(network: LocalNetwork, join: NetworkJoin): void {
  if (network.configOnly === true) {
    throw new ClusterError(
      "permission-denied",
      `cannot create endpoint on configuration-only network: make a network from it with --config-from ${network.name}`,
    );
  }
  if (network.driver === "host" || network.driver === "null") {
    throw new ClusterError(
      "permission-denied",
      network.driver === "host"
        ? "container cannot be connected to host network or disconnected from host network"
        : "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
  }
  if (network.name === gatewayNetworkName) {
    throw new ClusterError(
      "permission-denied",
      `${network.name} is the node's own: containers in overlay networks are in it by themselves`,
    );
  }
  if (join.addresses.length > 0 && network.predefined) {
    throw new ClusterError(
      "invalid-argument",
      "user specified IP address is supported on user defined networks only",
    );
  }
  if (join.addresses.length > 0 && (network.ipam?.configs.length ?? 0) === 0) {
    throw new ClusterError(
      "invalid-argument",
      "user specified IP address is supported only when connecting to networks with user configured subnets",
    );
  }
  if (join.aliases.length > 0 && network.predefined) {
    throw new ClusterError(
      "invalid-argument",
      "network-scoped aliases are only supported for user-defined networks",
    );
  }
  if (join.macAddress !== "" && !/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(join.macAddress)) {
    throw new ClusterError("invalid-argument", `invalid MAC address: ${join.macAddress}`);
  }
}

function sourceOf(network: LocalNetwork, subnet: LocalNetwork["subnets"][number]): AddressSource {
  const config = network.ipam?.configs.find((one) => one.subnet === subnet.subnet);
  const reserved = Object.values(config?.reserved ?? {}).map((text) => {
    const address = parseAddress(text);
    return address === undefined ? text : formatAddress(address);
  });
  return { ...subnet, range: config?.range ?? "", reserved };
}

/** From the IPv4 address; without one from a digest of the IPv6 address. */
function macFor(address: string, address6: string): string {
  if (address !== "") return macOf(address);
  const digest = createHash("sha256").update(address6).digest("hex");
  return `02:42:${(digest.slice(0, 8).match(/../g) ?? []).join(":")}`;
}
