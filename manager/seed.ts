/**
 * The first objects of a new cluster: what `docker swarm init` leaves behind. Pure.
 *
 * The cluster object is named `default` as Docker's is; the networks are `ingress` and the predefined `bridge` and `host`,
 * which services may attach to.
 */
import {
  Cluster,
  type ClusterSpec,
  Network,
  Node,
  type NodeAvailability,
  type NodeDescription,
  StoreObject,
} from "../src/common/api/generated/api.ts";
import { featureLevelOwn } from "./state/feature.ts";

/** What the first manager decides before there is a store. */
export interface ClusterSeed {
  readonly clusterId: string;
  readonly spec: ClusterSpec;
  readonly rootCa: { readonly key: string; readonly certificate: string; readonly digest: string };
  readonly joinTokens: { readonly worker: string; readonly manager: string };
  /** Set when the cluster starts out with autolock on. */
  readonly unlockKey: Uint8Array | undefined;
  readonly defaultAddressPool: readonly string[];
  readonly subnetSize: number;
  readonly dataPathPort: number;
  readonly node: SeedNode;
  /** Ids for the three networks. */
  readonly networkIds: readonly [ingress: string, bridge: string, host: string];
}

/** The first manager. */
export interface SeedNode {
  readonly id: string;
  readonly availability: NodeAvailability;
  readonly description: NodeDescription;
  readonly address: string;
  readonly dataPathAddress: string;
  readonly raftId: number;
  readonly managerAddress: string;
  readonly certificate: string;
  /** DER of the request behind the certificate. */
  readonly csr: Uint8Array;
  readonly notAfterMs: number;
}

/** Port of VXLAN unless the user chose another. */
const dataPathPortDefault = 4789;

/** Every object of the new cluster, for one transaction. */
export function seedObjects(seed: ClusterSeed): StoreObject[] {
  return [
    StoreObject.create({ cluster: seedCluster(seed) }),
    StoreObject.create({ node: seedNode(seed) }),
    ...seedNetworks(seed).map((network) => StoreObject.create({ network })),
  ];
}

function seedCluster(seed: ClusterSeed): Cluster {
  return Cluster.create({
    id: seed.clusterId,
    spec: {
      ...seed.spec,
      annotations: { name: "default", labels: seed.spec.annotations?.labels ?? {} },
    },
    rootCa: {
      caKey: Buffer.from(seed.rootCa.key),
      caCert: Buffer.from(seed.rootCa.certificate),
      caCertDigest: seed.rootCa.digest,
      joinTokens: seed.joinTokens,
      rotation: undefined,
      lastForcedRotation: 0,
    },
    unlockKeys:
      seed.unlockKey === undefined
        ? []
        : [{ subsystem: "manager", key: seed.unlockKey, version: 0 }],
    featureLevel: featureLevelOwn,
    defaultAddressPool: seed.defaultAddressPool,
    subnetSize: seed.subnetSize,
    vxlanUdpPort: vxlanPortOf(seed),
  });
}

function vxlanPortOf({ dataPathPort }: ClusterSeed): number {
  return dataPathPort === 0 ? dataPathPortDefault : dataPathPort;
}

function seedNode(seed: ClusterSeed): Node {
  const { node, rootCa } = seed;
  return Node.create({
    id: node.id,
    spec: {
      annotations: { name: "", labels: {} },
      desiredRole: "manager",
      availability: node.availability,
    },
    description: node.description,
    status: { state: "ready", message: "", address: node.address },
    manager: { raftId: node.raftId, address: node.managerAddress },
    certificate: {
      role: "manager",
      state: "issued",
      error: "",
      csr: node.csr,
      previousCsr: new Uint8Array(0),
      certificate: Buffer.from(node.certificate),
      rootDigest: rootCa.digest,
      notAfterMs: node.notAfterMs,
    },
    role: "manager",
    membership: "accepted",
    number: 1,
    vxlanUdpPort: vxlanPortOf(seed),
    dataPathAddress: node.dataPathAddress,
  });
}

function seedNetworks(seed: ClusterSeed): Network[] {
  const [ingressId, bridgeId, hostId] = seed.networkIds;
  const predefined = (id: string, name: string) =>
    Network.create({
      id,
      spec: {
        annotations: {
          name,
          labels: { "com.docker.swarm.predefined": "true" },
        },
        driver: { name, options: {} },
        ipv6Enabled: false,
        internal: false,
        ipam: undefined,
        attachable: false,
        ingress: false,
        configFrom: "",
        scope: "local",
        configOnly: false,
      },
      driverState: { name, options: {} },
    });
  const ingress = Network.create({
    id: ingressId,
    spec: {
      annotations: { name: "ingress", labels: {} },
      driver: { name: "overlay", options: {} },
      ipv6Enabled: false,
      internal: false,
      ipam: { driver: { name: "default", options: {} }, configs: [] },
      attachable: false,
      ingress: true,
      configFrom: "",
      scope: "swarm",
      configOnly: false,
    },
  });
  return [ingress, predefined(bridgeId, "bridge"), predefined(hostId, "host")];
}
