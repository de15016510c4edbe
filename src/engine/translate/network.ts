/**
 * Networks: the Engine API's create request and `Network` ↔ the schema's. Pure.
 *
 * The API shows networks in two shapes: as resources of their own (`Id`, `IPAM`, …) and inside tasks (`ID`, `Spec`, …).
 */
import {
  Annotations,
  Driver,
  IpamConfig,
  IpamOptions,
  type Network,
  NetworkSpec,
} from "../../common/api/generated/api.ts";
import type { LocalNetwork } from "../../common/container/networks.ts";
import {
  annotationsToJson,
  driverToJson,
  flagOrNothing,
  type Json,
  listOrNothing,
  mapOrNothing,
  metaToJson,
  textOrNothing,
  timeToJson,
} from "./common.ts";
import { networkWarnings } from "./network-warnings.ts";
import type { JsonObject } from "./reader.ts";

/** Marks the swarm's own objects for the `bridge` and `host` networks every node has. */
export const predefinedLabel = "com.docker.swarm.predefined";

/** Whether this is one of the swarm's objects for a network every node has. */
export function isPredefined(network: Network): boolean {
  return network.spec?.annotations?.labels[predefinedLabel] === "true";
}

/** `POST /networks/create` to a swarm network. @throws ClusterError `invalid-argument` naming the field. */
export function networkSpecFromJson(json: JsonObject): NetworkSpec {
  return NetworkSpec.create({
    annotations: Annotations.create({
      name: json.string("Name"),
      labels: json.stringMap("Labels"),
    }),
    driver: Driver.create({ name: json.string("Driver"), options: json.stringMap("Options") }),
    ipv6Enabled: json.bool("EnableIPv6"),
    internal: json.bool("Internal"),
    ipam: ipamFromJson(json.object("IPAM")),
    attachable: json.bool("Attachable"),
    ingress: json.bool("Ingress"),
    configFrom: json.objectOrEmpty("ConfigFrom").string("Network"),
    configOnly: json.bool("ConfigOnly"),
    scope: "swarm",
  });
}

/** A swarm network as `GET /networks` shows it. */
export function networkToJson(network: Network): Json {
  const { spec, driverState, ipam } = network;
  const shownIpam = ipam ?? spec?.ipam;
  const driver = driverState ?? spec?.driver;
  return {
    Name: spec?.annotations?.name ?? "",
    Id: network.id,
    Created: timeToJson(network.meta?.createdAtMs ?? 0),
    Scope: "swarm",
    Driver: driver?.name ?? "",
    EnableIPv4: true,
    EnableIPv6: spec?.ipv6Enabled ?? false,
    IPAM: {
      Driver: shownIpam?.driver?.name ?? "",
      Options: mapOrNull(shownIpam?.driver?.options ?? {}),
      Config: (shownIpam?.configs ?? []).map(ipamConfigToJson),
    },
    Internal: spec?.internal ?? false,
    Attachable: spec?.attachable ?? false,
    Ingress: spec?.ingress ?? false,
    ConfigFrom: { Network: spec?.configFrom ?? "" },
    ConfigOnly: spec?.configOnly ?? false,
    Containers: null,
    Options: mapOrNull(driver?.options ?? {}),
    Labels: mapOrNull(spec?.annotations?.labels ?? {}),
    Warnings: listOrNothing(networkWarnings(network)),
  };
}

/** A network of the node as `GET /networks` shows it. */
export function localNetworkToJson(network: LocalNetwork, members: Json): Json {
  const { ipam } = network;
  const range = (subnet: string) => ipam?.configs.find((config) => config.subnet === subnet);
  return {
    Name: network.name,
    Id: network.id,
    Created: timeToJson(network.createdAtMs),
    Scope: network.ofSwarm === true ? "swarm" : "local",
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: network.ipv6,
    IPAM: {
      Driver: ipam?.driver?.name || "default",
      Options: mapOrNull(ipam?.driver?.options ?? {}),
      Config:
        network.configOnly === true
          ? (ipam?.configs ?? []).map(ipamConfigToJson)
          : network.subnets.map(({ subnet, gateway }) => ({
              Subnet: subnet,
              IPRange: textOrNothing(range(subnet)?.range ?? ""),
              Gateway: gateway,
              AuxiliaryAddresses: mapOrNothing(range(subnet)?.reserved ?? {}),
            })),
    },
    Internal: network.internal,
    Attachable: network.attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: network.configFrom ?? "" },
    ConfigOnly: network.configOnly ?? false,
    Containers: members,
    Options: network.options,
    Labels: network.labels,
  };
}

/** A network as it stands inside a task. */
export function networkOfTaskToJson(id: string, network: Network | undefined): Json {
  const spec = network?.spec;
  return {
    ID: id,
    ...metaToJson(network?.meta),
    Spec: {
      ...annotationsToJson(spec?.annotations),
      DriverConfiguration: driverToJson(spec?.driver),
      IPv6Enabled: flagOrNothing(spec?.ipv6Enabled ?? false),
      Internal: flagOrNothing(spec?.internal ?? false),
      Attachable: flagOrNothing(spec?.attachable ?? false),
      Ingress: flagOrNothing(spec?.ingress ?? false),
      IPAMOptions: ipamOptionsToJson(spec?.ipam),
      ConfigFrom: spec?.configFrom ? { Network: spec.configFrom } : undefined,
      Scope: "swarm",
    },
    DriverState: driverToJson(network?.driverState) ?? {},
    IPAMOptions: ipamOptionsToJson(network?.ipam),
  };
}

function ipamFromJson(json: JsonObject | undefined): IpamOptions | undefined {
  if (json === undefined) return undefined;
  return IpamOptions.create({
    driver: Driver.create({
      name: json.string("Driver") || "default",
      options: json.stringMap("Options"),
    }),
    configs: json.objects("Config").map((config) =>
      IpamConfig.create({
        subnet: config.string("Subnet"),
        range: config.string("IPRange"),
        gateway: config.string("Gateway"),
        reserved: config.stringMap("AuxiliaryAddresses"),
      }),
    ),
  });
}

function ipamConfigToJson(config: IpamConfig): Json {
  return {
    Subnet: textOrNothing(config.subnet),
    IPRange: textOrNothing(config.range),
    Gateway: textOrNothing(config.gateway),
    AuxiliaryAddresses: mapOrNothing(config.reserved),
  };
}

function ipamOptionsToJson(ipam: IpamOptions | undefined): Json | undefined {
  if (ipam === undefined) return undefined;
  return {
    Driver: driverToJson(ipam.driver) ?? {},
    Configs: listOrNothing(
      ipam.configs.map((config) => ({
        Subnet: textOrNothing(config.subnet),
        Range: textOrNothing(config.range),
        Gateway: textOrNothing(config.gateway),
      })),
    ),
  };
}

function mapOrNull(map: Readonly<Record<string, string>>): Json | null {
  return Object.keys(map).length === 0 ? null : map;
}
