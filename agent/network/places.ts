/**
 * Where a container is to be in networks: from what it asks for, the networks of the cluster and those of the node. Pure.
 */
import { createHash } from "node:crypto";
import type { Network } from "../../src/common/api/generated/api.ts";
import type {
  ContainerPlaces,
  LocalNetwork,
  NetworkPlace,
} from "../../src/common/container/networks.ts";
import type { Container, NetworkJoin } from "../../src/common/container/types.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { contains, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import type { ClusterState } from "./cluster-state.ts";
import { isEncrypted, optionsOf } from "./encrypted.ts";
import type { TakenPort } from "./local/host-ports.ts";
import type { Address } from "./model.ts";
import { localBridge, localDevice } from "./names.ts";
import type { LocalBridge } from "./plan.ts";
import { canonical, endpointMac, gateway6Of, ingress6Of } from "./pools.ts";
import type { BridgePlace, OverlayPlace, ParentPlace, Sandbox } from "./sandbox.ts";

/** A container in a network of the swarm; the join has its addresses. */
export interface SwarmJoin {
  readonly join: NetworkJoin;
  readonly network: Network;
}

/** What a place is found from. */
export interface PlaceRequest {
  readonly container: Pick<Container, "id" | "name" | "config">;
  readonly joins: readonly SwarmJoin[];
  /** In networks of the node. */
  readonly local: ContainerPlaces;
  readonly localNetworks: readonly LocalNetwork[];
  /** Gives an address towards the gateway that is the container's alone. */
  readonly give: () => string;
}

/** A network of the swarm by id or name. */
export function findNetwork(reference: string, { networks }: ClusterState): Network | undefined {
  const byId = networks.get(reference);
  if (byId !== undefined) return byId;
  for (const network of networks.values()) {
    if (network.spec?.annotations?.name === reference) return network;
  }
  return undefined;
}

/** The places of a container. */
export function sandboxOf(request: PlaceRequest): Sandbox {
  const { container, joins: found, local, localNetworks, give } = request;
  const overlays = found.filter(({ network }) => network.spec?.ingress !== true);
  const bridges = bridgePlaces(local, localNetworks);
  const meshAddress = found
    .filter(({ network }) => network.spec?.ingress === true)
    .flatMap(({ join }) => join.addresses)
    .map((text) => text.split("/")[0] ?? text)
    .find((text) => !text.includes(":"));
  const places = overlays.map(({ join, network }) => overlayPlace(join, network));
  const outward =
    meshAddress !== undefined || overlays.some(({ network }) => network.spec?.internal !== true);
  // A container of bridge networks alone has its way out there, and its way to the name server ...
  const own = meshAddress === undefined && overlays.length === 0;
  const parents = parentPlaces(local, localNetworks, own && !hasWayOut(bridges));
  // ... one that is on devices of the host alone does not come to its own node by them.
  const namesOnly = own && bridges.length === 0 && parents.length > 0;
  const address = meshAddress ?? (own && !namesOnly ? undefined : give());
  const address6 = meshAddress === undefined ? gateway6Of(address ?? "") : ingress6Of(meshAddress);
  return {
    id: container.id,
    taskId: container.config.task?.taskId ?? "",
    name: container.name,
    resolvers: container.config.dns,
    gateway:
      address === undefined
        ? undefined
        : { address, address6, outward, ...(namesOnly ? { namesOnly } : {}) },
    overlays: places,
    bridges: address === undefined ? bridges : bridges.map(withoutGateway),
    parents,
  };
}

function withoutGateway(place: BridgePlace): BridgePlace {
  return { ...place, gateway: "", gateway6: "" };
}

function overlayPlace(join: NetworkJoin, network: Network): OverlayPlace {
  const options = optionsOf(network);
  const addresses = join.addresses.map((text) => placed(text, network));
  return {
    networkId: network.id,
    vni: network.networkNumber,
    addresses,
    mac: join.macAddress || endpointMac(addresses.map(({ address }) => address)),
    mtu: Number(options["com.docker.network.driver.mtu"] ?? 0) || 0,
    encrypted: isEncrypted(network),
  };
}

/** An address with the length of the subnet that it is in. */
function placed(text: string, network: Network): Omit<Address, "device"> {
  const written = parsePrefix(text);
  const [address = text] = text.split("/");
  if (written !== undefined) return { address: canonical(address), length: written.length };
  const value = parseAddress(address);
  const configs = network.ipam?.configs ?? network.spec?.ipam?.configs ?? [];
  for (const { subnet } of configs) {
    const prefix = parsePrefix(subnet);
    if (prefix !== undefined && value !== undefined && contains(prefix, value)) {
      return { address: canonical(address), length: prefix.length };
    }
  }
  return { address: canonical(address), length: address.includes(":") ? 128 : 32 };
}

function hasWayOut(bridges: readonly BridgePlace[]): boolean {
  return bridges.some(({ gateway, gateway6 }) => gateway !== "" || gateway6 !== "");
}

