/**
 * What a network of the node may ask for. Pure.
 *
 * Options Docker knows and that have no meaning here, such as the name of the bridge, are taken and shown; all others are
 * refused by name.
 */
import type { LocalNetworkConfig } from "../../../src/common/container/networks.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

const mtuOption = "com.docker.network.driver.mtu";

/** Options by driver. */
const options: Readonly<Record<string, readonly string[]>> = {
  bridge: [
    mtuOption,
    "com.docker.network.bridge.name",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.default_bridge",
    "com.docker.network.container_iface_prefix",
  ],
  macvlan: [mtuOption, "parent", "macvlan_mode"],
  ipvlan: [mtuOption, "parent", "ipvlan_mode", "ipvlan_flag"],
};

const modes: Readonly<Record<string, readonly string[]>> = {
  macvlan_mode: ["bridge", "vepa", "passthru", "private"],
  ipvlan_mode: ["l2", "l3", "l3s"],
  ipvlan_flag: ["bridge", "private", "vepa"],
};

const booleans = new Set([
  "com.docker.network.bridge.enable_icc",
  "com.docker.network.bridge.enable_ip_masquerade",
]);

/** MTU within which a device can be made, bytes: the least of IPv4, and the most of an IP packet. */
const mtuBytes = { min: 68, max: 65_535 };

/** @throws ClusterError in Docker's words where it has some; naming field and fix. */
export function checkNetwork(config: LocalNetworkConfig): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(config.name)) {
    throw new ClusterError(
      "invalid-argument",
      `invalid network name: ${JSON.stringify(config.name)}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    );
  }
  const { driver } = config;
  // The options are those of a driver that is not known yet.
  if (config.configOnly === true) return;
  if (driver === "host" || driver === "null") {
    throw new ClusterError(
      "permission-denied",
      `only one instance of "${driver}" network is allowed`,
    );
  }
  const known = options[driver];
  if (known === undefined) {
    throw new ClusterError("not-found", `plugin ${JSON.stringify(driver)} not found`);
  }
  for (const [name, value] of Object.entries(config.options)) {
    if (!known.includes(name)) {
      throw new ClusterError(
        "invalid-argument",
        `invalid option ${JSON.stringify(name)} for a network of driver ${driver}: it knows ${known.join(", ")}`,
      );
    }
    checkOption(name, value);
  }
  if (driver !== "bridge" && (config.options["parent"] ?? "") === "") {
    throw new ClusterError(
      "invalid-argument",
      `a network of driver ${driver} needs the option parent: name a device of this host, such as -o parent=eth0`,
    );
  }
  const ipamDriver = config.ipam?.driver?.name ?? "";
  if (ipamDriver !== "" && ipamDriver !== "default") {
    throw new ClusterError(
      "not-found",
      `plugin ${JSON.stringify(ipamDriver)} not found: leave --ipam-driver out`,
    );
  }
}

/** @throws ClusterError invalid-argument for a device that this host does not have. */
export function checkParent(
  { configOnly, driver, options: given }: LocalNetworkConfig,
  hasDevice: (name: string) => boolean,
): void {
  const parent = given["parent"] ?? "";
  if (configOnly === true || driver === "bridge" || hasDevice(parent)) return;
  const [, device, tag] = /^([^.]+)\.(\d+)$/.exec(parent) ?? [];
  const fix =
    device === undefined
      ? "ip link shows those it has"
      : `make it first, with ip link add link ${device} name ${parent} type vlan id ${tag}`;
  throw new ClusterError(
    "invalid-argument",
    `the parent ${JSON.stringify(parent)} is no device of this host: ${fix}`,
  );
}

function checkOption(name: string, value: string): void {
  const allowed = modes[name];
  if (allowed !== undefined && !allowed.includes(value)) throw invalid(name, value, allowed);
  if (booleans.has(name) && !["true", "false", "1", "0"].includes(value)) {
    throw invalid(name, value, ["true", "false"]);
  }
  if (name === mtuOption) {
    const mtu = /^\d{1,5}$/.test(value) ? Number(value) : 0;
    if (mtu < mtuBytes.min || mtu > mtuBytes.max) {
      throw invalid(name, value, [`a number from ${mtuBytes.min} to ${mtuBytes.max}`]);
    }
  }
}

function invalid(name: string, value: string, allowed: readonly string[]): ClusterError {
  return new ClusterError(
    "invalid-argument",
    `invalid value ${JSON.stringify(value)} for option ${name}: it can be ${allowed.join(", ")}`,
  );
}

/** MTU of a network's devices; undefined for the default. */
export function mtuOf(network: Pick<LocalNetworkConfig, "options">): number | undefined {
  const text = network.options[mtuOption];
  return text === undefined ? undefined : Number(text);
}
