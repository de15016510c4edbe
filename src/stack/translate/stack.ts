/**
 * A whole project → what has to be in the cluster: networks, secrets, configs and services, as bodies of the Engine API.
 * Pure but for the files that payloads are in.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import type { Warning } from "../files.ts";
import type { ComposeDependency, ComposeNetwork, ComposePayload } from "../model.ts";
import type { Project } from "../project.ts";
import { payloadName } from "./container.ts";
import {
  type Body,
  objectName,
  present,
  type ServiceContext,
  type StackContext,
  stackLabels,
} from "./context.ts";
import { networkName } from "./endpoint.ts";
import { serviceBody } from "./service.ts";

/** An object to be made. */
export interface StackObject {
  readonly key: string;
  readonly name: string;
  readonly body: Body;
}

/** A service to be made, and after which others. */
export interface StackService extends StackObject {
  readonly image: string;
  /** Whether the registry is asked for the image's digest. */
  readonly resolvesImage: boolean;
  /** By key. */
  readonly dependsOn: Readonly<Record<string, ComposeDependency>>;
}

/** Everything of one stack. */
export interface StackSpecs {
  readonly stack: string;
  readonly networks: readonly StackObject[];
  /** Names of networks that have to be there. */
  readonly externalNetworks: readonly string[];
  readonly secrets: readonly StackObject[];
  readonly configs: readonly StackObject[];
  /** Those that others depend on first. */
  readonly services: readonly StackService[];
  readonly warnings: readonly Warning[];
}

/** @throws ClusterError invalid-argument with the place of what cannot be. */
export function stackSpecs(project: Project): StackSpecs {
  const { model, name: stack, fail } = project;
  const warnings: Warning[] = [];
  const context: StackContext = {
    stack,
    model,
    fail,
    warn: (path, text) => warnings.push({ place: project.placeOf(path), text }),
  };
  const services = inOrder(model.services).map((key) => stackService(key, project, context));
  const used = usedNetworks(project);
  const isExternal = (key: string) => model.networks[key]?.external === true;
  return {
    stack,
    networks: used
      .filter((key) => !isExternal(key))
      .map((key) => networkObject(key, model.networks[key] ?? {}, context)),
    externalNetworks: used.filter(isExternal).map((key) => networkName(key, context)),
    secrets: payloads("secrets", project, context),
    configs: payloads("configs", project, context),
    services,
    warnings,
  };
}

function stackService(key: string, project: Project, context: StackContext): StackService {
  const service = project.model.services[key] ?? {};
  const path = `services.${key}`;
  const readBase64 = (at: string, from: string) =>
    readable(at, project, () => project.files.readBase64(project.files.resolve("", from)));
  const serviceContext: ServiceContext & { readBase64: typeof readBase64 } = {
    ...context,
    key,
    path,
    readBase64,
  };
  const policy = service.pull_policy ?? "always";
  return {
    key,
    name: objectName(context.stack, key),
    body: serviceBody(service, serviceContext),
    image: service.image ?? "",
    resolvesImage: !["never", "missing", "if_not_present"].includes(policy),
    dependsOn: Object.fromEntries(
      Object.entries(service.depends_on ?? {}).filter(
        ([name]) => project.model.services[name] !== undefined,
      ),
    ),
  };
}

/** Each after those it depends on, else as in the file. */
function inOrder(services: Project["model"]["services"]): readonly string[] {
  const done = new Set<string>();
  const visit = (key: string) => {
    if (done.has(key) || services[key] === undefined) return;
    for (const name of Object.keys(services[key].depends_on ?? {})) visit(name);
    for (const text of services[key].volumes_from ?? []) visit(text.split(":")[0] ?? "");
    done.add(key);
  };
  for (const key of Object.keys(services)) visit(key);
  return [...done];
}

/** Networks that services are in; others are not made, as with the stock client. */
function usedNetworks({ model }: Project): readonly string[] {
  const used = new Set<string>();
  for (const service of Object.values(model.services)) {
    const names = Object.keys(service.networks ?? {});
    const mode = service.network_mode;
    if (names.length === 0 && (mode === undefined || mode === "bridge" || mode === "default"))
      used.add("default");
    for (const name of names) used.add(name);
  }
  return [...used];
}

function networkObject(key: string, network: ComposeNetwork, context: StackContext): StackObject {
  const name = networkName(key, context);
  const { ipam } = network;
  const hasIpam =
    ipam !== undefined &&
    (ipam.driver !== undefined || (ipam.config ?? []).length > 0 || ipam.options !== undefined);
  const body = present({
    Name: name,
    Driver: network.driver ?? "overlay",
    Options: network.driver_opts,
    Internal: network.internal ?? false,
    Attachable: network.attachable ?? false,
    EnableIPv6: network.enable_ipv6,
    Labels: stackLabels(context.stack, network.labels),
    IPAM: hasIpam
      ? present({
          Driver: ipam.driver,
          Options: ipam.options,
          Config: (ipam.config ?? []).map((config) =>
            present({
              Subnet: config.subnet,
              IPRange: config.ip_range,
              Gateway: config.gateway,
              AuxiliaryAddresses: config.aux_addresses,
            }),
          ),
        })
      : undefined,
  });
  return { key, name, body };
}

function payloads(
  kind: "secrets" | "configs",
  project: Project,
  context: StackContext,
): readonly StackObject[] {
  return Object.entries(project.model[kind])
    .filter(([, payload]) => payload.external !== true)
    .map(([key, payload]) => {
      const path = `${kind}.${key}`;
      const name = payloadName(kind === "secrets" ? "secret" : "config", key, context);
      const body = present({
        Name: name,
        Labels: stackLabels(context.stack, payload.labels),
        Data: payload.driver === undefined ? dataOf(payload, path, project) : undefined,
        Driver:
          payload.driver === undefined
            ? undefined
            : present({ Name: payload.driver, Options: payload.driver_opts }),
        Templating:
          payload.template_driver === undefined ? undefined : { Name: payload.template_driver },
      });
      return { key, name, body };
    });
}

/** As base64. */
function dataOf(payload: ComposePayload, path: string, project: Project): string {
  const { file, environment, content } = payload;
  if (content !== undefined) return Buffer.from(content).toString("base64");
  if (environment !== undefined) {
    const value = project.variable(environment);
    if (value === undefined)
      throw project.fail(
        path,
        `${path}: environment variable ${JSON.stringify(environment)} required is not set`,
      );
    return Buffer.from(value).toString("base64");
  }
  return readable(path, project, () => project.files.readBase64(file ?? ""));
}

function readable(path: string, project: Project, read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    throw project.fail(path, `${path}: ${error.message}`);
  }
}
