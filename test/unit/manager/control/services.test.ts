/**
 * What control accepts as a service, what it stores, and how it changes.
 */
import assert from "node:assert/strict";
import {
  ControlService,
  type Service,
  ServiceImage,
  TaskSpec,
  UpdateServiceRequest,
  UpdateStatus,
} from "../../../../src/common/api/generated/api.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { type TestControl, testControl } from "../../../support/control.ts";
import {
  create,
  cron,
  due,
  host,
  labelled,
  mesh,
  ports,
  reference,
  spec,
  stored,
  update,
  withObjects,
} from "../../../support/service-calls.ts";

/** The managers noted what is known of the image. */
async function noteImage(control: TestControl, id: string): Promise<void> {
  const { image, specVersion, meta } = stored(control, id);
  const same = image?.specVersion === specVersion ? image.overVersion : undefined;
  const overVersion = same ?? meta?.version ?? 0;
  await control.store.update((tx) => {
    const service = tx.get("service", id);
    const next = ServiceImage.create({ reference: "nginx", specVersion, overVersion });
    if (service !== undefined) tx.update("service", { ...service, image: next });
  });
}

describe("manager/control/services create", () => {
  it("stores the spec as it was written", async () => {
    const control = await withObjects();
    const { id } = await create(control);
    const service = stored(control, id);
    assert.deepEqual(service.spec, spec());
    assert.equal(service.previousSpec, undefined);
    assert.equal(service.jobStatus, undefined);
    assert.equal(control.store.view().count("task"), 0);
  });

  it("gives a job its first iteration", async () => {
    const control = testControl();
    const { id } = await create(control, { rest: { Mode: { GlobalJob: {} } } });
    const { jobIteration, lastExecutionMs } = stored(control, id).jobStatus ?? {};
    assert.deepEqual([jobIteration, lastExecutionMs], [0, control.clock.now()]);
  });

  it("takes labels of the data path", async () => {
    const control = await withObjects();
    const labels = {
      "skep.port.source": "nat",
      "skep.affinity": "source",
      "skep.drain": "1m30s",
      "skep.listen": "0",
      "skep.publish.address": "eth0",
      "skep.address.1": "10.0.1.9",
      "skep.address.back.2": "10.0.1.10",
    };
    await create(control, labelled(labels));
    assert.equal(control.store.view().count("service"), 1);
  });

  it("takes what lies at the limits", async () => {
    const control = await withObjects();
    const Healthcheck = { Test: ["CMD", "x"], Interval: 1e6, Timeout: 0 };
    const Resources = { Limits: { MemoryBytes: 4194304, NanoCPUs: 1e6 } };
    await create(control, {
      name: "a".repeat(63),
      container: {
        Healthcheck,
        Secrets: [reference("s1", "key")],
        Configs: [reference("c1", "site")],
      },
      task: { Resources, Networks: [{ Target: "n1" }] },
      rest: { EndpointSpec: { Mode: "dnsrr", Ports: [host(80)] } },
    });
  });

  it("refuses a name that is taken, in any case", async () => {
    const control = testControl();
    await create(control);
    for (const name of ["web", "WEB"])
      await assert.rejects(create(control, { name }), {
        code: "already-exists",
        message: `name conflicts with an existing object: service ${name} already exists`,
      });
  });

  it("keeps ports of the mesh apart, and lets host ports be shared", async () => {
    const control = await withObjects();
    const { id } = await create(control, { name: "mesh", ...ports(mesh(80)) });
    await create(control, { name: "host", ...ports(host(81)) });
    await create(control, { name: "host2", ...ports(host(81)) });
    const udp = { ...mesh(80), Protocol: "udp" };
    await create(control, { name: "udp", ...ports(udp, mesh(0), mesh(0)) });
    const taken = `port '80' is already in use by service 'mesh' (${id}) as an ingress port`;
    for (const port of [mesh(80), host(80)])
      await assert.rejects(create(control, { name: "new", ...ports(port) }), {
        code: "invalid-argument",
        message: taken,
      });
    await assert.rejects(
      create(control, { name: "new", ...ports(mesh(81)) }),
      /port '81' is already in use by service 'host' \(\w+\) as a host-published port/,
    );
  });

  it("needs the ingress network for ports of the mesh", async () => {
    await assert.rejects(create(testControl(), ports(mesh(80))), {
      code: "failed-precondition",
      message: "service needs ingress network, but no ingress network is present",
    });
  });
});

