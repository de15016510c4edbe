/**
 * New tasks on their way to a node, and the endpoints of services, over a real store.
 */
import assert from "node:assert/strict";
import {
  Annotations,
  Driver,
  EndpointSpec,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
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
});
