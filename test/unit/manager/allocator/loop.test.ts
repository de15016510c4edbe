/**
 * New tasks on their way to a node, and the endpoints of services, over a real store.
 */
import assert from "node:assert/strict";
import {
  Annotations,
  Driver,
  EndpointSpec,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  NodeStatus,
  PortConfig,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";

describe("manager/allocator/loop", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(1);
  });
  afterEach(() => cluster.end());

  const ports = (publishMode: "host" | "ingress") =>
    EndpointSpec.create({ ports: [PortConfig.create({ publishedPort: 80, publishMode })] });

  it("shows the endpoint of a service, and gives its tasks their ports", async () => {
    await cluster.createService("web", 1, { spec: { endpoint: ports("host") } });
    await cluster.pass(200);
    assert.deepEqual(cluster.service("web").endpoint?.spec, ports("host"));
    assert.equal(cluster.service("web").endpoint?.ports[0]?.publishedPort, 80);
    const [task] = cluster.runningTasks("web");
    assert.equal(task?.endpoint?.ports[0]?.publishedPort, 80);
  });

  it("tells the node which of its own networks a task is for", async () => {
    const spec = NetworkSpec.create({
      annotations: Annotations.create({ name: "host" }),
      driver: Driver.create({ name: "host" }),
    });
    await cluster.store.update((tx) => tx.create("network", Network.create({ id: "own", spec })));
    const networks = [NetworkAttachmentConfig.create({ target: "own" })];
    await cluster.createService("web", 1, { spec: { task: TaskSpec.create({ networks }) } });
    await cluster.pass(200);
    const [task] = cluster.runningTasks("web");
    assert.deepEqual(
      task?.networks.map(({ networkId, ownDriver }) => [networkId, ownDriver]),
      [["own", "host"]],
    );
  });

  it("leaves a task that has to wait new, with the reason, and writes that once", async () => {
    await cluster.createService("web", 1, { spec: { endpoint: ports("ingress") } });
    await cluster.pass(200);
    const [task] = cluster.tasks("web");
    assert.equal(task?.status?.state, "new");
    assert.equal(task?.status?.error, "network ingress not found");
    const { length } = cluster.log.entries;
    cluster.elect();
    await cluster.pass(6_000);
    assert.equal(cluster.log.entries.length, length);
  });

  it("does nothing about a service whose endpoint is as it should be", async () => {
    await cluster.createService("web", 1);
    await cluster.pass(200);
    const { length } = cluster.log.entries;
    cluster.elect();
    await cluster.pass(6_000);
    assert.equal(cluster.log.entries.length, length);
  });

  it("lets the next task pass once the service does without the network", async () => {
    const networks = [NetworkAttachmentConfig.create({ target: "gone" })];
    await cluster.createService("web", 1, { spec: { task: TaskSpec.create({ networks }) } });
    await cluster.pass(200);
    assert.equal(cluster.runningTasks("web").length, 0);
    await cluster.updateService("web", (spec) => ({ ...spec, task: TaskSpec.create() }));
    await cluster.pass(300);
    assert.equal(cluster.runningTasks("web").length, 1);
  });

  describe("of networks", () => {
    const overlay = (
      id: string,
      subnets: readonly string[] = [],
      fields: Partial<NetworkSpec> = {},
    ) => {
      const configs = subnets.map((subnet) => IpamConfig.create({ subnet }));
      const spec = NetworkSpec.create({
        annotations: Annotations.create({ name: id }),
        driver: Driver.create({ name: "overlay", options: { mine: "1" } }),
        ipam: IpamOptions.create({ configs }),
        ...fields,
      });
      return cluster.store.update((tx) => tx.create("network", Network.create({ id, spec })));
    };
    /** Number, and subnets with their gateways. */
    const shown = (id: string) => {
      const network = cluster.store.view().get("network", id);
      const configs = network?.ipam?.configs ?? [];
      return [
        network?.networkNumber,
        ...configs.map(({ subnet, gateway }) => `${subnet} ${gateway}`),
      ];
    };
    const inNetwork = (id: string) => ({
      spec: {
        task: TaskSpec.create({ networks: [NetworkAttachmentConfig.create({ target: id })] }),
      },
    });

    it("gives the mesh its own, and others the next of the pool", async () => {
      await overlay("mesh", [], { ingress: true });
      await overlay("a");
      await overlay("b", ["10.0.1.0/24"]);
      await overlay("c", [], { ipv6Enabled: true });
      await cluster.pass(100);
      assert.deepEqual(shown("mesh"), [4096, "10.255.0.0/16 10.255.0.1"]);
      assert.deepEqual(shown("a"), [4097, "10.0.0.0/24 10.0.0.1"]);
      assert.deepEqual(shown("b"), [4098, "10.0.1.0/24 10.0.1.1"]);
      const both = [4099, "10.0.2.0/24 10.0.2.1", "fd56:0:0:1003::/64 fd56:0:0:1003::1"];
      assert.deepEqual(shown("c"), both);
      assert.deepEqual(
        { ...cluster.store.view().get("network", "a")?.driverState?.options },
        { mine: "1", "com.docker.network.driver.overlay.vxlanid_list": "4097" },
      );
    });

    it("gives no subnet that would hide the address of a node from containers", async () => {
      const at = (id: string, address: string) =>
        cluster.store.update((tx) =>
          tx.create("node", Node.create({ id, status: NodeStatus.create({ address }) })),
        );
      await at("n8", "10.0.0.8");
      await at("n9", "10.255.3.9");
      await overlay("mesh", [], { ingress: true });
      await overlay("a");
      await cluster.pass(100);
      assert.deepEqual(shown("mesh"), [4096, "10.0.1.0/24 10.0.1.1"]);
      assert.deepEqual(shown("a"), [4097, "10.0.2.0/24 10.0.2.1"]);
    });

    it("goes by the pools of the cluster", async () => {
      await cluster.store.update((tx) => {
        const [one] = tx.list("cluster");
        if (one === undefined) return;
        const defaultAddressPool = ["192.168.0.0/27"];
        tx.update("cluster", { ...one, defaultAddressPool, subnetSize: 28 });
      });
      for (const id of ["a", "b", "c"]) await overlay(id);
      await cluster.pass(100);
      assert.deepEqual(shown("a"), [4097, "192.168.0.0/28 192.168.0.1"]);
      assert.deepEqual(shown("b"), [4098, "192.168.0.16/28 192.168.0.17"]);
      assert.deepEqual(shown("c"), [0]);
      await cluster.createService("web", 1, inNetwork("c"));
      await cluster.pass(200);
      assert.match(
        cluster.tasks("web")[0]?.status?.error ?? "",
        /^could not find an available, non-overlapping IPv4 address pool among the defaults/,
      );
      await cluster.store.update((tx) => tx.remove("network", "a"));
      await cluster.pass(300);
      assert.deepEqual(shown("c").slice(1), ["192.168.0.0/28 192.168.0.1"]);
      assert.equal(cluster.runningTasks("web").length, 1);
    });

    it("has tasks wait for a full network, and takes them on as others end", async () => {
      await overlay("tiny", ["10.9.0.0/29"]);
      // Six addresses: one is the gateway's, one the service's.
      await cluster.createService("web", 6, inNetwork("tiny"));
      await cluster.pass(500);
      assert.equal(cluster.runningTasks("web").length, 4);
      const waiting = cluster.tasks("web").filter(({ status }) => status?.state === "new");
      assert.equal(waiting.length, 2);
      assert.match(waiting[0]?.status?.error ?? "", /^network tiny has no free address left/);
      assert.equal(cluster.warnings.filter((line) => line.includes("running out")).length, 1);
      const fullness = () => cluster.store.view().get("network", "tiny")?.fullness;
      assert.equal(fullness(), 100);
      const { length } = cluster.log.entries;
      cluster.elect();
      await cluster.pass(6_000);
      assert.equal(cluster.log.entries.length, length, "a new leader gives nothing anew");
      await cluster.scale("web", 4);
      await cluster.pass(1_000);
      assert.equal(cluster.runningTasks("web").length, 4);
      await cluster.scale("web", 1);
      await cluster.pass(20_000);
      assert.equal(fullness(), 0);
    });

    it("takes back what tasks have that never get to a node", async () => {
      await overlay("tiny", ["10.9.0.0/29"]);
      await cluster.setAvailability("n1", "drain");
      await cluster.createService("held", 4, inNetwork("tiny"));
      await cluster.pass(200);
      await cluster.createService("web", 1, inNetwork("tiny"));
      await cluster.pass(200);
      await cluster.scale("held", 1);
      await cluster.setAvailability("n1", "active");
      await cluster.pass(1_000);
      assert.equal(cluster.runningTasks("web").length, 1);
      assert.equal(cluster.runningTasks("held").length, 1);
    });
  });
});