/** @throws ClusterError invalid-argument for a network that names no device of the node. */
function parentPlaces(
  { places }: ContainerPlaces,
  networks: readonly LocalNetwork[],
  hasDefaultRoute: boolean,
): ParentPlace[] {
  let isFirst = hasDefaultRoute;
  return places.flatMap((place, position): ParentPlace[] => {
    const network = networks.find(({ id }) => id === place.networkId);
    const kind = network?.driver;
    if (network === undefined || (kind !== "macvlan" && kind !== "ipvlan")) return [];
    const parent = network.options["parent"] ?? "";
    if (parent === "") {
      throw new ClusterError(
        "invalid-argument",
        `network ${network.name} is on no device: make it with --opt parent=DEVICE`,
      );
    }
    const hasRoute = isFirst;
    isFirst = false;
    return [
      {
        networkId: network.id,
        aliases: place.aliases,
        kind,
        parent,
        mode: network.options[`${kind}_mode`] ?? (kind === "macvlan" ? "bridge" : "l2"),
        device: localDevice(position),
        addresses: addressesOf(place),
        gateway: hasRoute ? place.gateway : "",
        gateway6: hasRoute && place.gateway6 !== "" ? canonical(place.gateway6) : "",
        mac: place.macAddress,
      },
    ];
  });
}

function addressesOf(place: NetworkPlace): Omit<Address, "device">[] {
  const { address, address6 } = place;
  return [
    ...(address === "" ? [] : [{ address, length: place.prefixLength }]),
    ...(address6 === "" ? [] : [{ address: canonical(address6), length: place.prefixLength6 }]),
  ];
}

/** Places in bridge networks of the node; the first one with a gateway has the default route. */
export function bridgePlaces(
  { places }: ContainerPlaces,
  networks: readonly LocalNetwork[],
): BridgePlace[] {
  let gateway = "";
  let gateway6 = "";
  return places.flatMap((place, position): BridgePlace[] => {
    const network = networks.find(({ id }) => id === place.networkId);
    if (network?.driver !== "bridge") return [];
    const first = gateway === "" ? place.gateway : "";
    const first6 = gateway6 === "" ? place.gateway6 : "";
    gateway ||= first;
    gateway6 ||= first6;
    return [
      {
        networkId: place.networkId,
        named: !network.predefined,
        aliases: place.aliases,
        bridge: localBridge(place.networkId),
        device: localDevice(position),
        addresses: addressesOf(place),
        gateway: first,
        gateway6: first6 === "" ? "" : canonical(first6),
        mac: place.macAddress,
      },
    ];
  });
}

/** What the plan and the rules need of the node's own networks: those that have containers. */
export function localInput(
  networks: readonly LocalNetwork[],
  sandboxes: readonly Sandbox[],
  mtu: number,
): {
  readonly bridges: readonly LocalBridge[];
  readonly internalBridges: ReadonlySet<string>;
  readonly untranslated: readonly string[];
} {
  const bridges = localBridges(networks, sandboxes, mtu);
  const used = networks.filter(({ id }) =>
    bridges.some(({ device }) => device === localBridge(id)),
  );
  const internal = used.filter((network) => network.internal);
  const own = used.filter(
    ({ options }) => options["com.docker.network.bridge.enable_ip_masquerade"] === "false",
  );
  return {
    bridges,
    internalBridges: new Set(internal.map(({ id }) => localBridge(id))),
    untranslated: own.flatMap(({ subnets }) => subnets.map(({ subnet }) => subnet)),
  };
}

function localBridges(
  networks: readonly LocalNetwork[],
  sandboxes: readonly Sandbox[],
  mtu: number,
): LocalBridge[] {
  const used = new Set(sandboxes.flatMap(({ bridges }) => bridges.map(({ bridge }) => bridge)));
  return networks.flatMap((network) => {
    const device = localBridge(network.id);
    if (!used.has(device)) return [];
    const addresses = network.subnets.flatMap(({ subnet, gateway }) => {
      const prefix = parsePrefix(subnet);
      const [address = ""] = gateway.split("/");
      if (prefix === undefined || address === "") return [];
      return [{ address: canonical(address), length: prefix.length }];
    });
    const own = Number(network.options["com.docker.network.driver.mtu"] ?? 0);
    const subnets = network.subnets.map(({ subnet }) => subnet);
    return [{ device, mtu: own > 0 ? own : mtu, addresses, subnets }];
  });
}

/** Ports of the host that services of the swarm have by the routing mesh. */
export function servicePorts({ services }: ClusterState): TakenPort[] {
  return [...services.values()].flatMap(({ ports }) =>
    ports
      .filter(({ publishMode }) => publishMode === "ingress")
      .map(({ protocol, publishedPort }) => ({
        protocol,
        hostAddress: "",
        hostPort: publishedPort,
      })),
  );
}

/** A container's places in networks of the swarm, as the API shows them. */
export function swarmPlaces({ id, overlays }: Sandbox, { networks }: ClusterState): NetworkPlace[] {
  return overlays.map(({ networkId, addresses, mac }) => {
    const of = (six: boolean) => addresses.find(({ address }) => address.includes(":") === six);
    const network = networks.get(networkId);
    return {
      networkId,
      networkName: network?.spec?.annotations?.name ?? networkId,
      // No object of its own: what it is made of does not change.
      endpointId: createHash("sha256").update(`${id}/${networkId}`).digest("hex"),
      address: of(false)?.address ?? "",
      prefixLength: of(false)?.length ?? 0,
      gateway: "",
      address6: of(true)?.address ?? "",
      prefixLength6: of(true)?.length ?? 0,
      gateway6: "",
      macAddress: mac,
      aliases: [],
    };
  });
}
