/**
 * What control accepts as a service, what it stores, and the texts of its refusals.
 */
import assert from "node:assert/strict";
import {
  Config,
  ControlService,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkSpec,
  Secret,
  type Service,
  ServiceImage,
  type ServiceSpec,
  TaskSpec,
  UpdateStatus,
} from "../../../../src/common/api/generated/api.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { bodyObject } from "../../../../src/engine/translate/reader.ts";
import { serviceSpecFromJson } from "../../../../src/engine/translate/service.ts";
import { type TestControl, testControl } from "../../../support/control.ts";

interface Parts {
  readonly name?: string;
  readonly container?: object;
  readonly task?: object;
  readonly rest?: object;
}

/** A spec as a client would write it. */
function spec({ name = "web", container = {}, task = {}, rest = {} }: Parts = {}): ServiceSpec {
  const ContainerSpec = { Image: "nginx", ...container };
  return serviceSpecFromJson(
    bodyObject({ Name: name, TaskTemplate: { ContainerSpec, ...task }, ...rest }),
  );
}

const create = (control: TestControl, parts: Parts = {}) =>
  control.call(ControlService.createService, { spec: spec(parts), registryAuth: "", id: "" });

function stored(control: TestControl, id: string): Service {
  const service = control.store.view().get("service", id);
  assert.ok(service !== undefined);
  return service;
}

async function update(
  control: TestControl,
  id: string,
  parts: Parts,
  more: { version?: number; rollback?: "previous"; to?: number; auth?: string; from?: string } = {},
): Promise<Service> {
  await control.call(ControlService.updateService, {
    id,
    version: more.version ?? stored(control, id).meta?.version ?? 0,
    spec: spec(parts),
    rollback: more.rollback ?? "none",
    rollbackTo: more.to ?? 0,
    registryAuthFrom: more.from ?? "spec",
    registryAuth: more.auth ?? "",
  });
  return stored(control, id);
}

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

const host = (PublishedPort: number) => ({ PublishedPort, TargetPort: 80, PublishMode: "host" });
const mesh = (PublishedPort: number) => ({ PublishedPort, TargetPort: 80 });
const ports = (...Ports: object[]) => ({ rest: { EndpointSpec: { Ports } } });
const reference = (id: string, name: string, file = name) => ({
  SecretID: id,
  SecretName: name,
  ConfigID: id,
  ConfigName: name,
  File: { Name: file, UID: "0", GID: "0", Mode: 292 },
});

/** Networks `back` and `ingress`, a secret and a config, as stored. */
async function withObjects(): Promise<TestControl> {
  const control = testControl();
  const annotations = (name: string) => ({ name, labels: {} });
  await control.store.update((tx) => {
    const back = NetworkSpec.create({ annotations: annotations("back") });
    const ingress = NetworkSpec.create({ annotations: annotations("ingress"), ingress: true });
    const ipam = IpamOptions.create({ configs: [IpamConfig.create({ subnet: "10.0.1.0/24" })] });
    tx.create("network", Network.create({ id: "n1", spec: back, ipam }));
    tx.create("network", Network.create({ id: "n2", spec: ingress }));
    const data = new Uint8Array([1]);
    const none = { driver: undefined, templating: undefined };
    tx.create(
      "secret",
      Secret.create({ id: "s1", spec: { annotations: annotations("key"), data, ...none } }),
    );
    tx.create(
      "config",
      Config.create({
        id: "c1",
        spec: { annotations: annotations("site"), data, templating: undefined },
      }),
    );
  });
  return control;
}

