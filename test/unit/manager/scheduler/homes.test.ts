/**
 * Tasks with local volumes: they go where these are, or wait, through the loops of a leader.
 */
import assert from "node:assert/strict";
import {
  Annotations,
  ContainerSpec,
  Driver,
  Mount,
  NodeDescription,
  RestartPolicy,
  TaskSpec,
  VolumeOptions,
} from "../../../../src/common/api/generated/api.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";

describe("manager/scheduler/homes", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(3);
  });
  afterEach(() => cluster.end());

  interface Parts {
    readonly labels?: Record<string, string>;
    /** Of the volume's driver. */
    readonly options?: Record<string, string>;
    readonly id?: string;
  }

  async function create(replicas: number, { labels, options, id = "db" }: Parts): Promise<void> {
    const driver = Driver.create({ name: "local", options: options ?? {} });
    const volume = VolumeOptions.create(options === undefined ? {} : { driver });
    const mounts = [Mount.create({ type: "volume", source: "data", target: "/data", volume })];
    const restart = RestartPolicy.create({ condition: "any", delayNs: 0 });
    const container = ContainerSpec.create({ mounts });
    await cluster.createService(id, replicas, {
      spec: {
        annotations: Annotations.create({ name: id, labels: labels ?? {} }),
        task: TaskSpec.create({ container, restart }),
      },
    });
  }

  async function start(replicas: number, parts: Parts = {}): Promise<void> {
    await create(replicas, parts);
    await cluster.pass(1_000);
    assert.equal(cluster.runningTasks(parts.id ?? "db").length, replicas);
  }

  const nodes = (id = "db") =>
    cluster
      .runningTasks(id)
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

  it("wait for it when the leader is another one and nothing tells of the volume any more", async () => {
    await start(1);
    const [home = ""] = nodes();
    await tell(home);
    await cluster.setNode(home, "down");
    await tell();
    cluster.elect();
    await cluster.pass(12_000);
    assert.match(waiting() ?? "", /no local volume data on 2 nodes: it is on /);
    await cluster.replaceState();
    cluster.elect();
    await cluster.pass(12_000);
    assert.deepEqual(nodes(), []);
  });

  it("wait for it by what nodes tell where no task is remembered", async () => {
    await start(1);
    const [home = ""] = nodes();
    await tell(home);
    await cluster.removeService("db");
    await cluster.pass(3_000);
    await cluster.setNode(home, "down");
    cluster.elect();
    await create(1, {});
    await cluster.pass(12_000);
    assert.match(waiting() ?? "", /no local volume data on 2 nodes: it is on /);
  });

  it("start elsewhere where the service says so, then or later", async () => {
    await start(1, { labels: { "skep.volumes": "anywhere" } });
    const [first = ""] = nodes();
    await cluster.setNode(first, "down");
    await cluster.pass(12_000);
    const [second = ""] = nodes();
    assert.notEqual(second, first);
    await cluster.updateService("db", (spec) => ({
      ...spec,
      annotations: Annotations.create({ name: "db" }),
    }));
    await cluster.setNode(second, "down");
    await cluster.pass(12_000);
    assert.match(waiting() ?? "", /no local volume data on/);
    await cluster.updateService("db", (spec) => ({
      ...spec,
      annotations: Annotations.create({ name: "db", labels: { "skep.volumes": "anywhere" } }),
    }));
    await cluster.pass(12_000);
    assert.equal(nodes().length, 1);
  });

  it("start elsewhere once the node has left the cluster, as that has its volumes", async () => {
    await start(1);
    const [home = ""] = nodes();
    await tell(home);
    await cluster.setNode(home, "down");
    await cluster.pass(12_000);
    assert.deepEqual(nodes(), []);
    await cluster.store.update((tx) => tx.remove("node", home));
    await cluster.pass(12_000);
    assert.equal(nodes().length, 1);
    assert.notDeepEqual(nodes(), [home]);
  });

  it("go anywhere with a file system that each node sees alike", async () => {
    const options = { type: "nfs", o: "addr=10.0.0.1,rw", device: ":/data" };
    await start(1, { options });
    const [first = ""] = nodes();
    await cluster.setNode(first, "down");
    await cluster.pass(12_000);
    assert.equal(nodes().length, 1);
    assert.notDeepEqual(nodes(), [first]);
  });

  it("are where the volume is with a folder or a disk of the node for it", async () => {
    for (const type of ["none", "ext4"]) {
      const id = `db-${type}`;
      await start(1, { id, options: { type, o: "bind", device: "/srv/data" } });
      const [home = ""] = nodes(id);
      await cluster.setNode(home, "down");
      await cluster.pass(12_000);
      assert.deepEqual(nodes(id), []);
      await cluster.setNode(home, "ready");
      await cluster.pass(12_000);
    }
  });

  it("join the task of another service with the same volume, placed in the same moment too", async () => {
    await Promise.all([create(1, { id: "db" }), create(1, { id: "backup" })]);
    await cluster.pass(1_000);
    await start(1, { id: "late" });
    assert.equal(nodes("db").length, 1);
    assert.deepEqual(nodes("backup"), nodes("db"));
    assert.deepEqual(nodes("late"), nodes("db"));
  });

  it("try the next node where one could not have them run at all", async () => {
    let refusing = "";
    cluster.command = ({ nodeId }) => {
      if (refusing === "") refusing = nodeId;
      return { isRejected: nodeId === refusing };
    };
    await create(1, {});
    await cluster.pass(60_000);
    assert.equal(nodes().length, 1);
    assert.notDeepEqual(nodes(), [refusing]);
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
