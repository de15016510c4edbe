/**
 * What a task's container is made from: Task → ContainerConfig. Pure.
 *
 * Names, labels, placeholders and defaults as Docker's swarm has them (docker-facts 1.10).
 */
import {
  type Config,
  type ConfigReference,
  type ContainerSpec,
  type FileTarget,
  type Secret,
  type SecretReference,
  type Task,
  Ulimit,
} from "../../../src/common/api/generated/api.ts";
import type {
  ContainerConfig,
  ContainerFile,
  DeviceMapping,
  NetworkJoin,
  PortBinding,
} from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { macAddressIn } from "../../../src/common/spec/mac-address.ts";
import { payloadKey } from "../../../src/common/spec/payload-revision.ts";
import { isDeviceName } from "../../../src/common/spec/resource-names.ts";
import { isCalled, secretVariablesIn } from "../../../src/common/spec/secret-variables.ts";
import { fillIn, placeholderValues } from "../../../src/common/task/filled.ts";
import { devicesOf, extrasOf, isPrivileged } from "../../../src/common/task/node-access.ts";
import { shownPlace } from "../../../src/common/task/place.ts";
import {
  expand,
  type PlaceholderFunction,
  type PlaceholderValues,
} from "../../../src/common/task/placeholders.ts";
import type { TaskDependencies } from "../executor.ts";
import { variableFrom } from "./secret-env.ts";

