/**
 * The first objects of a new cluster: the cluster itself, the mesh's network, and stand-ins for the nodes' own networks.
 */
import {
  Annotations,
  Cluster,
  type ClusterSpec,
  Driver,
  IpamOptions,
  JoinTokens,
  Network,
  NetworkSpec,
  RootCa,
} from "../../src/common/api/generated/api.ts";
import { rootDigest } from "../../src/common/identity/root.ts";
import { createJoinToken } from "../../src/common/identity/token.ts";
import { newId } from "../../src/common/ids/ids.ts";
import type { Random } from "../../src/common/random/random.ts";
import { defaultVxlanPort } from "../../src/common/spec/cluster-defaults.ts";
import { checkClusterSpec, unlockKeysFor } from "./cluster.ts";
import { predefinedLabel } from "./networks.ts";
import type { ControlTransaction } from "./store.ts";

/** What a new cluster is made from. */
export interface NewCluster {
  readonly clusterId: string;
  readonly spec: ClusterSpec;
  /** PEM of the root's certificate and PKCS#8 key. */
  readonly root: { readonly certificate: string; readonly key: string };
  /** Prefixes for networks; empty means the default. */
  readonly defaultAddressPool: readonly string[];
  readonly subnetSize: number;
  /** 0 means the default. */
  readonly dataPathPort: number;
  readonly random: Random;
}

/** Writes the first objects. @throws ClusterError `invalid-argument` for a spec that is not allowed. */
export function createCluster(tx: ControlTransaction, options: NewCluster): void {
  const { spec, root, random } = options;
  checkClusterSpec(spec);
  tx.create(
    "cluster",
    Cluster.create({
      id: options.clusterId,
      spec,
      rootCa: RootCa.create({
        caKey: new Uint8Array(Buffer.from(root.key)),
        caCert: new Uint8Array(Buffer.from(root.certificate)),
        caCertDigest: rootDigest(root.certificate),
        joinTokens: JoinTokens.create({
          worker: createJoinToken(root.certificate, random),
          manager: createJoinToken(root.certificate, random),
        }),
      }),
      unlockKeys: unlockKeysFor([], spec, false, random),
      defaultAddressPool: options.defaultAddressPool,
      subnetSize: options.subnetSize,
      vxlanUdpPort: options.dataPathPort === 0 ? defaultVxlanPort : options.dataPathPort,
    }),
  );
  const ipam = IpamOptions.create({ driver: Driver.create({ name: "default" }) });
  createNetwork(tx, random, { name: "ingress", driver: "overlay", ingress: true, ipam });
  const labels = { [predefinedLabel]: "true" };
  createNetwork(tx, random, { name: "bridge", driver: "bridge", labels });
  createNetwork(tx, random, { name: "host", driver: "host", labels });
}

function createNetwork(
  tx: ControlTransaction,
  random: Random,
  network: {
    readonly name: string;
    readonly driver: string;
    readonly ingress?: boolean;
    readonly labels?: Readonly<Record<string, string>>;
    readonly ipam?: IpamOptions;
  },
): void {
  const spec = NetworkSpec.create({
    annotations: Annotations.create({ name: network.name, labels: network.labels ?? {} }),
    driver: Driver.create({ name: network.driver }),
    ingress: network.ingress ?? false,
    ipam: network.ipam,
    scope: "swarm",
  });
  tx.create("network", Network.create({ id: newId(random), spec }));
}
