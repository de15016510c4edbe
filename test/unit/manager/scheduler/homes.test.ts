/**
 * Tasks with local volumes: they go where these are, or wait, through the loops of a leader.
 */
import assert from "node:assert/strict";
import {
  Annotations,
  ContainerSpec,
  Mount,
  NodeDescription,
  RestartPolicy,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";

describe("manager/scheduler/homes", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(3);
  });
  afterEach(() => cluster.end());

  async function start(replicas: number, labels: Record<string, string> = {}): Promise<void> {
    const mounts = [Mount.create({ type: "volume", source: "data", target: "/data" })];
    const restart = RestartPolicy.create({ condition: "any", delayNs: 0 });
    const container = ContainerSpec.create({ mounts });
    await cluster.createService("db", replicas, {
      spec: {
        annotations: Annotations.create({ name: "db", labels }),
        task: TaskSpec.create({ container, restart }),
      },
    });
    await cluster.pass(1_000);
    assert.equal(cluster.runningTasks("db").length, replicas);
  }

  const nodes = () =>
    cluster
      .runningTasks("db")
      .map(({ nodeId }) => nodeId)
      .sort();
  const waiting = () =>
    cluster
      .tasks("db")
      .find(({ status, desiredState }) => desiredState === "running" && status?.state === "pending")
      ?.status?.error;

  /** The nodes tell of their volumes. */
  async function tell(...ids: readonly string[]): Promise<void> {
    await cluster.store.update((tx) => {
      for (const node of tx.list("node")) {
        const localVolumes = ids.includes(node.id) ? ["data"] : [];
        const description = NodeDescription.create({ ...node.description, localVolumes });
        tx.update("node", { ...node, description });
      }
    });
  }

  it("wait for the node that has them, and say so", async () => {
    await start(1);
    const [home = ""] = nodes();
    await cluster.setNode(home, "down");
    await cluster.pass(12_000);
    assert.match(
      waiting() ?? "",
      /^no suitable node \(no local volume data on 2 nodes: it is on .*; 1 node not available for new tasks\)$/,
    );
    await cluster.setNode(home, "ready");
    await cluster.pass(12_000);
    assert.deepEqual(nodes(), [home]);
  });

  it("start elsewhere where the service says so, and once the node has left the cluster", async () => {
    await start(1, { "skep.volumes": "anywhere" });
    const [first = ""] = nodes();
    await cluster.setNode(first, "down");
    await cluster.pass(12_000);
    assert.notDeepEqual(nodes(), [first]);
    assert.equal(nodes().length, 1);
  });

  it("come back to volumes of their name after the service was made anew", async () => {
    await start(2);
    await tell("n2", "n3");
    await cluster.removeService("db");
    await cluster.pass(3_000);
    await start(2);
    assert.deepEqual(nodes(), ["n2", "n3"]);
  });

  it("begin anywhere as further replicas", async () => {
    await start(1);
    const [home = ""] = nodes();
    await tell(home);
    await cluster.scale("db", 3);
    await cluster.pass(3_000);
    assert.deepEqual(nodes(), ["n1", "n2", "n3"]);
  });

  it("stay on their node through updates that start the new task first", async () => {
    await start(3);
    const places = () =>
      cluster
        .runningTasks("db")
        .map(({ slot, nodeId }) => `${slot} ${nodeId}`)
        .sort();
    const before = places();
    await cluster.updateService("db", (spec) => ({
      ...spec,
      task: TaskSpec.create({ ...spec.task, forceUpdate: 1 }),
    }));
    await cluster.pass(8_000);
    assert.deepEqual(places(), before);
  });
});