/** The node as placeholders see it. */
export interface TaskNode {
  readonly id: string;
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
  /** Of the node object: what its operator allows. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What a container is made for, and where. */
export interface TaskPlace {
  readonly node: TaskNode;
  readonly dependencies: TaskDependencies;
}

/** `service.slot.task`, with the node's id instead of the slot for global services. */
export function taskName(task: Task): string {
  const service = task.serviceAnnotations?.name ?? "";
  if (service === "") return task.annotations?.name || task.id;
  return `${service}.${shownPlace(task)}.${task.id}`;
}

/**
 * @throws ClusterError invalid-argument for what can be no container, such as one with a bad placeholder; not-found for a
 *   secret or config that is gone; permission-denied for what the node's labels do not allow.
 */
export function containerConfigFromTask(task: Task, place: TaskPlace): ContainerConfig {
  const spec = task.spec?.container;
  if (spec === undefined) {
    throw new ClusterError(
      "invalid-argument",
      "the task has no container spec: only containers run here",
    );
  }
  const values = placeholderValues(task, place.node, taskName(task));
  const filled = fillIn(spec, values);
  const env = [...filled.env, ...genericEnv(task)];
  return {
    ...unsaid,
    ...extraParts(task, place.node),
    name: taskName(task),
    image: spec.image,
    entrypoint: spec.command.length > 0 ? spec.command : undefined,
    command: spec.args.length > 0 ? spec.args : undefined,
    env,
    workingDir: spec.dir,
    user: spec.user,
    groups: spec.groups,
    hostname: filled.hostname,
    tty: spec.tty,
    openStdin: spec.openStdin,
    labels: labelsOf(task, spec),
    stopSignal: spec.stopSignal,
    stopTimeoutS:
      spec.stopGracePeriodNs === undefined ? undefined : Math.ceil(spec.stopGracePeriodNs / 1e9),
    health: spec.health,
    init: spec.init,
    readOnly: spec.readOnly,
    privileged: isPrivileged(task, place.node),
    devices: [...devicesOf(task, place.node), ...givenDevices(task)],
    capabilityAdd: spec.capabilityAdd,
    capabilityDrop: spec.capabilityDrop,
    privileges: spec.privileges,
    ulimits: spec.secrets.length > 0 ? withoutCoreDumps(spec.ulimits) : spec.ulimits,
    sysctls: spec.sysctls,
    oomScoreAdj: spec.oomScoreAdj,
    resources: task.spec?.resources,
    mounts: filled.mounts,
    files: filesOf(spec, { values, env, dependencies: place.dependencies }),
    ...secretEnvOf(task, { values, env, dependencies: place.dependencies }),
    dns: spec.dns?.nameservers ?? [],
    dnsSearch: spec.dns?.search ?? [],
    dnsOptions: spec.dns?.options ?? [],
    extraHosts: spec.hosts.flatMap(extraHosts),
    networks: networksOf(task),
    joins: joinsOf(task),
    ports: hostPortsOf(task),
    exposedPorts: [],
    publishAll: false,
    logDriver: task.logDriver ?? task.spec?.logDriver,
    task: {
      taskId: task.id,
      taskName: taskName(task),
      nodeId: place.node.id,
      serviceId: task.serviceId,
      serviceName: task.serviceAnnotations?.name ?? "",
    },
  };
}

/** A network that every node has by itself goes before all others, as nothing can be joined to it. */
function networksOf({ networks }: Task): readonly string[] {
  const own = networks.find(
    ({ ownDriver, nodeNetwork }) => ownDriver !== "" && nodeNetwork === undefined,
  );
  if (own !== undefined) return [own.ownDriver === "null" ? "none" : own.ownDriver];
  return networks.length === 0 ? ["default"] : networks.map(({ networkId }) => networkId);
}

/** Its places in networks of the swarm, with the addresses the managers gave it; the nodes' own networks give them. */
function joinsOf({ networks }: Task): NetworkJoin[] {
  return networks
    .filter(({ ownDriver, nodeNetwork }) => ownDriver === "" || nodeNetwork !== undefined)
    .map(({ networkId, addresses, aliases, driverOptions, nodeNetwork }) => ({
      network: networkId,
      addresses,
      aliases,
      driverOptions: { ...driverOptions },
      macAddress: macAddressIn(driverOptions),
      ...(nodeNetwork === undefined ? {} : { made: nodeNetwork }),
    }));
}

/** Ports of the node it is on; those of the routing mesh are not the container's. */
function hostPortsOf({ endpoint }: Task): PortBinding[] {
  const ports = endpoint?.ports ?? [];
  return ports
    .filter(({ publishMode }) => publishMode === "host")
    .map(({ protocol, targetPort, publishedPort }) => ({
      protocol,
      containerPort: targetPort,
      hostAddress: "",
      hostPort: publishedPort,
    }));
}

/** What labels of the container say besides its spec. */
function extraParts(task: Task, node: TaskNode) {
  const { pull: _pull, postStart: _start, preStop: _stop, ...extras } = extrasOf(task, node);
  const { cpuShares, cpusetCpus, blkioWeight, oomKillDisable, ...parts } = extras;
  const extraLimits = { ...noLimits, cpuShares, cpusetCpus, blkioWeight, oomKillDisable };
  const hasLimits = cpuShares > 0 || cpusetCpus !== "" || blkioWeight > 0 || oomKillDisable;
  return { ...parts, extraLimits: hasLimits ? extraLimits : undefined };
}

/** Limits that a service cannot say. */
const noLimits = {
  cpuPeriodUs: 0,
  cpuQuotaUs: 0,
  cpusetMems: "",
  memoryReservationBytes: 0,
} as const;

/** What a service cannot say. */
const unsaid = {
  platform: undefined,
  stdinOnce: false,
  attachStdin: false,
  attachStdout: false,
  attachStderr: false,
  anonymousVolumes: [],
  volumesFrom: [],
  restartPolicy: { name: "no", retriesMax: 0 },
  autoRemove: false,
  shown: "",
} as const;

/** What a program was given in confidence is in its memory: no copy of that goes to a disk. */
function withoutCoreDumps(ulimits: readonly Ulimit[]): Ulimit[] {
  const others = ulimits.filter(({ name }) => !/^(?:rlimit_)?core$/i.test(name));
  return [...others, Ulimit.create({ name: "core", soft: 0, hard: 0 })];
}

/** `DOCKER_RESOURCE_GPU=uuid1,uuid2` for named resources, `DOCKER_RESOURCE_SSD=2` for counted ones. */
function genericEnv({ assignedGeneric }: Task): string[] {
  const values = new Map<string, string[]>();
  for (const { kind, named, count } of assignedGeneric) {
    const key = kind.toUpperCase();
    values.set(key, [...(values.get(key) ?? []), named === "" ? `${count}` : named]);
  }
  return [...values].map(([kind, list]) => `DOCKER_RESOURCE_${kind}=${list.join(",")}`);
}

/** Devices among the named resources it was given: whoever declared them for this node has allowed them. */
function givenDevices({ assignedGeneric }: Task): DeviceMapping[] {
  const paths = assignedGeneric.map(({ named }) => named).filter(isDeviceName);
  return paths.map((path) => ({ pathOnHost: path, pathInContainer: path, permissions: "rwm" }));
}

function labelsOf(task: Task, spec: ContainerSpec): Record<string, string> {
  return {
    ...spec.labels,
    "com.docker.swarm.node.id": task.nodeId,
    "com.docker.swarm.service.id": task.serviceId,
    "com.docker.swarm.service.name": task.serviceAnnotations?.name ?? "",
    "com.docker.swarm.task": "",
    "com.docker.swarm.task.id": task.id,
    "com.docker.swarm.task.name": taskName(task),
  };
}

/** What payloads may be filled in with. */
interface PayloadContext {
  readonly values: PlaceholderValues;
  readonly env: readonly string[];
  readonly dependencies: TaskDependencies;
}

function filesOf(spec: ContainerSpec, context: PayloadContext): ContainerFile[] {
  const secrets = spec.secrets.map((reference) => {
    const payload = payloadOf(secretOf(reference, context), spec, context);
    return fileFrom(targetOf(reference, reference.secretName), "/run/secrets", payload);
  });
  const configs = spec.configs.flatMap((reference) => {
    if (reference.runtime) return [];
    const payload = payloadOf(configOf(reference, context), spec, context);
    return [fileFrom(targetOf(reference, reference.configName), "", payload)];
  });
  return [...secrets, ...configs];
}

/** What the service's labels want to have as variables. */
function secretEnvOf(task: Task, context: PayloadContext): Pick<ContainerConfig, "secretEnv"> {
  const spec = task.spec?.container;
  const wanted = secretVariablesIn(task.serviceAnnotations?.labels ?? {});
  if (spec === undefined || wanted.length === 0) return {};
  const secretEnv = wanted.map(({ kind, variable, name }) => {
    const object =
      kind === "secret"
        ? spec.secrets
            .filter((one) => isCalled(one, one.secretName, name))
            .map((one) => secretOf(one, context))[0]
        : spec.configs
            .filter((one) => isCalled(one, one.configName, name))
            .map((one) => configOf(one, context))[0];
    if (object === undefined) throw absent(kind, name);
    const data = payloadOf(object, spec, context);
    return { name: variable, value: variableFrom(variable, data, `${kind} ${name}`) };
  });
  return { secretEnv };
}

/** @throws ClusterError not-found for one that was removed. */
function secretOf(reference: SecretReference, context: PayloadContext): Secret {
  const { secretId, secretName, revision } = reference;
  const secret = context.dependencies.secret(payloadKey(secretId, revision));
  if (secret === undefined) throw absent("secret", secretName || secretId);
  return secret;
}

/** @throws ClusterError not-found for one that was removed. */
function configOf(reference: ConfigReference, context: PayloadContext): Config {
  const { configId, configName, revision } = reference;
  const config = context.dependencies.config(payloadKey(configId, revision));
  if (config === undefined) throw absent("config", configName || configId);
  return config;
}

function targetOf({ file }: { readonly file: FileTarget | undefined }, name: string): FileTarget {
  return file ?? { name, uid: "0", gid: "0", mode: 0o444 };
}

/** The bytes of a secret or config, filled in where it is a template; what it names is by the name of its file. */
function payloadOf(
  { spec: object }: Secret | Config,
  spec: ContainerSpec,
  context: PayloadContext,
): Uint8Array {
  const data = object?.data ?? new Uint8Array(0);
  const driver = object?.templating?.name ?? "";
  if (driver === "") return data;
  const name = object?.annotations?.name ?? "";
  if (driver !== "golang") {
    throw new ClusterError(
      "invalid-argument",
      `template driver ${driver} of ${name} is not known: use golang`,
    );
  }
  const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
  const functions: Record<string, PlaceholderFunction> = {
    env: (variable = "") => {
      const line = context.env.findLast((one) => one.startsWith(`${variable}=`));
      return line?.slice(variable.length + 1) ?? "";
    },
    secret: (target = "") => {
      const reference = spec.secrets.find((one) => targetOf(one, one.secretName).name === target);
      if (reference === undefined) throw absent("secret", target);
      return text(secretOf(reference, context).spec?.data);
    },
    config: (target = "") => {
      const reference = spec.configs.find((one) => targetOf(one, one.configName).name === target);
      if (reference === undefined) throw absent("config", target);
      return text(configOf(reference, context).spec?.data);
    },
  };
  return Buffer.from(expand(text(data), { values: context.values, functions }));
}

function fileFrom(file: FileTarget, folder: string, data: Uint8Array): ContainerFile {
  return {
    target: file.name.startsWith("/") ? file.name : `${folder}/${file.name}`,
    data,
    uid: idOf("uid", file.uid, file.name),
    gid: idOf("gid", file.gid, file.name),
    mode: file.mode,
  };
}

function idOf(what: string, text: string, file: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  if (text === "") return 0;
  throw new ClusterError(
    "invalid-argument",
    `${what} of file ${file} must be a number, not ${text}`,
  );
}

function absent(kind: string, name: string): ClusterError {
  return new ClusterError("not-found", `${kind} ${name} is not there: it was removed`);
}

/** `ADDRESS NAME [NAME…]`, as services have them, in the form of `docker run --add-host`. */
function extraHosts(line: string): string[] {
  const [address = "", ...names] = line.trim().split(/\s+/);
  return names.map((name) => `${name}:${address}`);
}
