/**
 * What control refuses as a service, and the texts of its refusals: Docker's own where it has one.
 */
import assert from "node:assert/strict";
import {
  create,
  cron,
  due,
  host,
  labelled,
  mesh,
  type Parts,
  ports,
  reference,
  stored,
  update,
  withObjects,
} from "../../../support/service-calls.ts";

const memory = { Resources: { Limits: { MemoryBytes: 1048576 } } };
const cpu = { Resources: { Reservations: { NanoCPUs: 100_000 } } };
const gpu = (Value: number) => ({
  Resources: {
    Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: "gpu", Value } }] },
  },
});
const gpuNamed = (...names: readonly string[]) => ({
  Resources: {
    Reservations: {
      GenericResources: names.map((Value) => ({ NamedResourceSpec: { Kind: "gpu", Value } })),
    },
  },
});
const mac = (address: string, rest: object = {}): Parts => ({
  task: {
    Networks: [{ Target: "n1", DriverOpts: { "com.docker.network.endpoint.macaddress": address } }],
  },
  rest,
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
  [{ task: gpuNamed("u1", "u1") }, /^generic resource gpu=u1 is asked for twice; name it once$/],
  [
    { task: gpuNamed("u 1") },
    /^generic resource gpu: "u 1" is not a name that a node can declare with --node-generic-resource/,
  ],
  [{ task: gpuNamed("7") }, /^generic resource gpu: "7" is not a name that a node can declare/],
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
    { container: { Hostname: "{{.Odd}}" } },
    /^expanding hostname failed: placeholder {{\.Odd}} cannot be filled in: there is no \.Odd$/,
  ],
  [
    { container: { Env: ["A", "B={{.Task.Name}}", "C={{.Odd}}"] } },
    /^expanding env failed: expanding env "C={{\.Odd}}": placeholder {{\.Odd}} cannot/,
  ],
  [{ container: { Env: ["A={{"] } }, /^expanding env failed: .* it is not closed by }}$/],
  [
    { container: { Mounts: [{ Source: "{{.Service.Labels.absent}}", Target: "/a" }] } },
    /^expanding mounts failed: placeholder /,
  ],
  [
    { container: { Healthcheck: { Interval: 999_999 } } },
    /^ContainerSpec: Interval in HealthConfig cannot be less than 1ms$/,
  ],
  [
    { container: { Healthcheck: { StartInterval: -1 } } },
    /^ContainerSpec: StartInterval in HealthConfig cannot/,
  ],
  [
    { container: { Healthcheck: { Timeout: 1 } } },
    /^ContainerSpec: Timeout in HealthConfig cannot be less than 1ms$/,
  ],
  [
    { container: { Healthcheck: { StartPeriod: 999_999 } } },
    /^ContainerSpec: StartPeriod in HealthConfig cannot be less than 1ms$/,
  ],
  [{ container: { StopGracePeriod: -1 } }, /^ContainerSpec: stop-grace-period cannot be negative$/],
  [
    { task: { Resources: { Limits: { NanoCPUs: 999_999 } } } },
    /^invalid cpu value 0\.000999999: Must be at least 0\.001$/,
  ],
  [
    { task: { Resources: { Reservations: { MemoryBytes: 4_194_303 } } } },
    /^invalid memory value 4194303: Must be at least 4MiB$/,
  ],
  [{ task: { Placement: { Constraints: ["a b==c"] } } }, /^key 'a b' is invalid$/],
  [{ task: { Placement: { Constraints: ["node.role==a#b"] } } }, /^value 'a#b' is invalid$/],
  [{ rest: { UpdateConfig: { Delay: -1 } } }, /^TaskSpec: update-delay cannot be negative$/],
  [{ rest: { RollbackConfig: { Delay: -1 } } }, /^TaskSpec: rollback-delay cannot be negative$/],
  [{ rest: { UpdateConfig: { Monitor: -1 } } }, /^TaskSpec: update-monitor cannot be negative$/],
  [
    { rest: { RollbackConfig: { MaxFailureRatio: -0.1 } } },
    /^TaskSpec: rollback-maxfailureratio cannot be less than 0 or bigger than 1$/,
  ],
  [
    { rest: { UpdateConfig: { MaxFailureRatio: 1.5 } } },
    /^TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1$/,
  ],
  [{ rest: { Mode: { GlobalJob: {} }, UpdateConfig: {} } }, /^Jobs may not have an update config$/],
  [
    { rest: { Mode: { ReplicatedJob: {} }, UpdateConfig: { Parallelism: 1 } } },
    /^Jobs may not have an update config$/,
  ],
  [
    { rest: { Mode: { GlobalJob: {} }, RollbackConfig: {} } },
    /^Jobs may not have a rollback config$/,
  ],
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
  [
    { rest: { EndpointSpec: { Mode: "dnsrr", Ports: [host(81), mesh(0)] } } },
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
    { container: { Configs: [{ ConfigID: "", ConfigName: "", File: { Name: "f" } }] } },
    /^malformed config reference$/,
  ],
  [
    { container: { Configs: [reference("c1", "site", "")] } },
    /^malformed file config reference, invalid target file name provided$/,
  ],
  [
    { container: { Configs: [reference("c1", "site", "/f"), reference("c1", "two", "/f")] } },
    /^config references 'site' and 'two' have a conflicting target: '\/f'$/,
  ],
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
  [
    mac("02:42:ac:11:00"),
    /^invalid MAC address: Networks\[0\]\.DriverOpts \S+=02:42:ac:11:00 is none of one device; give one such as 02:42/,
  ],
  [mac("01:00:5e:00:00:01"), /^invalid MAC address: .*=01:00:5e:00:00:01 is none of one device/],
  [mac(""), /^invalid MAC address: /],
  [
    mac("02:42:ac:11:00:02", { Mode: { Replicated: { Replicas: 2 } } }),
    /^Networks\[0\]\.DriverOpts \S+: several tasks cannot have one MAC address; run one replica/,
  ],
  [mac("02:42:ac:11:00:02", { Mode: { Global: {} } }), /: several tasks cannot have one MAC/],
  [
    mac("02:42:ac:11:00:02", { UpdateConfig: { Order: "start-first" } }),
    /^Networks\[0\]\.DriverOpts \S+ needs the update and rollback order stop-first: two tasks/,
  ],
  [mac("02:42:ac:11:00:02", { RollbackConfig: { Order: "start-first" } }), /order stop-first/],
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

describe("manager/control/services refusals", () => {
  it("refuses what Docker's manager refuses, with its text", async () => {
    const control = await withObjects();
    for (const [parts, message] of refusals)
      await assert.rejects(create(control, parts), { message }, JSON.stringify(parts));
    assert.equal(control.store.view().count("service"), 0);
  });

  it("refuses the same of an update, and leaves the service as it is", async () => {
    const control = await withObjects();
    const { id } = await create(control);
    const { meta } = stored(control, id);
    for (const [parts, message] of refusals) {
      if (parts.name !== undefined || parts.rest !== undefined) continue;
      await assert.rejects(update(control, id, parts), { message }, JSON.stringify(parts));
    }
    assert.deepEqual(stored(control, id).meta, meta);
  });
});
