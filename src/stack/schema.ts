/**
 * Every key of the Compose Specification, and what it may be: the one table by which files are checked. Pure.
 *
 * What is in no table is refused by name; what has no effect in a cluster is `ignored`, with the reason that the user is told.
 */

import { mounts } from "./form-mounts.ts";
import { ports } from "./form-ports.ts";
import {
  attachmentKeys,
  attachments,
  command,
  dependencies,
  device,
  deviceRequest,
  deviceRule,
  envFiles,
  environment,
  extraHosts,
  gpus,
  grant,
  healthTest,
  hook,
  macAddress,
  pathText,
  storageOptions,
  texts,
  ulimit,
} from "./forms.ts";
import type { ComposeProject } from "./model.ts";
import type { MapNode, Node } from "./node.ts";
import {
  anyText,
  bytes,
  bytesOrNoLimit,
  decimal,
  duration,
  ignored,
  ignoredUnless,
  integer,
  list,
  listOrOne,
  mapOf,
  object,
  type Reading,
  type Shape,
  type Table,
  text,
  textList,
  textOf,
  truth,
  word,
} from "./shape.ts";
import { durationFrom } from "./units.ts";

const update: Table = {
  parallelism: integer(0),
  delay: duration,
  failure_action: word("continue", "rollback", "pause"),
  monitor: duration,
  max_failure_ratio: decimal,
  order: word("stop-first", "start-first"),
};

const genericResource = object({
  discrete_resource_spec: object({ kind: text, value: integer(1) }, ["kind", "value"]),
});

const deployKeys: Table = {
  mode: word("replicated", "global", "replicated-job", "global-job"),
  replicas: integer(0),
  labels: texts,
  endpoint_mode: word("vip", "dnsrr"),
  update_config: object(update),
  rollback_config: object({ ...update, failure_action: word("continue", "pause") }),
  resources: object({
    limits: object({ cpus: decimal, memory: bytes, pids: integer(-1) }),
    reservations: object({
      cpus: decimal,
      memory: bytes,
      generic_resources: list(genericResource),
      devices: list(deviceRequest),
    }),
  }),
  restart_policy: object({
    condition: word("none", "on-failure", "any"),
    delay: duration,
    max_attempts: integer(0),
    window: duration,
  }),
  placement: object({
    constraints: list(text),
    preferences: list(object({ spread: text }, ["spread"])),
    max_replicas_per_node: integer(0),
  }),
};
const deploy = object(deployKeys);

const healthcheck = object({
  test: healthTest,
  interval: duration,
  timeout: duration,
  retries: integer(0, 2 ** 32 - 1),
  start_period: duration,
  start_interval: duration,
  disable: truth,
});

/** Keys that say what runs. */
const programKeys: Table = {
  image: text,
  command,
  entrypoint: command,
  environment,
  env_file: envFiles,
  working_dir: text,
  user: anyText,
  group_add: textList(),
  hostname: text,
  domainname: text,
  tty: truth,
  stdin_open: truth,
  stop_grace_period: duration,
  stop_signal: text,
  init: truth,
  labels: texts,
  label_file: listOrOne(pathText),
  healthcheck,
  post_start: list(hook),
  pre_stop: list(hook),
  annotations: texts,
  logging: object({ driver: text, options: texts }),
  restart: textOf(
    /^(no|always|unless-stopped|on-failure(:\d+)?)$/,
    "no, always, on-failure[:N] or unless-stopped",
  ),
  platform: text,
  pull_policy: textOf(
    /^(always|missing|if_not_present|never|build|daily|weekly|every_\w+)$/,
    "always, missing, never, build, daily, weekly or every_DURATION",
  ),
};

const devicePath = textOf(/^\/dev\/[^,:=]+$/, "a device such as /dev/sda");

