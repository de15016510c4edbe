/**
 * What Docker's API has no field for goes as labels under `skep.` of the container, so that the same specs mean the same to
 * Docker, and a stock client that changes the service keeps them. Pure.
 */
import type { ComposeHook, ComposeService } from "../model.ts";
import type { ServiceContext } from "./context.ts";

/** Labels for the nodes. @throws ClusterError for what shares something of another container. */
export function extraLabels(
  service: ComposeService,
  context: ServiceContext,
): Record<string, string> {
  const devices = (service.devices ?? []).map(
    ({ source, target, permissions }) => `${source}:${target}:${permissions}`,
  );
  const wishes: Readonly<Record<string, string | number | boolean | undefined>> = {
    "skep.privileged": service.privileged === true ? true : undefined,
    "skep.devices": devices.length === 0 ? undefined : devices.join(","),
    "skep.shm-size": service.shm_size,
    "skep.storage-size": service.storage_opt?.["size"],
    "skep.ipc": namespaceMode("ipc", service.ipc, context),
    "skep.pid": namespaceMode("pid", service.pid, context),
    "skep.uts": service.uts === "host" ? "host" : undefined,
    "skep.cgroup": service.cgroup === "host" ? "host" : undefined,
    "skep.cgroup-parent": service.cgroup_parent,
    "skep.cpu-shares": service.cpu_shares === 0 ? undefined : service.cpu_shares,
    "skep.cpuset": service.cpuset,
    "skep.blkio-weight": service.blkio_config?.weight,
    "skep.blkio-devices": blockDevices(service),
    "skep.device-cgroup-rules": joined(service.device_cgroup_rules),
    "skep.annotations": json(service.annotations),
    "skep.post-start": hooks(service.post_start),
    "skep.pre-stop": hooks(service.pre_stop),
    "skep.oom-kill-disable": service.oom_kill_disable === true ? true : undefined,
    "skep.domainname": service.domainname,
    "skep.pull": pullOf(service, context),
  };
  const labels: Record<string, string> = {};
  for (const [label, value] of Object.entries(wishes))
    if (value !== undefined) labels[label] = `${value}`;
  return labels;
}

function joined(list: readonly string[] = []): string | undefined {
  return list.length === 0 ? undefined : list.join(",");
}

function json(value: object = {}): string | undefined {
  return Object.keys(value).length === 0 ? undefined : JSON.stringify(value);
}

/** In the words of the label. */
function hooks(list: readonly ComposeHook[] = []): string | undefined {
  const plain = list.map(({ environment = {}, ...hook }) => {
    const lines = Object.entries(environment).map(([key, value]) =>
      value === null ? key : `${key}=${value}`,
    );
    return lines.length === 0 ? hook : { ...hook, environment: lines };
  });
  return json(plain);
}

function blockDevices({ blkio_config: said = {} }: ComposeService): string | undefined {
  const rates = [
    ["read-bps", said.device_read_bps],
    ["write-bps", said.device_write_bps],
    ["read-iops", said.device_read_iops],
    ["write-iops", said.device_write_iops],
  ] as const;
  return joined([
    ...(said.weight_device ?? []).map(({ path, weight }) => `${path}:weight=${weight}`),
    ...rates.flatMap(([what, list = []]) =>
      list.map(({ path, rate }) => `${path}:${what}=${rate}`),
    ),
  ]);
}

function namespaceMode(
  key: "ipc" | "pid",
  mode: string | undefined,
  context: ServiceContext,
): string | undefined {
  if (mode === undefined || mode === "" || mode === "private") return undefined;
  if (mode === "host") return mode;
  if (key === "ipc" && mode === "shareable") return undefined;
  const path = `${context.path}.${key}`;
  throw context.fail(
    path,
    `${path} ${JSON.stringify(mode)} is not supported: containers of other services may be on other nodes; host is`,
  );
}

/** `always` is what nodes do unless they are told. */
function pullOf(
  { pull_policy: policy }: ComposeService,
  context: ServiceContext,
): string | undefined {
  switch (policy) {
    case undefined:
    case "always":
      return undefined;
    case "missing":
    case "if_not_present":
      return "missing";
    case "never":
      return "never";
    default:
      context.warn(
        `${context.path}.pull_policy`,
        `${context.path}.pull_policy ${policy} is taken for always: images are not built here, and are compared by digest at each deployment`,
      );
      return undefined;
  }
}
