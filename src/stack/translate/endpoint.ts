/**
 * Ports and networks of a service. Pure.
 */
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
  if (port.app_protocol !== undefined)
    context.warn(
      `${path}.app_protocol`,
      `${path}.app_protocol is ignored: connections are passed on without a look into them`,
    );
  return present({
    Name: port.name,
    Protocol: port.protocol,
    TargetPort: port.target,
    PublishedPort: published === undefined ? undefined : Number(published),
    PublishMode: port.mode,
  });
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
  const names = Object.keys(joined).length === 0 ? { default: {} } : joined;
  return Object.entries(names)
    .map(([name, attachment]) => attachmentBody(name, attachment, context))
    .sort((one, other) => byText(String(one["Target"]), String(other["Target"])));
}

function attachmentBody(
  name: string,
  attachment: ComposeAttachment,
  context: ServiceContext,
): Body {
  const target = networkName(name, context);
  const isOwn = !["host", "none", "bridge", "default"].includes(target);
  if (attachment.priority !== undefined)
    context.warn(
      `${context.path}.networks.${name}.priority`,
      `${context.path}.networks.${name}.priority is ignored: networks of a task are in the order of their names`,
    );
  return present({
    Target: target,
    Aliases: isOwn ? [...(attachment.aliases ?? []), context.key] : attachment.aliases,
    DriverOpts: attachment.driver_opts,
  });
}

/** The name of a network of the project in the cluster. */
export function networkName(key: string, context: Pick<ServiceContext, "stack" | "model">): string {
  const network = context.model.networks[key];
  if (network?.external === true) return network.name ?? key;
  return objectName(context.stack, key, network?.name);
}

/** Labels that give a service of one task its fixed addresses. @throws ClusterError for services of several tasks. */
export function addressLabels(
  service: ComposeService,
  context: ServiceContext,
): Record<string, string> {
  const labels: Record<string, string> = {};
  const { deploy } = service;
  const tasks = deploy?.replicas ?? service.scale ?? 1;
  for (const [name, { ipv4_address: four, ipv6_address: six }] of Object.entries(
    service.networks ?? {},
  )) {
    const addresses = [four, six].filter((address) => address !== undefined);
    if (addresses.length === 0) continue;
    const path = `${context.path}.networks.${name}`;
    if (tasks > 1 || (deploy?.mode ?? "replicated") !== "replicated")
      throw context.fail(
        path,
        `${path}: several tasks cannot have one address; give each slot its own by deploy.labels skep.address.<network>.<slot>`,
      );
    labels[`skep.address.${networkName(name, context)}.1`] = addresses.join(",");
  }
  return labels;
}
