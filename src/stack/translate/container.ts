/**
 * `ContainerSpec` of a service. Pure.
 */
import type { ComposeGrant, ComposeHealth, ComposeService } from "../model.ts";
import { durationFrom } from "../units.ts";
import {
  type Body,
  byText,
  objectName,
  present,
  type ServiceContext,
  stackLabels,
} from "./context.ts";
import { extraLabels } from "./extras.ts";
import { mountBodies } from "./mounts.ts";
import { capabilities, privileges } from "./security.ts";

const fileModeDefault = 0o444;

/** A container as its tasks run it. References to secrets and configs have names, the ids are the caller's to fill in. */
export function containerSpec(
  service: ComposeService,
  context: ServiceContext & { readonly readBase64: (path: string, from: string) => string },
): Body {
  const { add, drop } = capabilities(service);
  return present({
    Image: service.image,
    Command: words("entrypoint", service.entrypoint, context),
    Args: words("command", service.command, context),
    Hostname: service.hostname,
    Hosts: some((service.extra_hosts ?? []).map(hostLine)),
    DNSConfig: dns(service),
    Healthcheck: service.healthcheck && health(service.healthcheck, context),
    Env: some(environment(service)),
    Labels: stackLabels(context.stack, { ...service.labels, ...extraLabels(service, context) }),
    Dir: service.working_dir,
    User: service.user,
    Groups: service.group_add,
    Mounts: some(mountBodies(service, context)),
    StopGracePeriod: nanoseconds(service.stop_grace_period),
    StopSignal: service.stop_signal,
    TTY: service.tty,
    OpenStdin: service.stdin_open,
    Secrets: some(grants(service.secrets ?? [], "secret", context)),
    Configs: some(grants(service.configs ?? [], "config", context)),
    ReadOnly: service.read_only,
    Privileges: privileges(service, context),
    Isolation: service.isolation,
    Init: service.init,
    Sysctls: service.sysctls,
    CapabilityAdd: some(add),
    CapabilityDrop: some(drop),
    Ulimits: some(ulimits(service)),
    OomScoreAdj: service.oom_score_adj,
  });
}

/** Nanoseconds of a checked time. */
export function nanoseconds(text: string | undefined): number | undefined {
  return text === undefined ? undefined : durationFrom(text);
}

function some<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}

function words(
  key: "entrypoint" | "command",
  said: readonly string[] | null | undefined,
  context: ServiceContext,
): readonly string[] | undefined {
  if (said === undefined || said === null) return undefined;
  if (said.length === 0)
    context.warn(
      `${context.path}.${key}`,
      `${context.path}.${key} is ignored: a service cannot take away what the image says; name a program`,
    );
  return some(said);
}

/** The API has the address first. */
function hostLine(line: string): string {
  const at = line.indexOf(":");
  return `${line.slice(at + 1)} ${line.slice(0, at)}`;
}

function dns({
  dns: servers,
  dns_search: search,
  dns_opt: options,
}: ComposeService): Body | undefined {
  const found = present({
    Nameservers: some(servers ?? []),
    Search: some(search ?? []),
    Options: some(options ?? []),
  });
  return Object.keys(found).length === 0 ? undefined : found;
}

function health(check: ComposeHealth, context: ServiceContext): Body {
  if (check.disable === true) {
    if ((check.test ?? []).length > 0 && check.test?.[0] !== "NONE")
      throw context.fail(
        `${context.path}.healthcheck`,
        `${context.path}.healthcheck: test and disable can't be set at the same time`,
      );
    return { Test: ["NONE"] };
  }
  return present({
    Test: check.test,
    Interval: nanoseconds(check.interval),
    Timeout: nanoseconds(check.timeout),
    StartPeriod: nanoseconds(check.start_period),
    StartInterval: nanoseconds(check.start_interval),
    Retries: check.retries,
  });
}

function environment(service: ComposeService): string[] {
  return Object.entries(service.environment ?? {})
    .map(([key, value]) => (value === null ? key : `${key}=${value}`))
    .sort(byText);
}

function grants(
  list: readonly ComposeGrant[],
  kind: "secret" | "config",
  context: ServiceContext,
): readonly Body[] {
  const [id, name] =
    kind === "secret"
      ? (["SecretID", "SecretName"] as const)
      : (["ConfigID", "ConfigName"] as const);
  return list
    .map((grant) => ({
      File: {
        Name: grant.target ?? grant.source,
        UID: grant.uid ?? "0",
        GID: grant.gid ?? "0",
        Mode: grant.mode ?? fileModeDefault,
      },
      [id]: "",
      [name]: payloadName(kind, grant.source, context),
    }))
    .sort((one, other) => byText(String(one[name]), String(other[name])));
}

/** The name of a secret or config of the project in the cluster. */
export function payloadName(
  kind: "secret" | "config",
  key: string,
  context: Pick<ServiceContext, "stack" | "model">,
): string {
  const payload = (kind === "secret" ? context.model.secrets : context.model.configs)[key];
  return payload?.external === true
    ? (payload.name ?? key)
    : objectName(context.stack, key, payload?.name);
}

function ulimits(service: ComposeService): readonly Body[] {
  return Object.entries(service.ulimits ?? {})
    .map(([Name, { soft, hard }]) => ({ Name, Hard: hard, Soft: soft }))
    .sort((one, other) => byText(one.Name, other.Name));
}
