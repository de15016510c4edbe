/**
 * New data of secrets and configs: which services are taken to it, when, what a rollback brings back, what is kept.
 */
import assert from "node:assert/strict";
import { keepBeforeUpdate, updateConfig } from "../../../../../manager/control/payloads.ts";
import { updateService } from "../../../../../manager/control/services.ts";
import { PayloadLoop } from "../../../../../manager/orchestrator/payloads/loop.ts";
import { newChange } from "../../../../../manager/state/change.ts";
import {
  Annotations,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  FileTarget,
  Service,
  type ServiceSpec,
  Task,
  TaskSpec,
  UpdateServiceRequest,
} from "../../../../../src/common/api/generated/api.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

describe("manager/orchestrator/payloads/loop", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.begin(3);
    await cluster.store.update((tx) =>
      tx.create("config", Config.create({ id: "page", spec: config("one"), revision: 1 })),
    );
  });
  afterEach(() => cluster.end());

  const config = (text: string) =>
    ConfigSpec.create({
      annotations: Annotations.create({ name: "page" }),
      data: Buffer.from(text),
    });

  const work = (image: string, labels: Record<string, string> = {}) => ({
    annotations: Annotations.create({ name: "web", labels }),
    task: TaskSpec.create({
      container: ContainerSpec.create({
        image,
        configs: [
          ConfigReference.create({
            configId: "page",
            configName: "page",
            file: FileTarget.create({ name: "page" }),
          }),
        ],
      }),
    }),
  });

  async function start(labels: Record<string, string> = {}): Promise<void> {
    await cluster.createService("web", 2, { spec: work("web:1", labels) });
    await cluster.pass(300);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
  }

  async function change(text: string): Promise<void> {
    await cluster.store.update((tx) => {
      const version = tx.get("config", "page")?.meta?.version ?? 0;
      updateConfig(tx, { id: "page", version, spec: config(text) });
    });
  }

  /** As a client updates a service: it knows nothing of revisions. */
  async function update(
    spec: Partial<ServiceSpec> | undefined,
    more: Partial<UpdateServiceRequest> = {},
  ): Promise<void> {
    await cluster.store.update((tx) => {
      const service = tx.get("service", "web");
      const request = UpdateServiceRequest.create({
        id: "web",
        version: service?.meta?.version ?? 0,
        spec: { ...service?.spec, ...spec } as ServiceSpec,
        ...more,
      });
      const { clock, random } = cluster;
      const environment = { now: clock.now(), random, objectId: "x", members: [], selfId: "m" };
      updateService(tx, request, environment);
    });
  }

  /** Image and revision of the config that tasks run with. */
  const runs = () =>
    cluster
      .runningTasks("web")
      .map(({ spec }) => {
        const [reference] = spec?.container?.configs ?? [];
        return `${spec?.container?.image} ${Math.max(reference?.revision ?? 0, 1)}`;
      })
      .sort();
  const service = () => cluster.service("web");
  const kept = () =>
    cluster.store
      .view()
      .list("payload")
      .map(({ id }) => id)
      .sort();

  it("is woken by other data and by services, not by what is made or by tasks", () => {
    const { store, clock, random } = cluster;
    const loop = new PayloadLoop({ store, term: 1 }, { clock, random, log: silentLog });
    const object = Config.create({ id: "page" });
    const service = Service.create({ id: "web" });
    const concerns = [
      newChange("create", "config", object, undefined),
      newChange("update", "config", object, object),
      newChange("remove", "config", object, undefined),
      newChange("create", "service", service, undefined),
      newChange("create", "task", Task.create({ id: "t" }), undefined),
    ].map((change) => loop.concerns(change));
    assert.deepEqual(concerns, [false, true, true, true, false]);
  });

  it("takes a service to new data by its own update policy", async () => {
    await start();
    await change("two");
    await cluster.pass(100);
    assert.deepEqual(runs(), ["web:1 1", "web:1 2"]);
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 2", "web:1 2"]);
    assert.equal(service().updateStatus?.state, "completed");
    assert.equal(service().revision?.cause, "config page changed");
  });

  it("goes back to image and data together, and stays there when it is scaled", async () => {
    await start();
    await change("two");
    await cluster.pass(8_000);
    await update(work("web:2"));
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:2 2", "web:2 2"]);
    await update(undefined, { rollback: "previous" });
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 2", "web:1 2"]);
    await update(undefined, { rollbackTo: 1 });
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
    await update({
      ...work("web:1"),
      mode: { ...service().spec?.mode, replicated: { replicas: 3 } } as ServiceSpec["mode"],
    });
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1", "web:1 1"]);
    await update(work("web:3"));
    await cluster.pass(10_000);
    assert.deepEqual(runs(), ["web:3 2", "web:3 2", "web:3 2"]);
  });

  it("leaves a stack's services to its deployment, which is taken back as one", async () => {
    const labels = { "com.docker.stack.namespace": "shop" };
    await start(labels);
    await change("two");
    await cluster.pass(3_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
    await update(work("web:2", labels));
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:2 2", "web:2 2"]);
    await update(undefined, { rollback: "previous" });
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
  });

  it("takes a stack's services to new data where nobody deploys", async () => {
    await start({ "com.docker.stack.namespace": "shop" });
    await change("two");
    await cluster.pass(14_000);
    assert.deepEqual(runs(), ["web:1 2", "web:1 2"]);
  });

  it("makes one revision of new data and the update that follows while it rolls", async () => {
    await start();
    await change("two");
    await cluster.pass(1_000);
    await update(work("web:2"));
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:2 2", "web:2 2"]);
    await update(undefined, { rollback: "previous" });
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
  });

  it("goes on with a new leader, and does not try again what was taken back", async () => {
    await start();
    await change("two");
    cluster.elect();
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 2", "web:1 2"]);
    await update(undefined, { rollback: "previous" });
    cluster.elect();
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 1", "web:1 1"]);
  });

  it("keeps earlier data as long as a kept spec of a service names it", async () => {
    await start();
    await change("two");
    await cluster.pass(8_000);
    await change("three");
    await cluster.pass(8_000);
    assert.deepEqual(kept(), ["page.1", "page.2"]);
    // One more than are kept: with each, one goes.
    for (let n = 2; n <= 10; n++) await update(work(`web:${n}`));
    await cluster.pass(8_000);
    assert.deepEqual(kept(), ["page.2"]);
    await cluster.removeService("web");
    await cluster.pass(3_000);
    assert.deepEqual(kept(), []);
  });

  it("keeps earlier data as long as a task runs with it that an update left behind", async () => {
    await start();
    await change("two");
    await cluster.pass(8_000);
    cluster.command = ({ spec }) =>
      spec?.container?.image === "web:1" ? {} : { endsAfterMs: 0, exitCode: 1 };
    await change("three");
    await cluster.pass(8_000);
    await change("four");
    await cluster.pass(8_000);
    // Both are beyond what the service remembers, but one task runs on with the second.
    await update(work("web:2"));
    await cluster.pass(8_000);
    assert.equal(service().updateStatus?.state, "paused");
    for (let n = 3; n <= 14; n++) await update(work(`web:${n}`));
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 4"]);
    await change("five");
    await cluster.pass(100);
    for (let n = 15; n <= 27; n++) await update(work(`web:${n}`));
    await cluster.pass(8_000);
    assert.deepEqual(runs(), ["web:1 4"]);
    assert.deepEqual(kept(), ["page.4"]);
    cluster.command = () => ({});
    await update(work("web:28"));
    await cluster.pass(12_000);
    assert.deepEqual(runs(), ["web:28 5", "web:28 5"]);
    await cluster.pass(60_000);
    assert.deepEqual(kept(), []);
  });

  it("does not take away what is kept ahead of a large update", async () => {
    await start();
    const large = (letter: string) => letter.repeat(600_000);
    await change(large("a"));
    await cluster.pass(8_000);
    await cluster.store.update((tx) =>
      keepBeforeUpdate(tx, "config", { id: "page", version: 0, spec: config(large("b")) }),
    );
    await cluster.pass(8_000);
    assert.deepEqual(kept(), ["page.1", "page.2"]);
  });
});
