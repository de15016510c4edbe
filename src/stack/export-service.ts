/**
 * A service of the cluster → a service of a Compose file: the way back of `translate/service.ts`. Pure.
 */
import { imageLabel, namespaceLabel } from "./translate/context.ts";
import { hasNames } from "./translate/endpoint.ts";
import { durationText } from "./units.ts";

/** Part of an answer of the API. */
export type Shown = { readonly [key: string]: unknown };

/** What a service refers to, by the names of the file. */
export interface ExportNames {
  readonly stack: string;
  /** Key of a network by its id or name. */
  readonly network: (target: string) => string;
  /** Its name in the cluster. */
  readonly networkName: (target: string) => string;
  /** Key of a named volume, which is noted to be declared. */
  readonly volume: (mount: Shown) => string;
  readonly payload: (kind: "secrets" | "configs", name: string) => string;
  readonly warn: (text: string) => void;
}

/** An object within an object; empty when it is not there. */
export function part(object: Shown, key: string): Shown {
  return (object[key] ?? {}) as Shown;
}

/** A list within an object. */
export function parts(object: Shown, key: string): readonly Shown[] {
  return (object[key] ?? []) as readonly Shown[];
}

/** Without what is empty. */
export function filled(fields: Shown): Shown | undefined {
  const entries = Object.entries(fields).filter(([, value]) => !isEmpty(value));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The service as a file would say it. @param key Its name in the file. */
export function exportedService(spec: Shown, key: string, names: ExportNames): Shown {
  const task = part(spec, "TaskTemplate");
  const container = part(task, "ContainerSpec");
  const labels = part(spec, "Labels");
  const { "skep.pull": pull } = part(container, "Labels");
  return (
    filled({
      image: labels[imageLabel] ?? container["Image"],
      platform: platformOf(parts(part(task, "Placement"), "Platforms")),
      // As label it says the same to the nodes; here it is for the caller, who does not ask for the digest then.
      pull_policy: pull,
      ...processOf(container),
      ...confinesOf(container, names),
      ...surroundingsOf(spec, key, names),
      logging: logging(part(task, "LogDriver")),
      mem_swappiness: part(task, "Resources")["MemorySwappiness"],
      memswap_limit: swap(part(task, "Resources")),
      deploy: deployOf(spec),
    }) ?? {}
  );
}

function processOf(container: Shown): Shown {
  const dns = part(container, "DNSConfig");
  return {
    entrypoint: container["Command"],
    command: container["Args"],
    hostname: container["Hostname"],
    environment: environment((container["Env"] ?? []) as readonly string[]),
    working_dir: container["Dir"],
    user: container["User"],
    group_add: container["Groups"],
    labels: withoutStack(part(container, "Labels")),
    tty: container["TTY"],
    stdin_open: container["OpenStdin"],
    read_only: container["ReadOnly"],
    stop_signal: container["StopSignal"],
    stop_grace_period: time(container["StopGracePeriod"]),
    healthcheck: health(container["Healthcheck"] as Shown | undefined),
    extra_hosts: ((container["Hosts"] ?? []) as readonly string[]).flatMap(hostLines),
    dns: dns["Nameservers"],
    dns_search: dns["Search"],
    dns_opt: dns["Options"],
  };
}

function confinesOf(container: Shown, names: ExportNames): Shown {
  const limits = parts(container, "Ulimits").map((limit) => [
    limit["Name"],
    { soft: limit["Soft"] ?? 0, hard: limit["Hard"] ?? 0 },
  ]);
  return {
    // False says more than nothing here.
    ...(container["Init"] === undefined
      ? {}
      : { init: container["Init"] === true ? true : "false" }),
    isolation: container["Isolation"] === "default" ? undefined : container["Isolation"],
    sysctls: container["Sysctls"],
    cap_add: container["CapabilityAdd"],
    cap_drop: container["CapabilityDrop"],
    security_opt: securityOptions(part(container, "Privileges"), names),
    ulimits: Object.fromEntries(limits),
    oom_score_adj: container["OomScoreAdj"],
  };
}

function surroundingsOf(spec: Shown, key: string, names: ExportNames): Shown {
  const task = part(spec, "TaskTemplate");
  const container = part(task, "ContainerSpec");
  const attachments = parts(task, "Networks");
  const targets = attachments.map((one) => names.networkName(String(one["Target"])));
  const isSorted = targets.every((name, i) => i === 0 || (targets[i - 1] ?? "") <= name);
  const networks = attachments.map((attachment, i) => {
    const aliases = ((attachment["Aliases"] ?? []) as readonly string[]).filter(
      (alias) => alias !== key,
    );
    return [
      names.network(String(attachment["Target"])),
      filled({
        aliases,
        driver_opts: attachment["DriverOpts"],
        priority: isSorted ? undefined : attachments.length - i,
      }) ?? null,
    ];
  });
  const unnamed = attachments.filter(({ Aliases }, i) => {
    const aliases = (Aliases ?? []) as readonly string[];
    return hasNames(targets[i] ?? "") && !aliases.includes(key);
  });
  const [only] = networks;
  const isDefault = networks.length === 1 && only?.[0] === "default" && only[1] === null;
  return {
    // As `docker service update --network-add` leaves it.
    "x-skep-no-alias": unnamed.map(({ Target }) => names.network(String(Target))),
    networks: isDefault ? undefined : Object.fromEntries(networks),
    ports: parts(part(spec, "EndpointSpec"), "Ports").map((port) =>
      filled({
        name: port["Name"],
        target: port["TargetPort"],
        published: port["PublishedPort"] === undefined ? undefined : String(port["PublishedPort"]),
        protocol: port["Protocol"],
        mode: port["PublishMode"],
      }),
    ),
    volumes: parts(container, "Mounts").map((mount) => mountOf(mount, names)),
    secrets: parts(container, "Secrets").map((grant) =>
      grantOf(grant, names.payload("secrets", String(grant["SecretName"]))),
    ),
    configs: parts(container, "Configs").map((grant) =>
      grantOf(grant, names.payload("configs", String(grant["ConfigName"]))),
    ),
  };
}

/** Several are those of the image, which the registry is asked for anew. */
function platformOf(platforms: readonly Shown[]): string | undefined {
  const [only = {}, ...others] = platforms;
  const { OS: os, Architecture: architecture, Variant: variant } = only;
  if (others.length > 0 || isEmpty(os) || isEmpty(architecture)) return undefined;
  return [os, architecture, ...(isEmpty(variant) ? [] : [variant])].join("/");
}

function withoutStack(labels: Shown): Shown {
  return Object.fromEntries(
    Object.entries(labels).filter(([key]) => key !== namespaceLabel && key !== imageLabel),
  );
}

function environment(lines: readonly string[]): Shown {
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [line, null] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}

function time(ns: unknown): string | undefined {
  return typeof ns === "number" ? durationText(ns) : undefined;
}

function health(check: Shown | undefined): Shown | undefined {
  if (check === undefined) return undefined;
  const test = (check["Test"] ?? []) as readonly string[];
  if (test[0] === "NONE") return { disable: true };
  return filled({
    test,
    interval: time(check["Interval"]),
    timeout: time(check["Timeout"]),
    start_period: time(check["StartPeriod"]),
    start_interval: time(check["StartInterval"]),
    retries: check["Retries"],
  });
}

function hostLines(line: string): readonly string[] {
  const [address = "", ...hosts] = line.split(/\s+/);
  return hosts.map((host) => `${host}:${address}`);
}

function securityOptions(privileges: Shown, names: ExportNames): readonly string[] {
  const selinux = part(privileges, "SELinuxContext");
  const labels = ["User", "Role", "Type", "Level"].filter((field) => !isEmpty(selinux[field]));
  const seccomp = part(privileges, "Seccomp")["Mode"];
  if (seccomp === "custom")
    names.warn(
      "a seccomp profile of a service is not in the file: put it into a file of its own and name it in security_opt",
    );
  return [
    ...(privileges["NoNewPrivileges"] === true ? ["no-new-privileges:true"] : []),
    ...(seccomp === "unconfined" ? ["seccomp=unconfined"] : []),
    ...(part(privileges, "AppArmor")["Mode"] === "disabled" ? ["apparmor=unconfined"] : []),
    ...(selinux["Disable"] === true ? ["label=disable"] : []),
    ...labels.map((field) => `label=${field.toLowerCase()}:${String(selinux[field])}`),
  ];
}

function mountOf(mount: Shown, names: ExportNames): Shown {
  const type = String(mount["Type"] ?? "bind");
  const bind = part(mount, "BindOptions");
  const volume = part(mount, "VolumeOptions");
  const tmpfs = part(mount, "TmpfsOptions");
  const isNamed = type === "volume" && !isEmpty(mount["Source"]);
  return (
    filled({
      type,
      source: isNamed ? names.volume(mount) : mount["Source"],
      target: mount["Target"],
      read_only: mount["ReadOnly"],
      consistency: mount["Consistency"],
      bind: filled({
        propagation: bind["Propagation"],
        create_host_path: bind["CreateMountpoint"],
        recursive: recursionOf(bind),
      }),
      volume: filled({
        nocopy: volume["NoCopy"],
        subpath: volume["Subpath"],
        labels: isNamed ? undefined : volume["Labels"],
      }),
      tmpfs: filled({
        size: tmpfs["SizeBytes"],
        mode: tmpfs["Mode"],
        options: ((tmpfs["Options"] ?? []) as readonly (readonly string[])[]).map((option) =>
          option.join("="),
        ),
      }),
      image: filled({ subpath: part(mount, "ImageOptions")["Subpath"] }),
    }) ?? {}
  );
}

function recursionOf(bind: Shown): string | undefined {
  if (bind["NonRecursive"] === true) return "disabled";
  if (bind["ReadOnlyNonRecursive"] === true) return "writable";
  return bind["ReadOnlyForceRecursive"] === true ? "readonly" : undefined;
}

function grantOf(grant: Shown, source: string): Shown {
  const file = part(grant, "File");
  return {
    source,
    target: file["Name"],
    uid: file["UID"] ?? "0",
    gid: file["GID"] ?? "0",
    mode: file["Mode"] ?? 0,
  };
}

function logging(driver: Shown): Shown | undefined {
  return filled({ driver: driver["Name"], options: driver["Options"] });
}

function swap(resources: Shown): number | undefined {
  const bytes = resources["SwapBytes"];
  if (typeof bytes !== "number") return undefined;
  return bytes < 0 ? -1 : bytes + Number(part(resources, "Limits")["MemoryBytes"] ?? 0);
}

function deployOf(spec: Shown): Shown | undefined {
  const task = part(spec, "TaskTemplate");
  const policy = part(task, "RestartPolicy");
  const placement = part(task, "Placement");
  return filled({
    ...modeOf(part(spec, "Mode")),
    labels: withoutStack(part(spec, "Labels")),
    endpoint_mode: part(spec, "EndpointSpec")["Mode"] === "dnsrr" ? "dnsrr" : undefined,
    update_config: updateOf(spec["UpdateConfig"] as Shown | undefined),
    rollback_config: updateOf(spec["RollbackConfig"] as Shown | undefined),
    resources: resourcesOf(part(task, "Resources")),
    restart_policy: filled({
      condition: policy["Condition"],
      delay: time(policy["Delay"]),
      max_attempts: policy["MaxAttempts"],
      window: time(policy["Window"]),
    }),
    placement: filled({
      constraints: placement["Constraints"],
      preferences: parts(placement, "Preferences").map((one) => ({
        spread: part(one, "Spread")["SpreadDescriptor"],
      })),
      max_replicas_per_node: placement["MaxReplicas"],
    }),
  });
}

function modeOf(mode: Shown): Shown {
  if (mode["Global"] !== undefined) return { mode: "global" };
  if (mode["GlobalJob"] !== undefined) return { mode: "global-job" };
  if (mode["ReplicatedJob"] !== undefined)
    return {
      mode: "replicated-job",
      replicas: part(mode, "ReplicatedJob")["TotalCompletions"] ?? 1,
    };
  return { replicas: part(mode, "Replicated")["Replicas"] ?? 1 };
}

function updateOf(update: Shown | undefined): Shown | undefined {
  if (update === undefined) return undefined;
  return filled({
    parallelism: update["Parallelism"] ?? 0,
    delay: time(update["Delay"]),
    failure_action: update["FailureAction"],
    monitor: time(update["Monitor"]),
    max_failure_ratio: update["MaxFailureRatio"],
    order: update["Order"],
  });
}

function resourcesOf(resources: Shown): Shown | undefined {
  const limits = part(resources, "Limits");
  const reservations = part(resources, "Reservations");
  const cpus = (set: Shown) =>
    typeof set["NanoCPUs"] === "number" ? set["NanoCPUs"] / 1e9 : undefined;
  return filled({
    limits: filled({ cpus: cpus(limits), memory: limits["MemoryBytes"], pids: limits["Pids"] }),
    reservations: filled({
      cpus: cpus(reservations),
      memory: reservations["MemoryBytes"],
      generic_resources: parts(reservations, "GenericResources").flatMap((one) => {
        const { Kind: kind, Value: value } = part(one, "DiscreteResourceSpec");
        return kind === undefined ? [] : [{ discrete_resource_spec: { kind, value } }];
      }),
      devices: namedDevices(reservations),
    }),
  });
}

/** Resources by name, a request for each kind. */
function namedDevices(reservations: Shown): readonly Shown[] {
  const named = parts(reservations, "GenericResources")
    .map((one) => part(one, "NamedResourceSpec"))
    .filter(({ Kind }) => Kind !== undefined);
  const kinds = [...new Set(named.map(({ Kind }) => Kind))];
  return kinds.map((kind) => ({
    capabilities: ["gpu"],
    driver: kind,
    device_ids: named.filter(({ Kind }) => Kind === kind).map(({ Value }) => Value),
  }));
}
