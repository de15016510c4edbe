/**
 * What a task's container is made from: Task → ContainerConfig. Pure.
 *
 * Names, labels, placeholders and defaults as Docker's swarm has them (docker-facts 1.10).
 */
import type {
  Config,
  ContainerSpec,
  FileTarget,
  GenericResource,
  Mount,
  Secret,
  Task,
} from "../../../src/common/api/generated/api.ts";
import type { ContainerConfig, ContainerFile } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { TaskDependencies } from "../executor.ts";
import { expand, type PlaceholderContext } from "./placeholders.ts";

/** The node as placeholders see it. */
export interface TaskNode {
  readonly id: string;
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
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
  return `${service}.${task.slot > 0 ? task.slot : task.nodeId}.${task.id}`;
}

/** @throws ClusterError invalid-argument for what can be no container: a bad placeholder, a secret that is not there. */
export function containerConfigFromTask(task: Task, place: TaskPlace): ContainerConfig {
  const spec = task.spec?.container;
  if (spec === undefined) {
    throw new ClusterError(
      "invalid-argument",
      "the task has no container spec: only containers run here",
    );
  }
  const context = placeholders(task, place.node);
  const fill = (text: string) => expand(text, context);
  return {
    ...unsaid,
    name: taskName(task),
    image: spec.image,
    entrypoint: spec.command.length > 0 ? spec.command : undefined,
    command: spec.args.length > 0 ? spec.args : undefined,
    env: [...spec.env.map((line) => filledEnv(line, fill)), ...genericEnv(task.assignedGeneric)],
    workingDir: spec.dir,
    user: spec.user,
    groups: spec.groups,
    hostname: fill(spec.hostname),
    tty: spec.tty,
    openStdin: spec.openStdin,
    labels: labelsOf(task, spec),
    stopSignal: spec.stopSignal,
    stopTimeoutS:
      spec.stopGracePeriodNs === undefined ? undefined : Math.ceil(spec.stopGracePeriodNs / 1e9),
    health: spec.health,
    init: spec.init,
    readOnly: spec.readOnly,
    capabilityAdd: spec.capabilityAdd,
    capabilityDrop: spec.capabilityDrop,
    privileges: spec.privileges,
    ulimits: spec.ulimits,
    sysctls: spec.sysctls,
    oomScoreAdj: spec.oomScoreAdj,
    resources: task.spec?.resources,
    mounts: spec.mounts.map((mount) => filledMount(mount, fill)),
    files: filesOf(task, spec, place),
    dns: spec.dns?.nameservers ?? [],
    dnsSearch: spec.dns?.search ?? [],
    dnsOptions: spec.dns?.options ?? [],
    extraHosts: spec.hosts.flatMap(extraHosts),
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

/** What a service cannot say. */
const unsaid = {
  platform: undefined,
  domainName: "",
  stdinOnce: false,
  attachStdin: false,
  attachStdout: false,
  attachStderr: false,
  privileged: false,
  extraLimits: undefined,
  devices: [],
  anonymousVolumes: [],
  volumesFrom: [],
  shmSizeBytes: 0,
  networks: ["default"],
  ipcMode: "",
  pidMode: "",
  utsMode: "",
  cgroupnsMode: "",
  cgroupParent: "",
  restartPolicy: { name: "no", retriesMax: 0 },
  autoRemove: false,
  shown: "",
} as const;

function placeholders(task: Task, node: TaskNode): PlaceholderContext {
  const service = task.serviceAnnotations;
  return {
    values: {
      Service: { ID: task.serviceId, Name: service?.name ?? "", Labels: service?.labels ?? {} },
      Node: {
        ID: node.id,
        Hostname: node.hostname,
        Platform: { Architecture: node.architecture, OS: node.os },
      },
      Task: {
        ID: task.id,
        Name: taskName(task),
        Slot: task.slot > 0 ? `${task.slot}` : task.nodeId,
      },
    },
    functions: {},
  };
}

/** Values only: names are the user's own. */
function filledEnv(line: string, fill: (text: string) => string): string {
  const at = line.indexOf("=");
  return at < 0 ? line : line.slice(0, at + 1) + fill(line.slice(at + 1));
}

function filledMount(mount: Mount, fill: (text: string) => string): Mount {
  const { volume } = mount;
  const filled = { ...mount, source: fill(mount.source), target: fill(mount.target) };
  if (volume === undefined) return filled;
  const driver = volume.driver && {
    ...volume.driver,
    options: mapValues(volume.driver.options, fill),
  };
  return { ...filled, volume: { ...volume, labels: mapValues(volume.labels, fill), driver } };
}

function mapValues(
  map: Readonly<Record<string, string>>,
  change: (text: string) => string,
): Record<string, string> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, change(value)]));
}

/** `DOCKER_RESOURCE_GPU=uuid1,uuid2` for named resources, `DOCKER_RESOURCE_SSD=2` for counted ones. */
function genericEnv(assigned: readonly GenericResource[]): string[] {
  const values = new Map<string, string[]>();
  for (const { kind, named, count } of assigned) {
    const key = kind.toUpperCase();
    values.set(key, [...(values.get(key) ?? []), named === "" ? `${count}` : named]);
  }
  return [...values].map(([kind, list]) => `DOCKER_RESOURCE_${kind}=${list.join(",")}`);
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

function filesOf(
  task: Task,
  spec: ContainerSpec,
  { node, dependencies }: TaskPlace,
): ContainerFile[] {
  const secrets = spec.secrets.map((reference) => {
    const secret = dependencies.secret(reference.secretId);
    const name = reference.secretName || reference.secretId;
    if (secret === undefined) throw absent("secret", name);
    const file = { name, uid: "0", gid: "0", mode: 0o444, ...reference.file };
    return fileFrom(file, "/run/secrets", payloadOf(secret, task, node));
  });
  const configs = spec.configs.flatMap((reference) => {
    if (reference.runtime) return [];
    const config = dependencies.config(reference.configId);
    const name = reference.configName || reference.configId;
    if (config === undefined) throw absent("config", name);
    const file = { name, uid: "0", gid: "0", mode: 0o444, ...reference.file };
    return [fileFrom(file, "", payloadOf(config, task, node))];
  });
  return [...secrets, ...configs];
}

function payloadOf(object: Secret | Config, _task: Task, _node: TaskNode): Uint8Array {
  return object.spec?.data ?? new Uint8Array(0);
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