/** Keys of what a process may do and use. */
const confines: Table = {
  read_only: truth,
  isolation: text,
  privileged: truth,
  cap_add: textList(text),
  cap_drop: textList(text),
  security_opt: textList(text),
  sysctls: texts,
  ulimits: mapOf(ulimit),
  devices: list(device),
  device_cgroup_rules: list(deviceRule),
  gpus,
  shm_size: bytes,
  storage_opt: storageOptions,
  ipc: text,
  pid: text,
  uts: word("host", "private"),
  cgroup: word("host", "private"),
  cgroup_parent: text,
  oom_score_adj: integer(-1000, 1000),
  oom_kill_disable: truth,
  cpus: decimal,
  cpu_shares: integer(0),
  cpu_period: (node, spot) => microseconds(node, spot),
  cpu_quota: (node, spot) => microseconds(node, spot),
  cpuset: textOf(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, "a list of processors such as 0-2,4"),
  mem_limit: bytes,
  mem_reservation: bytes,
  mem_swappiness: integer(0, 100),
  memswap_limit: bytesOrNoLimit,
  pids_limit: integer(-1),
  blkio_config: object({
    weight: integer(10, 1000),
    weight_device: list(
      object({ path: devicePath, weight: integer(10, 1000) }, ["path", "weight"]),
    ),
    device_read_bps: list(object({ path: devicePath, rate: bytes }, ["path", "rate"])),
    device_read_iops: list(object({ path: devicePath, rate: integer(1) }, ["path", "rate"])),
    device_write_bps: list(object({ path: devicePath, rate: bytes }, ["path", "rate"])),
    device_write_iops: list(object({ path: devicePath, rate: integer(1) }, ["path", "rate"])),
  }),
};

/** Keys of the surroundings. */
const surroundings: Table = {
  ports,
  networks: attachments,
  network_mode: text,
  mac_address: macAddress,
  "x-skep-no-alias": textList(),
  dns: listOrOne(text),
  dns_search: listOrOne(text),
  dns_opt: textList(text),
  extra_hosts: extraHosts,
  volumes: mounts,
  volumes_from: list(textOf(/^[\w.-]+(:(ro|rw))?$/, "SERVICE[:ro] or SERVICE[:rw]")),
  tmpfs: listOrOne(text),
  secrets: list(grant),
  configs: list(grant),
  depends_on: dependencies,
  deploy,
  scale: integer(0),
  profiles: textList(
    textOf(/^[A-Za-z0-9][\w.-]*$/, "a profile name of letters, digits, _, . and -"),
  ),
};

/** Keys without effect, each with the reason. */
const withoutEffect: Table = {
  attach: ignored("a stack is never attached to; use skep stack logs"),
  build: ignored("images are not built here; build and push the image first"),
  container_name: ignored("containers of a service are named by service, slot and task"),
  cpu_count: ignored("it is for Windows alone; use cpus"),
  cpu_percent: ignored("it is for Windows alone; use cpus"),
  cpu_rt_period: ignored("kernels without real-time groups refuse it"),
  cpu_rt_runtime: ignored("kernels without real-time groups refuse it"),
  credential_spec: ignored("it is for Windows alone"),
  develop: ignored("it is for building while developing"),
  expose: ignored("services in one network reach all ports of each other"),
  external_links: ignored("services find each other by name in a network they share"),
  links: ignored("services find each other by name in a network they share"),
  models: ignored("there is no runner of models here"),
  provider: ignored("there are no providers here"),
  pull_refresh_after: ignored("images are compared by digest at each deployment"),
  runtime: ignored("a node runs all its containers with one runtime"),
  use_api_socket: ignored("mount the socket of the node's API with volumes"),
  userns_mode: ignoredUnless(["host"], "user namespaces are not used here; host is what holds"),
  volume_driver: ignored("name the driver at the volume, under the top-level volumes"),
};

const serviceKeys: Table = { ...programKeys, ...confines, ...surroundings, ...withoutEffect };
const service = object(serviceKeys);

