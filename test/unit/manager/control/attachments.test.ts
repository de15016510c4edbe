/**
 * Containers that are run by hand on networks of the swarm, with the allocator over a real store.
 */
import assert from "node:assert/strict";
import { attachNetwork, detachNetwork } from "../../../../manager/control/attachments.ts";
import {
  Annotations,
  AttachNetworkRequest,
  DetachNetworkRequest,
  Driver,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkSpec,
} from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";

describe("manager/control/attachments", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(2);
    await addNetwork("open", "10.0.1.0/24");
    await addNetwork("small", "10.0.2.0/30");
    await addNetwork("closed", "10.0.3.0/24", false);
    await cluster.pass(100);
  });
  afterEach(() => cluster.end());

  function addNetwork(name: string, subnet: string, attachable = true): Promise<void> {
    const spec = NetworkSpec.create({
      annotations: Annotations.create({ name }),
      driver: Driver.create({ name: "overlay" }),
      ipam: IpamOptions.create({ configs: [IpamConfig.create({ subnet })] }),
      attachable,
    });
    return cluster.store.update((tx) =>
      tx.create("network", Network.create({ id: `id-${name}`, spec })),
    );
  }

  /** The answer as text, or the error. */
  async function attached(fields: Partial<AttachNetworkRequest>, passMs = 200): Promise<string> {
    const request = AttachNetworkRequest.create({
      nodeId: "n1",
      network: "open",
      containerId: "c",
      name: "shell",
      ...fields,
    });
    const { clock, random, store } = cluster;
    const { signal } = new AbortController();
    const answer = attachNetwork(store, request, { clock, random, signal }).then(
      ({ taskId, network, attachment }) => {
        const task = store.view().get("task", taskId);
        assert.equal(task?.nodeId, "n1");
        assert.notEqual(task?.status?.state, "new");
        return `${network?.id} ${attachment?.addresses.join(" ")}`;
      },
      (error: unknown) => (error instanceof ClusterError ? `${error.code}: ${error.message}` : ""),
    );
    await cluster.pass(passMs);
    return answer;
  }

  const detach = (fields: Partial<DetachNetworkRequest>) =>
    detachNetwork(
      cluster.store,
      DetachNetworkRequest.create({ nodeId: "n1", containerId: "c", ...fields }),
    );

  const count = () => cluster.store.view().count("task");

  it("gives a container an address, at once on its node", async () => {
    assert.equal(await attached({}), "id-open 10.0.1.2/24");
    assert.equal(count(), 1);
  });

  it("takes the network by its name or its id, and several for a container", async () => {
    assert.equal(await attached({ network: "id-open" }), "id-open 10.0.1.2/24");
    assert.equal(await attached({ network: "small" }), "id-small 10.0.2.2/30");
    assert.equal(count(), 2);
  });

  it("gives the address that was asked for", async () => {
    assert.equal(await attached({ addresses: ["10.0.1.77"] }), "id-open 10.0.1.77/24");
  });

  it("answers the same when it is asked again, and anew for other wishes", async () => {
    assert.equal(await attached({}), "id-open 10.0.1.2/24");
    assert.equal(await attached({}), "id-open 10.0.1.2/24");
    assert.equal(await attached({ addresses: ["10.0.1.9"] }), "id-open 10.0.1.9/24");
    assert.equal(count(), 1);
  });

  it("lets go of one network, of all, and of nothing of others", async () => {
    await attached({});
    await attached({ network: "small" });
    await attached({ containerId: "d" });
    await detach({ nodeId: "n2" });
    assert.equal(count(), 3);
    await detach({ networkId: "id-small" });
    assert.equal(count(), 2);
    await detach({});
    await detach({});
    assert.equal(count(), 1);
    await cluster.pass(100);
    assert.equal(await attached({ network: "small" }), "id-small 10.0.2.2/30");
  });

  it("is gone once its node is given up", async () => {
    await attached({});
    await cluster.store.update((tx) => {
      for (const task of tx.each("task"))
        tx.update("task", { ...task, status: { ...task.status, state: "orphaned" } as never });
    });
    await cluster.pass(1_000);
    assert.equal(count(), 0);
  });

  for (const [fact, fields, error] of [
    ["no such network", { network: "none" }, "not-found: network none not found"],
    [
      "a network that is not attachable",
      { network: "closed" },
      "permission-denied: network closed not manually attachable",
    ],
    ["what is no address", { addresses: ["ten"] }, "invalid-argument: invalid address ten"],
    [
      "an address of another network",
      { addresses: ["10.9.0.1"] },
      "resource-exhausted: address 10.9.0.1 is in no subnet of network open (10.0.1.0/24)",
    ],
  ] as const) {
    it(`refuses ${fact}, and leaves nothing behind`, async () => {
      assert.equal(await attached(fields), error);
      assert.equal(count(), 0);
    });
  }

  it("says that a network is full, and leaves nothing behind", async () => {
    assert.equal(await attached({ network: "small" }), "id-small 10.0.2.2/30");
    assert.match(
      await attached({ network: "small", containerId: "d" }),
      /^resource-exhausted: network small has no free address left in 10\.0\.2\.0\/30/,
    );
    assert.equal(count(), 1);
  });

  it("gives up when there is nobody to allocate, and leaves nothing behind", async () => {
    await cluster.end();
    assert.match(await attached({}, 11_000), /^deadline-exceeded/);
    assert.equal(count(), 0);
  });
});