const memory = { Resources: { Limits: { MemoryBytes: 1048576 } } };
const cpu = { Resources: { Reservations: { NanoCPUs: 100_000 } } };
const gpu = (Value: number) => ({
  Resources: {
    Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: "gpu", Value } }] },
  },
});
/** A job with labels. */
const cron = (Labels: Readonly<Record<string, string>>) => ({
  Mode: { ReplicatedJob: {} },
  Labels,
});
/** Labels of a schedule that is well. */
const due = (more: Readonly<Record<string, string>>) => ({
  "skep.cron": "@daily",
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [`skep.cron.${key}`, value])),
});
/** What is refused, and what the user is told. */
const refusals: readonly (readonly [Parts, RegExp])[] = [
  [{ name: "" }, /^meta: name must be provided$/],
  [{ name: "a.b" }, /^name must be valid as a DNS name component$/],
  [{ name: "-a" }, /^name must be valid as a DNS name component$/],
  [{ name: "a".repeat(64) }, /^name must be 63 characters or fewer$/],
  [{ container: { Image: "" } }, /^ContainerSpec: image reference must be provided$/],
  [
    { container: { Image: "No Image" } },
    /^ContainerSpec: "No Image" is not a valid repository\/tag$/,
  ],
  [{ task: memory }, /^invalid memory value 1048576: Must be at least 4MiB$/],
  [{ task: cpu }, /^invalid cpu value 0\.0001: Must be at least 0\.001$/],
  [{ task: gpu(0) }, /^generic resource gpu: the count must be at least 1$/],
  [{ task: { RestartPolicy: { Delay: -1 } } }, /^TaskSpec: restart-delay cannot be negative$/],
  [{ task: { RestartPolicy: { Window: -1 } } }, /^TaskSpec: restart-window cannot be negative$/],
  [
    { task: { Placement: { Constraints: ["a"] } } },
    /^constraint expected one operator from ==, !=$/,
  ],
  [
    { container: { Mounts: [{ Target: "/a" }, { Target: "/a" }] } },
    /^ContainerSpec: duplicate mount point: \/a$/,
  ],
  [
    { container: { Healthcheck: { Interval: 999_999 } } },
    /^ContainerSpec: Interval in HealthConfig cannot be less than 1ms$/,
  ],
  [
    { container: { Healthcheck: { StartInterval: -1 } } },
    /^ContainerSpec: StartInterval in HealthConfig cannot/,
  ],
  [{ rest: { UpdateConfig: { Delay: -1 } } }, /^TaskSpec: update-delay cannot be negative$/],
  [
    { rest: { UpdateConfig: { MaxFailureRatio: 1.5 } } },
    /^TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1$/,
  ],
  [{ rest: { Mode: { GlobalJob: {} }, UpdateConfig: {} } }, /^Jobs may not have an update config$/],
  [{ rest: { Labels: { "skep.cron": "* * * * *" } } }, /^label skep.cron needs a job: make the/],
  [{ rest: cron({ "skep.cron": "61 * * * *" }) }, /^label skep.cron: "61" is no minute: it has to/],
  [{ rest: cron({ "skep.cron": "* * *" }) }, /^label skep.cron: "\* \* \*" is no schedule/],
  [{ rest: cron({ "skep.cron.zone": "UTC" }) }, /^label skep.cron.zone: needs a schedule/],
  [{ rest: cron(due({ zone: "Mars/One" })) }, /^label skep.cron.zone: "Mars\/One" is no time zone/],
  [{ rest: cron(due({ concurrency: "some" })) }, /"some" is not forbid or allow or replace$/],
  [{ rest: cron(due({ deadline: "0" })) }, /^label skep.cron.deadline: "0" is not a time such as/],
  [{ rest: cron(due({ history: "-1" })) }, /history: "-1" is not a number from 0 to 100$/],
  [{ rest: cron(due({ suspend: "yes" })) }, /suspend: "yes" is not false or true$/],
  [{ rest: cron(due({ retries: "1" })) }, /^label skep.cron.retries: is not known/],
  [
    { rest: { Mode: { ReplicatedJob: {} }, RollbackConfig: {} } },
    /^Jobs may not have a rollback config$/,
  ],
  [
    { rest: { EndpointSpec: { Mode: "dnsrr", Ports: [mesh(80)] } } },
    /^EndpointSpec: port published with ingress mode can't be used with dnsrr mode$/,
  ],
  [ports(mesh(80), host(80)), /^EndpointSpec: duplicate published ports provided$/],
  [{ container: { Secrets: [reference("", "")] } }, /^malformed secret reference$/],
  [
    { container: { Secrets: [{ SecretID: "s1", SecretName: "key" }] } },
    /^malformed secret reference, no target provided$/,
  ],
  [
    { container: { Secrets: [reference("s1", "key", "")] } },
    /^malformed file secret reference, invalid target file name provided$/,
  ],
  [
    { container: { Secrets: [reference("s1", "key", "f"), reference("s1", "two", "f")] } },
    /^secret references 'key' and 'two' have a conflicting target: 'f'$/,
  ],
  [{ container: { Secrets: [reference("s1", "other")] } }, /^secret not found: other$/],
  [
    { container: { Configs: [reference("x", "a"), reference("y", "b")] } },
    /^configs not found: a, b$/,
  ],
  [
    { container: { Privileges: { CredentialSpec: { Config: "c1" } } } },
    /^CredentialSpec references config 'c1', but that config isn't in config references with RuntimeTarget$/,
  ],
  [
    { task: { Networks: [{ Target: "n2" }] } },
    /^Service cannot be explicitly attached to the ingress network "ingress"$/,
  ],
  [{ task: { Networks: [{ Target: "nx" }] } }, /^network nx not found$/],
  [
    { task: { Networks: [{ Target: "n1" }, { Target: "n1" }] } },
    /^network back is given more than once; name each network once$/,
  ],
  [labelled({ "skep.port.source": "true" }), /^label skep\.port\.source: "true" is not nat$/],
  [labelled({ "skep.affinity": "cookie" }), /^label skep\.affinity: "cookie" is not source$/],
  [
    labelled({ "skep.drain": "soon" }),
    /^label skep\.drain: "soon" is not a time such as 30s, at most 1h, or 0$/,
  ],
  [labelled({ "skep.listen": "5" }), /^label skep\.listen: "5" is not a time such as 30s, at/],
  [labelled({ "skep.drain": "61m" }), /^label skep\.drain: "61m" is not a time such as 30s, at/],
  [labelled({ "skep.drain": "" }), /^label skep\.drain: "" is not a time/],
  [
    labelled({ "skep.drian": "1s" }),
    /^label skep\.drian is not known: labels of a service that begin with skep\. are .*skep\.drain,/,
  ],
  [labelled({ "skep.emulation": "yes" }), /^label skep\.emulation: "yes" is not allow$/],
  [labelled({ "skep.privileged": "1" }), /^label skep\.privileged: "1" is not true or false$/],
  [labelled({ "skep.devices": "kvm" }), /^label skep\.devices: "kvm" is not a list of devices/],
  [
    { container: { Labels: { "skep.drain": "5s" } } },
    /^label skep\.drain has no effect on a container: give it to the service, by --label or deploy/,
  ],
  [
    { container: { Labels: { "skep.shm-size": "much" } } },
    /^label skep\.shm-size: "much" is not a size such as 256m$/,
  ],
  [
    { container: { Labels: { "skep.shmsize": "1m" } } },
    /^label skep\.shmsize is not known: labels of a container that begin with skep\. are skep\.shm-size,/,
  ],
  [
    labelled({ "skep.publish.address": "10.0.0" }),
    /^label skep\.publish\.address: "10\.0\.0" is not an address/,
  ],
  [labelled({ "skep.publish.address": "a-device-name-0" + "1" }), /is not an address of the host/],
  [
    labelled({ "skep.publish.address": "a b" }),
    /^label skep\.publish\.address: "a b" is not an address of the host, or the name of a device$/,
  ],
  [
    labelled({ "skep.address.1": "10.0.1" }),
    /^label skep\.address\.1: "10\.0\.1" is not an address, or one of each family$/,
  ],
  [labelled({ "skep.address.1": "10.0.1.1,10.0.1.2" }), /or one of each family$/],
  [
    labelled({ "skep.address.0": "10.0.1.9" }),
    /^label skep\.address\.0: the name has to be skep\.address\.<slot>/,
  ],
  [
    labelled({ "skep.address.1": "10.0.1.9", "skep.address.2": "10.0.1.9" }),
    /10\.0\.1\.9 is given to two slots$/,
  ],
  [
    labelled({ "skep.address.1": "10.0.1.9" }, { UpdateConfig: { Order: "start-first" } }),
    /need the update and rollback order stop-first/,
  ],
  [
    labelled({ "skep.address.1": "10.0.1.9" }, { Mode: { Global: {} } }),
    /are for services of mode replicated$/,
  ],
  [
    labelled({ "skep.address.1": "10.9.0.1" }),
    /^label skep\.address\.1: 10\.9\.0\.1 is in no subnet of network back$/,
  ],
  [
    labelled({ "skep.address.front.1": "10.0.1.9" }),
    /^label skep\.address\.front\.1: the service is not in network front$/,
  ],
  [
    { rest: { Labels: { "skep.env.secret.KEY": "key" } } },
    /^label skep\.env\.secret\.KEY: the service has no secret "key"; give it with --secret key$/,
  ],
  [
    { rest: { Labels: { "skep.env.config.A-B": "page" } } },
    /^label skep\.env\.config\.A-B: "A-B" is no name of an environment variable$/,
  ],
  [
    { rest: { Labels: { "skep.address.1": "10.0.1.9" } } },
    /^label skep\.address\.1: the service has 0 networks; name one with skep\.address\.<network>\.1$/,
  ],
];

/** Parts with labels, in network `back`. */
function labelled(Labels: object, rest: object = {}): Parts {
  return { task: { Networks: [{ Target: "n1" }] }, rest: { Labels, ...rest } };
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

  it("refuses what Docker's manager refuses, with its text", async () => {
    const control = await withObjects();
    for (const [parts, message] of refusals)
      await assert.rejects(create(control, parts), { message }, JSON.stringify(parts));
    assert.equal(control.store.view().count("service"), 0);
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
