/**
 * Ports and networks of a service. Pure.
 */
import { macAddressOption } from "../../common/spec/mac-address.ts";
import type { ComposeAttachment, ComposePort, ComposeService } from "../model.ts";
import { type Body, byText, objectName, present, type ServiceContext } from "./context.ts";

/** `EndpointSpec`. @throws ClusterError at the place of a port that cannot be. */
export function endpointSpec(service: ComposeService, context: ServiceContext): Body {
  const ports = (service.ports ?? []).map((port, i) =>
    portConfig(port, `${context.path}.ports[${i}]`, context),
  );
  const byNumber = (one: Body, other: Body) =>
    Number(one["PublishedPort"] ?? 0) - Number(other["PublishedPort"] ?? 0);
  return present({
    Mode: service.deploy?.endpoint_mode,
    Ports: ports.length === 0 ? undefined : ports.sort(byNumber),
  });
}

function portConfig(port: ComposePort, path: string, context: ServiceContext): Body {
  const { published } = port;
  if (published?.includes("-") === true)
    throw context.fail(
      path,
      `${path}: one port of the range ${published} cannot be chosen; name one, or leave it out for a free one`,
    );
  return present({
    Name: port.name,
    Protocol: port.protocol,
    TargetPort: port.target,
    PublishedPort: published === undefined ? undefined : Number(published),
    PublishMode: port.mode,
  });
}

/** What is spoken at the ports, for programs that read labels: `80/tcp=http,443/tcp=https`. */
export function protocolLabels({ ports = [] }: ComposeService): Record<string, string> {
  const said = ports.flatMap(({ target, protocol, app_protocol: own }) =>
    own === undefined ? [] : [`${target}/${protocol}=${own}`],
  );
  return said.length === 0 ? {} : { "skep.publish.app-protocols": said.join(",") };
}

/** The one address of the host at which the ports answer; empty for all. @throws ClusterError when they are several. */
export function publishAddress(service: ComposeService, context: ServiceContext): string {
  const ports = service.ports ?? [];
  const addresses = new Set(
    ports.map(({ host_ip: address = "" }) =>
      address === "0.0.0.0" || address === "::" ? "" : address,
    ),
  );
  if (addresses.size > 1)
    throw context.fail(
      `${context.path}.ports`,
      `${context.path}.ports: all ports of a service answer at the same address of the host, not at ${[...addresses].map((address) => address || "all").join(" and ")}`,
    );
  return [...addresses][0] ?? "";
}

/** Networks as a task is in them. @throws ClusterError for modes that share what other containers have. */
export function attachments(service: ComposeService, context: ServiceContext): readonly Body[] {
  const { network_mode: mode } = service;
  if (mode !== undefined && mode !== "bridge" && mode !== "default") {
    if (mode === "host" || mode === "none") return [{ Target: mode }];
    throw context.fail(
      `${context.path}.network_mode`,
      `${context.path}.network_mode ${JSON.stringify(mode)} is not supported: containers of other services may be on other nodes; use networks`,
    );
  }
  const joined = service.networks ?? {};
  const names: Record<string, ComposeAttachment> =
    Object.keys(joined).length === 0 ? { default: {} } : joined;
  const priority = (name: string) => names[name]?.priority ?? 0;
  // The first network is the one of eth0 in the container, and what has one place only is of it.
  const sorted = Object.keys(names).sort(
    (one, other) =>
      priority(other) - priority(one) ||
      byText(networkName(one, context), networkName(other, context)),
  );
  return sorted.map((name, position) => {
    const mac = position === 0 ? service.mac_address : undefined;
    const own = mac === undefined ? {} : { mac_address: mac };
    return attachmentBody(name, { ...own, ...names[name] }, { service, ...context });
  });
}

function attachmentBody(
  name: string,
  attachment: ComposeAttachment,
  context: ServiceContext & { readonly service: ComposeService },
): Body {
  const target = networkName(name, context);
  const unnamed = context.service["x-skep-no-alias"] ?? [];
  const isNamed = hasNames(target) && !unnamed.includes(name);
  const { mac_address: mac, driver_opts: options } = attachment;
  if (mac !== undefined && hasSeveralTasks(context.service)) {
    const path = `${context.path}.networks.${name}`;
    throw context.fail(path, `${path}: several tasks cannot have one mac_address`);
  }
  return present({
    Target: target,
    Aliases: isNamed ? [...(attachment.aliases ?? []), context.key] : attachment.aliases,
    DriverOpts: mac === undefined ? options : { ...options, [macAddressOption]: mac },
  });
}

/** Whether containers have names in a network; not in those of the node itself. @param target Its name in the cluster. */
export function hasNames(target: string): boolean {
  return !["host", "none", "bridge", "default"].includes(target);
}

/** The name of a network of the project in the cluster. */
export function networkName(key: string, context: Pick<ServiceContext, "stack" | "model">): string {
  const network = context.model.networks[key];
  if (network?.external === true) return network.name ?? key;
  return objectName(context.stack, key, network?.name);
}

function hasSeveralTasks({ deploy, scale }: ComposeService): boolean {
  const tasks = deploy?.replicas ?? scale ?? 1;
  return tasks > 1 || (deploy?.mode ?? "replicated") !== "replicated";
}

/** Labels that give a service of one task its fixed addresses. @throws ClusterError for services of several tasks. */
export function addressLabels(
  service: ComposeService,
  context: ServiceContext,
): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [name, { ipv4_address: four, ipv6_address: six }] of Object.entries(
    service.networks ?? {},
  )) {
    const addresses = [four, six].filter((address) => address !== undefined);
    if (addresses.length === 0) continue;
    const path = `${context.path}.networks.${name}`;
    if (hasSeveralTasks(service))
      throw context.fail(
        path,
        `${path}: several tasks cannot have one address; give each slot its own by deploy.labels skep.address.<network>.<slot>`,
      );
    labels[`skep.address.${networkName(name, context)}.1`] = addresses.join(",");
  }
  return labels;
}