describe("manager/control/services rebalance", () => {
  const ask = (control: TestControl, id: string) =>
    control.call(
      ControlService.updateService,
      UpdateServiceRequest.create({ id, rebalance: true }),
    );

  it("takes note of the request, and leaves the spec as it is", async () => {
    const control = testControl();
    const { id } = await create(control);
    const before = stored(control, id);
    await ask(control, id);
    const { spec: after, specVersion, rebalance } = stored(control, id);
    assert.deepEqual([after, specVersion], [before.spec, before.specVersion]);
    assert.ok((rebalance?.askedAtMs ?? 0) > 0);
    assert.equal(rebalance?.completedAtMs, 0);
  });

  it("refuses services whose tasks have their nodes", async () => {
    const control = testControl();
    const { id } = await create(control, { rest: { Mode: { Global: {} } } });
    await assert.rejects(
      ask(control, id),
      /cannot be rebalanced: its mode is global, only replicated services have tasks that move/,
    );
    await assert.rejects(ask(control, "nobody"), /not found/);
  });
});

describe("manager/control/services update", () => {
  it("keeps one previous spec and swaps it on rollback", async () => {
    const control = testControl();
    const { id } = await create(control);
    const first = stored(control, id);
    const second = await update(control, id, { container: { Image: "nginx:2" } });
    assert.deepEqual(second.previousSpec, first.spec);
    assert.equal(second.specVersion, first.meta?.version);
    const back = await update(control, id, { container: { Image: "x" } }, { rollback: "previous" });
    assert.deepEqual([back.spec, back.previousSpec], [first.spec, second.spec]);
    assert.deepEqual([back.specVersion, back.previousSpecVersion], [0, second.specVersion]);
    assert.equal(back.updateStatus?.state, "rollback-started");
    assert.equal(back.updateStatus?.message, "manually requested rollback");
    const again = await update(control, id, {}, { rollback: "previous" });
    assert.deepEqual(again.spec, second.spec);
  });

  it("keeps the last ten specs by number, and goes back to any of them", async () => {
    const control = testControl();
    const { id } = await create(control);
    const image = (n: number) => ({ container: { Image: `nginx:${n}` } });
    for (let n = 2; n <= 13; n++) await update(control, id, image(n));
    const numbers = () => stored(control, id).revisions.map(({ note }) => note?.number);
    assert.deepEqual(numbers(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert.equal(stored(control, id).revision?.number, 13);
    const back = await update(control, id, {}, { to: 5 });
    assert.equal(back.spec?.task?.container?.image, "nginx:5");
    assert.equal(back.previousSpec?.task?.container?.image, "nginx:13");
    assert.equal(back.updateStatus?.state, "rollback-started");
    assert.equal(back.revision?.number, 14);
    assert.equal(back.revision?.cause, "rolled back to revision 5");
    assert.deepEqual(numbers(), [3, 4, 6, 7, 8, 9, 10, 11, 12, 13]);
    await assert.rejects(update(control, id, {}, { to: 5 }), {
      code: "not-found",
      message: /^revision 5 of service web is not kept; .* 3, 4, 6, 7, 8, 9, 10, 11, 12, 13$/,
    });
    await assert.rejects(update(control, id, {}, { to: 14 }), /is at revision 14 already/);
  });

  it("takes a second update to the same for none", async () => {
    const control = testControl();
    const { id } = await create(control);
    await update(control, id, { container: { Image: "nginx:2" } });
    const again = await update(control, id, { container: { Image: "nginx:2" } });
    assert.equal(again.previousSpec?.task?.container?.image, spec().task?.container?.image);
    assert.equal(again.revision?.number, 2);
  });

  it("takes an update of who read the spec before the managers noted how its roll-out goes", async () => {
    const control = testControl();
    const { id } = await create(control);
    const read = (await update(control, id, {})).meta?.version ?? 0;
    await control.store.update((tx) => {
      const updateStatus = UpdateStatus.create({ state: "updating" });
      tx.update("service", { ...stored(control, id), updateStatus });
    });
    await update(control, id, { container: { Image: "nginx:2" } }, { version: read });
    await assert.rejects(update(control, id, {}, { version: read }), /update out of sequence/);
  });

  it("refuses what may not change", async () => {
    const control = testControl();
    const { id } = await create(control);
    const cases: readonly (readonly [Promise<unknown>, object])[] = [
      [
        update(control, id, { name: "new" }),
        { code: "unimplemented", message: "renaming services is not supported" },
      ],
      [
        update(control, id, { rest: { Mode: { Global: {} } } }),
        { code: "unimplemented", message: "service mode change is not allowed" },
      ],
      [
        update(control, id, {}, { version: 999 }),
        { code: "unknown", message: "update out of sequence" },
      ],
      [
        update(control, id, {}, { rollback: "previous" }),
        { code: "failed-precondition", message: `service ${id} does not have a previous spec` },
      ],
      [
        update(control, id, {}, { from: "previous-spec" }),
        { message: "service does not have a previous spec" },
      ],
      [
        control.call(ControlService.removeService, { id: "nobody", force: false }),
        { code: "not-found", message: "service nobody not found" },
      ],
    ];
    for (const [result, error] of cases) await assert.rejects(result, error);
  });

  it("takes the version from before its image was noted, but not from before another spec", async () => {
    const control = testControl();
    const { id } = await create(control);
    const first = stored(control, id).meta?.version ?? 0;
    await noteImage(control, id);
    await noteImage(control, id);
    await update(control, id, { container: { Image: "nginx:2" } }, { version: first });
    const late = { code: "unknown", message: "update out of sequence" };
    await assert.rejects(update(control, id, {}, { version: first }), late);
    const second = stored(control, id).meta?.version ?? 0;
    await noteImage(control, id);
    await assert.rejects(update(control, id, {}, { version: first }), late);
    await assert.rejects(update(control, id, {}, { version: second + 9 }), late);
    await update(control, id, { container: { Image: "nginx:3" } }, { version: second });
  });

  it("does not mind its own ports", async () => {
    const control = await withObjects();
    const { id } = await create(control, ports(mesh(80)));
    await update(control, id, { container: { Image: "b" }, ...ports(mesh(80), mesh(81)) });
  });

  it("keeps credentials until others are sent", async () => {
    const control = testControl();
    const { id } = await control.call(ControlService.createService, {
      spec: spec(),
      registryAuth: "one",
      id: "",
    });
    const auth = (service: Service) => service.spec?.task?.container?.pull?.registryAuth;
    assert.equal(auth(stored(control, id)), "one");
    assert.equal(auth(await update(control, id, { container: { Image: "b" } })), "one");
    assert.equal(auth(await update(control, id, {}, { auth: "two" })), "two");
    assert.equal(auth(await update(control, id, {}, { from: "previous-spec" })), "one");
  });

  it("runs a job again on every update", async () => {
    const control = testControl();
    const rest = { Mode: { ReplicatedJob: {} } };
    const { id } = await create(control, { rest });
    await control.clock.advance(1000);
    const changed = await update(control, id, { rest });
    assert.equal(changed.jobStatus?.jobIteration, 1);
    assert.equal(changed.jobStatus?.lastExecutionMs, control.clock.now());
  });

  it("runs a job on a schedule when it is due, or when it is forced to, and not on other updates", async () => {
    const control = testControl();
    const rest = cron(due({ zone: "Europe/Berlin" }));
    const { id } = await create(control, { rest });
    const from = control.clock.now();
    assert.equal(stored(control, id).jobStatus?.scheduledFromMs, from);
    await control.clock.advance(1000);
    const changed = await update(control, id, { rest, container: { Hostname: "a" } });
    assert.equal(changed.jobStatus?.jobIteration, 0);
    assert.equal(changed.jobStatus?.scheduledFromMs, from);
    const forced = await update(control, id, { rest, task: { ForceUpdate: 1 } });
    assert.equal(forced.jobStatus?.jobIteration, 1);
    assert.equal(forced.jobStatus?.firings.length, 1);
  });

  it("loses against a removal of what it refers to, whoever comes first", async () => {
    const control = await withObjects();
    const container = { Secrets: [reference("s1", "key")] };
    const results = await Promise.allSettled([
      create(control, { container }),
      control.call(ControlService.removeSecret, { id: "s1", force: false }),
    ]);
    assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  });

  it("refuses a spec of tasks it cannot run", async () => {
    const control = testControl();
    const task = TaskSpec.create();
    const refused = control.call(ControlService.createService, {
      spec: { ...spec(), task },
      registryAuth: "",
      id: "",
    });
    await assert.rejects(refused, (error) => hasCode(error, "invalid-argument"));
  });
});
