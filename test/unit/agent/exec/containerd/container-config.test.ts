/**
 * What a task's container is made from: names, labels, placeholders, what its image is overridden with, its files.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import {
  containerConfigFromTask,
  taskName,
} from "../../../../../agent/exec/containerd/container-config.ts";
import {
  Annotations,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  Driver,
  Endpoint,
  GenericResource,
  Mount,
  NetworkAttachment,
  NetworkSpec,
  PortConfig,
  Secret,
  SecretReference,
  SecretSpec,
  Task,
  TaskSpec,
  Ulimit,
  VolumeOptions,
} from "../../../../../src/common/api/generated/api.ts";
import type { ContainerConfig } from "../../../../../src/common/container/types.ts";

const node = { id: "node1", hostname: "pi", architecture: "aarch64", os: "linux", labels: {} };
const dependencies = {
  secret: (id: string) =>
    id === "gone"
      ? undefined
      : Secret.create({ id, spec: SecretSpec.create({ data: Buffer.from(`secret ${id}`) }) }),
  config: (id: string) =>
    Config.create({ id, spec: ConfigSpec.create({ data: Buffer.from(`config ${id}`) }) }),
};

function taskOf(container: Partial<ContainerSpec>, fields: Partial<Task> = {}): Task {
  return Task.create({
    id: "task1",
    serviceId: "service1",
    nodeId: "node1",
    slot: 3,
    serviceAnnotations: Annotations.create({ name: "web", labels: { tier: "front" } }),
    spec: TaskSpec.create({ container: ContainerSpec.create({ image: "x:1", ...container }) }),
    ...fields,
  });
}

function configOf(container: Partial<ContainerSpec>, fields: Partial<Task> = {}): ContainerConfig {
  return containerConfigFromTask(taskOf(container, fields), { node, dependencies });
}

describe("agent/exec/containerd/container-config", () => {
  it("has what labels of the container say besides its spec", () => {
    const labels = { "skep.shm-size": "1m", "skep.domainname": "d", "skep.cpu-shares": "512" };
    const { shmSizeBytes, domainName, extraLimits } = configOf({ labels });
    deepEqual([shmSizeBytes, domainName, extraLimits?.cpuShares], [1_048_576, "d", 512]);
    equal(configOf({}).extraLimits, undefined);
  });

  const variables = (labels: Record<string, string>, container: Partial<ContainerSpec>) => {
    const serviceAnnotations = Annotations.create({ name: "web", labels });
    return configOf(container, { serviceAnnotations });
  };
  const file = (name: string) => ({ name, uid: "0", gid: "0", mode: 0o444 });

  it("has secrets and configs as variables where labels say so, by their own name or their file's", () => {
    const config = variables(
      { "skep.env.secret.KEY": "key", "skep.env.config.PAGE": "shop_page", other: "x" },
      {
        env: ["A=b"],
        secrets: [
          SecretReference.create({ secretId: "s1", secretName: "shop_key", file: file("key") }),
        ],
        configs: [
          ConfigReference.create({
            configId: "c1",
            configName: "shop_page",
            file: file("/page"),
            revision: 2,
          }),
        ],
      },
    );
    deepEqual(config.secretEnv, [
      { name: "KEY", value: "secret s1" },
      { name: "PAGE", value: "config c1.2" },
    ]);
    deepEqual(config.env, ["A=b"]);
    equal(configOf({}).secretEnv, undefined);
  });

  it("has no core dumps where there are secrets, whatever the ulimits say", () => {
    const secrets = [SecretReference.create({ secretId: "s1", secretName: "s1" })];
    const ulimits = [
      Ulimit.create({ name: "nofile", soft: 9, hard: 9 }),
      Ulimit.create({ name: "core", soft: -1, hard: -1 }),
    ];
    const limitsOf = (container: Partial<ContainerSpec>) =>
      configOf(container).ulimits.map(({ name, hard }) => `${name} ${hard}`);
    deepEqual(limitsOf({ secrets, ulimits }), ["nofile 9", "core 0"]);
    deepEqual(limitsOf({ ulimits }), ["nofile 9", "core -1"]);
  });

  it("names a container after service, slot and task, global ones after their node", () => {
    equal(configOf({}).name, "web.3.task1");
    equal(configOf({}, { slot: 0 }).name, "web.node1.task1");
    equal(configOf({}, { slot: 3, jobIteration: 0 }).name, "web.2.task1");
    equal(taskName(Task.create({ id: "t" })), "t");
  });

  it("puts it into the node's own network when the service names that", () => {
    const on = (...drivers: string[]) => {
      const networks = drivers.map((ownDriver) => NetworkAttachment.create({ ownDriver }));
      return configOf({}, { networks }).networks;
    };
    deepEqual(on(), ["default"]);
    deepEqual(on("host"), ["host"]);
    deepEqual(on("", "null"), ["none"]);
  });

  it("says what its node makes a network from, where the node makes it", () => {
    const nodeNetwork = NetworkSpec.create({ configFrom: "held" });
    const one = NetworkAttachment.create({ networkId: "n1", ownDriver: "macvlan", nodeNetwork });
    const config = configOf({}, { networks: [one] });
    deepEqual(config.networks, ["n1"]);
    deepEqual(
      config.joins.map(({ network, made }) => [network, made]),
      [["n1", nodeNetwork]],
    );
  });

  it("puts it into its networks with the addresses it was given, and binds ports of its node", () => {
    const networks = [
      NetworkAttachment.create({ networkId: "n1", addresses: ["10.0.1.5/24"], aliases: ["db"] }),
    ];
    const port = { protocol: "tcp", targetPort: 80, publishedPort: 8080 } as const;
    const ports = (["host", "ingress"] as const).map((publishMode) =>
      PortConfig.create({ ...port, publishMode }),
    );
    const config = configOf({}, { networks, endpoint: Endpoint.create({ ports }) });
    deepEqual(config.networks, ["n1"]);
    deepEqual(config.joins, [
      {
        network: "n1",
        addresses: ["10.0.1.5/24"],
        aliases: ["db"],
        driverOptions: {},
        macAddress: "",
      },
    ]);
    deepEqual(config.ports, [
      { protocol: "tcp", containerPort: 80, hostAddress: "", hostPort: 8080 },
    ]);
  });

  it("labels it as Docker does, whatever the user says", () => {
    const { labels } = configOf({ labels: { own: "1", "com.docker.swarm.task.id": "fake" } });
    deepEqual(labels, {
      own: "1",
      "com.docker.swarm.node.id": "node1",
      "com.docker.swarm.service.id": "service1",
      "com.docker.swarm.service.name": "web",
      "com.docker.swarm.task": "",
      "com.docker.swarm.task.id": "task1",
      "com.docker.swarm.task.name": "web.3.task1",
    });
  });

  it("leaves to the image what the service does not say", () => {
    const { entrypoint, command, stopTimeoutS, health, init } = configOf({});
    deepEqual(
      [entrypoint, command, stopTimeoutS, health, init],
      [undefined, undefined, undefined, undefined, undefined],
    );
    const said = configOf({ command: ["a"], args: ["b"], stopGracePeriodNs: 1.5e9, init: true });
    deepEqual(
      [said.entrypoint, said.command, said.stopTimeoutS, said.init],
      [["a"], ["b"], 2, true],
    );
  });

  it("never starts it again by itself", () => {
    deepEqual(configOf({}).restartPolicy, { name: "no", retriesMax: 0 });
  });

  it("fills placeholders in environment, hostname and mounts, and nowhere else", () => {
    const config = configOf({
      env: ["A={{.Service.Name}}-{{.Task.Slot}}", "{{.X}}=1", "NONE"],
      hostname: "{{.Node.Hostname}}-{{ .Task.Slot }}",
      args: ["{{.Task.ID}}"],
      mounts: [
        Mount.create({
          type: "volume",
          source: "data-{{.Task.Name}}",
          target: "/{{.Node.Platform.Architecture}}",
          volume: VolumeOptions.create({
            labels: { l: '{{index .Service.Labels "tier"}}' },
            driver: Driver.create({ name: "local", options: { o: "{{.Node.ID}}" } }),
          }),
        }),
      ],
    });
    deepEqual(config.env, ["A=web-3", "{{.X}}=1", "NONE"]);
    equal(config.hostname, "pi-3");
    deepEqual(config.command, ["{{.Task.ID}}"]);
    const [mount] = config.mounts;
    deepEqual(
      [mount?.source, mount?.target, mount?.volume?.labels, mount?.volume?.driver?.options],
      ["data-web.3.task1", "/aarch64", { l: "front" }, { o: "node1" }],
    );
  });

  it("gives the node as slot of a global task", () => {
    deepEqual(configOf({ env: ["S={{.Task.Slot}}"] }, { slot: 0 }).env, ["S=node1"]);
  });

  it("refuses a placeholder it does not know", () => {
    throws(() => configOf({ env: ["A={{.Task.Colour}}"] }), /\{\{\.Task\.Colour\}\}/);
  });

  it("tells of the generic resources the task was given", () => {
    const assignedGeneric = [
      GenericResource.create({ kind: "gpu", named: "u1" }),
      GenericResource.create({ kind: "gpu", named: "u2" }),
      GenericResource.create({ kind: "ssd", count: 2 }),
    ];
    deepEqual(configOf({ env: ["A=1"] }, { assignedGeneric }).env, [
      "A=1",
      "DOCKER_RESOURCE_GPU=u1,u2",
      "DOCKER_RESOURCE_SSD=2",
    ]);
  });

  it("has the devices among the named resources the task was given", () => {
    const assignedGeneric = [
      GenericResource.create({ kind: "gpu", named: "/dev/dri/renderD128" }),
      GenericResource.create({ kind: "gpu", named: "/dev/../etc/shadow" }),
      GenericResource.create({ kind: "gpu", named: "u2" }),
    ];
    const path = "/dev/dri/renderD128";
    deepEqual(configOf({}, { assignedGeneric }).devices, [
      { pathOnHost: path, pathInContainer: path, permissions: "rwm" },
    ]);
  });

  it("puts secrets and configs where they are to be", () => {
    const { files } = configOf({
      secrets: [
        SecretReference.create({ secretId: "s1", secretName: "key" }),
        SecretReference.create({
          secretId: "s2",
          secretName: "other",
          file: { name: "/etc/key", uid: "1", gid: "2", mode: 0o400 },
        }),
      ],
      configs: [
        ConfigReference.create({ configId: "c1", configName: "page" }),
        ConfigReference.create({ configId: "c2", configName: "credentials", runtime: true }),
      ],
    });
    deepEqual(
      files.map(({ data, ...rest }) => ({ ...rest, text: Buffer.from(data).toString() })),
      [
        { target: "/run/secrets/key", uid: 0, gid: 0, mode: 0o444, text: "secret s1" },
        { target: "/etc/key", uid: 1, gid: 2, mode: 0o400, text: "secret s2" },
        { target: "/page", uid: 0, gid: 0, mode: 0o444, text: "config c1" },
      ],
    );
  });

  it("fills templates of configs in, from environment, secrets, configs and the task", () => {
    const template = '{{.Task.Slot}} {{env "B"}} {{secret "key"}} {{config "page"}}';
    const templating = Driver.create({ name: "golang" });
    const templated = {
      ...dependencies,
      config: (id: string) =>
        id === "t"
          ? Config.create({
              id,
              spec: ConfigSpec.create({ data: Buffer.from(template), templating }),
            })
          : dependencies.config(id),
    };
    const task = taskOf({
      env: ["B=x{{.Node.Hostname}}"],
      secrets: [SecretReference.create({ secretId: "s1", secretName: "key" })],
      configs: [
        ConfigReference.create({ configId: "c1", configName: "page" }),
        ConfigReference.create({ configId: "t", configName: "template" }),
      ],
    });
    const { files } = containerConfigFromTask(task, { node, dependencies: templated });
    equal(Buffer.from(files[2]?.data ?? []).toString(), "3 xpi secret s1 config c1");
    const bad = {
      ...templated,
      secret: (id: string) =>
        Secret.create({
          id,
          spec: SecretSpec.create({ templating: Driver.create({ name: "m4" }) }),
        }),
    };
    throws(() => containerConfigFromTask(task, { node, dependencies: bad }), /m4 .* use golang/);
  });

  it("refuses owners that are no numbers, and a secret that is gone, by name", () => {
    const file = { name: "f", uid: "www", gid: "", mode: 0o444 };
    const named = SecretReference.create({ secretId: "s", secretName: "key", file });
    throws(() => configOf({ secrets: [named] }), /uid of file f must be a number, not www/);
    const gone = SecretReference.create({ secretId: "gone", secretName: "key" });
    throws(() => configOf({ secrets: [gone] }), /secret key is not there/);
  });

  it("turns hosts round for the runtime", () => {
    deepEqual(configOf({ hosts: ["10.0.0.1 db cache", "::1 six"] }).extraHosts, [
      "db:10.0.0.1",
      "cache:10.0.0.1",
      "six:::1",
    ]);
  });

  it("refuses what is no container", () => {
    const task = Task.create({ id: "t", spec: TaskSpec.create() });
    throws(() => containerConfigFromTask(task, { node, dependencies }), /no container spec/);
  });
});