/** `external: true`, or the name in the way of old files. */
const external: Shape = (node, spot) => {
  if (node.kind !== "map") return truth(node, spot);
  const { name } = object({ name: text })(node, spot) as { name?: string };
  return name ?? true;
};

const networkKeys: Table = {
  name: text,
  external,
  driver: text,
  driver_opts: mapOf(anyText),
  attachable: truth,
  internal: truth,
  enable_ipv4: ignoredUnless(["true"], "overlay networks always have IPv4"),
  enable_ipv6: truth,
  labels: texts,
  ipam: object({
    driver: text,
    options: mapOf(anyText),
    config: list(
      object({ subnet: text, ip_range: text, gateway: text, aux_addresses: mapOf(text) }),
    ),
  }),
};
const network = object(networkKeys);

const volumeKeys: Table = {
  name: text,
  external,
  driver: text,
  driver_opts: mapOf(anyText),
  labels: texts,
  spec: ignored("cluster volumes are not known here"),
  x_cluster_spec: ignored("cluster volumes are not known here"),
};
const volume = object(volumeKeys);

const payload: Table = {
  name: text,
  external,
  file: pathText,
  environment: text,
  content: text,
  labels: texts,
  template_driver: text,
};

const secretKeys: Table = { ...payload, driver: text, driver_opts: mapOf(anyText) };

const projectKeys: Table = {
  name: text,
  version: ignoredUnless(
    [
      "2",
      "2.1",
      "2.2",
      "2.3",
      "2.4",
      "3",
      "3.0",
      "3.1",
      "3.2",
      "3.3",
      "3.4",
      "3.5",
      "3.6",
      "3.7",
      "3.8",
      "3.9",
      "3.10",
      "3.11",
      "3.12",
      "3.13",
    ],
    "it is obsolete, the current Compose Specification holds",
  ),
  services: mapOf(service),
  networks: mapOf(network),
  volumes: mapOf(volume),
  secrets: mapOf(object(secretKeys)),
  configs: mapOf(object(payload)),
  models: ignored("there is no runner of models here"),
};
const project = object(projectKeys);

/** Every key that a file may have, by where it stands; `docs/compatibility.md` tells what becomes of each. */
export const composeKeys: Readonly<Record<string, Table>> = {
  "": projectKeys,
  "services.*.": serviceKeys,
  "services.*.deploy.": deployKeys,
  "services.*.networks.*.": attachmentKeys,
  "networks.*.": networkKeys,
  "volumes.*.": volumeKeys,
  "secrets.*.": secretKeys,
  "configs.*.": payload,
};

function microseconds(node: Node, spot: Parameters<Shape>[1]): unknown {
  const isNumber = node.kind === "scalar" && /^\d+$/.test(node.text);
  if (isNumber || node.kind !== "scalar") return integer(0)(node, spot);
  const ns = nanoseconds(duration(node, spot) as string);
  return Math.round(ns / 1000);
}

function nanoseconds(written: string): number {
  return durationFrom(written) ?? 0;
}

/** Reads a tree by the table. @throws ClusterError invalid-argument with the place. */
export function checkProject(root: MapNode, reading: Reading): ComposeProject {
  const found = project(root, { path: "", reading }) as Partial<ComposeProject>;
  const checked: ComposeProject = {
    services: {},
    networks: {},
    volumes: {},
    secrets: {},
    configs: {},
    ...found,
  };
  return {
    ...checked,
    networks: withExternalNames(checked.networks),
    volumes: withExternalNames(checked.volumes),
    secrets: withExternalNames(checked.secrets),
    configs: withExternalNames(checked.configs),
  };
}

/** `external: {name: x}` says what `external: true` and `name: x` say. */
function withExternalNames<T extends object>(
  found: Readonly<Record<string, T>>,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(found).map(([key, value]) => {
      const { external: said } = value as { external?: unknown };
      return [key, typeof said === "string" ? { ...value, external: true, name: said } : value];
    }),
  );
}
