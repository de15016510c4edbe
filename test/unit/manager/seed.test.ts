/**
 * What `swarm init` leaves behind.
 */
import assert from "node:assert/strict";
import { type ClusterSeed, seedObjects } from "../../../manager/seed.ts";
import {
  CaConfig,
  type Cluster,
  ClusterSpec,
  type Network,
  type Node,
  NodeDescription,
  type StoreObject,
} from "../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { localStore } from "../../support/local-log.ts";

const seed: ClusterSeed = {
  clusterId: "c",
  spec: ClusterSpec.create({
    annotations: { name: "mine", labels: { a: "1" } },
    ca: CaConfig.create({ nodeCertExpiryNs: 3600e9 }),
  }),
  rootCa: { key: "KEY", certificate: "CERT", digest: "d1g35t" },
  joinTokens: { worker: "W", manager: "M" },
  unlockKey: undefined,
  defaultAddressPool: ["10.0.0.0/8"],
  subnetSize: 24,
  dataPathPort: 0,
  node: {
    id: "n",
    availability: "drain",
    description: NodeDescription.create({ hostname: "h" }),
    address: "10.0.0.1",
    dataPathAddress: "10.1.0.1",
    raftId: 7,
    managerAddress: "10.0.0.1:2377",
    certificate: "NODE",
    csr: new Uint8Array([1]),
    notAfterMs: 99,
  },
  networkIds: ["ni", "nb", "nh"],
};

describe("manager/seed", () => {
  function parts(changes: Partial<ClusterSeed> = {}): {
    readonly cluster: Cluster;
    readonly node: Node;
    readonly networks: readonly Network[];
  } {
    const objects = seedObjects({ ...seed, ...changes });
    const of = <K extends keyof StoreObject>(kind: K) =>
      objects.flatMap((object) => object[kind] ?? []) as NonNullable<StoreObject[K]>[];
    const [cluster] = of("cluster");
    const [node] = of("node");
    assert.ok(cluster !== undefined && node !== undefined);
    return { cluster, node, networks: of("network") };
  }

  it("names the cluster default, as Docker does, and keeps the user's labels and settings", () => {
    const { cluster } = parts();
    assert.equal(cluster.id, "c");
    assert.equal(cluster.spec?.annotations?.name, "default");
    assert.deepEqual({ ...cluster.spec?.annotations?.labels }, { a: "1" });
    assert.equal(cluster.spec?.ca?.nodeCertExpiryNs, 3600e9);
    assert.deepEqual(cluster.defaultAddressPool, ["10.0.0.0/8"]);
    assert.equal(cluster.subnetSize, 24);
    assert.equal(cluster.featureLevel, 1);
  });

  it("keeps CA and tokens in the cluster", () => {
    const { rootCa } = parts().cluster;
    assert.equal(Buffer.from(rootCa?.caKey ?? []).toString(), "KEY");
    assert.equal(Buffer.from(rootCa?.caCert ?? []).toString(), "CERT");
    assert.equal(rootCa?.caCertDigest, "d1g35t");
    assert.deepEqual(rootCa?.joinTokens, { worker: "W", manager: "M" });
  });

  it("uses the port of VXLAN unless another one is chosen", () => {
    assert.equal(parts().cluster.vxlanUdpPort, 4789);
    assert.equal(parts({ dataPathPort: 5000 }).cluster.vxlanUdpPort, 5000);
  });

  it("has an unlock key with autolock only", () => {
    assert.deepEqual(parts().cluster.unlockKeys, []);
    const key = new Uint8Array(32).fill(1);
    const [unlockKey] = parts({ unlockKey: key }).cluster.unlockKeys;
    assert.equal(unlockKey?.subsystem, "manager");
    assert.deepEqual(unlockKey?.key, key);
  });

  it("makes the first node a ready manager with number 1", () => {
    const { node } = parts();
    assert.equal(node.id, "n");
    assert.equal(node.number, 1);
    assert.equal(node.role, "manager");
    assert.equal(node.spec?.desiredRole, "manager");
    assert.equal(node.spec?.availability, "drain");
    assert.equal(node.membership, "accepted");
    assert.deepEqual(node.status, { state: "ready", message: "", address: "10.0.0.1" });
    assert.deepEqual(node.manager, { raftId: 7, address: "10.0.0.1:2377" });
    assert.equal(node.description?.hostname, "h");
    assert.equal(node.dataPathAddress, "10.1.0.1");
  });

  it("remembers the node's certificate and member key", () => {
    const { certificate } = parts().node;
    assert.equal(certificate?.role, "manager");
    assert.equal(certificate?.state, "issued");
    assert.deepEqual(certificate?.csr, new Uint8Array([1]));
    assert.equal(Buffer.from(certificate?.certificate ?? []).toString(), "NODE");
    assert.equal(certificate?.rootDigest, "d1g35t");
    assert.equal(certificate?.notAfterMs, 99);
  });

  it("makes the ingress network and the predefined ones", () => {
    const [ingress, bridge, host, ...others] = parts().networks;
    assert.deepEqual(others, []);
    assert.equal(ingress?.id, "ni");
    assert.equal(ingress?.spec?.annotations?.name, "ingress");
    assert.equal(ingress?.spec?.ingress, true);
    assert.equal(ingress?.spec?.driver?.name, "overlay");
    assert.equal(ingress?.spec?.scope, "swarm");
    for (const [network, id, name] of [
      [bridge, "nb", "bridge"],
      [host, "nh", "host"],
    ] as const) {
      assert.equal(network?.id, id);
      assert.equal(network?.spec?.annotations?.name, name);
      assert.equal(network?.spec?.driver?.name, name);
      assert.equal(network?.driverState?.name, name);
      assert.equal(network?.spec?.scope, "local");
      assert.equal(network?.spec?.ingress, false);
      const labels = { ...network?.spec?.annotations?.labels };
      assert.deepEqual(labels, { "com.docker.swarm.predefined": "true" });
    }
  });

  it("fits into one transaction of the store", async () => {
    const { store, log } = localStore({ clock: new FakeClock() });
    await store.update((tx) => {
      for (const { cluster, node, network } of seedObjects(seed)) {
        if (cluster !== undefined) tx.create("cluster", cluster);
        if (node !== undefined) tx.create("node", node);
        if (network !== undefined) tx.create("network", network);
      }
    });
    assert.equal(log.entries.length, 1);
    assert.equal(store.view().count("network"), 3);
  });
});
