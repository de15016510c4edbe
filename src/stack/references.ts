/**
 * What the parts of a project say of each other: names that are there, and no service that waits for itself. Pure.
 */
import { type ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { parseReference } from "../common/registry/reference.ts";
import type { ComposePayload, ComposeProject, ComposeService } from "./model.ts";

/** What checking needs. */
export interface ReferenceContext {
  /** Services of other profiles, too. */
  readonly all: Readonly<Record<string, ComposeService>>;
  readonly fail: (path: string, message: string) => ClusterError;
}

/** @throws ClusterError invalid-argument at the place of the first reference to what is not there. */
export function checkReferences(project: ComposeProject, context: ReferenceContext): void {
  for (const [key, service] of Object.entries(project.services)) {
    const path = `services.${key}`;
    if (!/^[A-Za-z0-9._-]+$/.test(key))
      throw context.fail(path, `services ${key}: a name has letters, digits, ., _ and - alone`);
    checkService(key, service, { project, path, ...context });
  }
  for (const kind of ["secrets", "configs"] as const)
    for (const [key, payload] of Object.entries(project[kind]))
      checkPayload(payload, { path: `${kind}.${key}`, fail: context.fail });
  checkCircles(project.services, context.fail);
}

interface At extends ReferenceContext {
  readonly project: ComposeProject;
  readonly path: string;
}

function checkImage(image: string, { path, fail }: At): void {
  try {
    parseReference(image);
  } catch (error) {
    throw fail(`${path}.image`, `${path}.image: ${errorText(error)}`);
  }
}

function checkService(key: string, service: ComposeService, at: At): void {
  const { project, path, fail } = at;
  if ((service.image ?? "") === "")
    throw fail(path, `invalid image reference for service ${key}: no image specified`);
  checkImage(service.image ?? "", at);
  if (service.network_mode !== undefined && service.networks !== undefined)
    throw fail(
      `${path}.network_mode`,
      `${path} declares mutually exclusive network_mode and networks`,
    );
  for (const name of Object.keys(service.networks ?? {}))
    if (name !== "default" && project.networks[name] === undefined)
      throw fail(
        `${path}.networks.${name}`,
        `undefined network ${JSON.stringify(name)}: ${path} refers to it; declare it under networks`,
      );
  for (const name of service["x-skep-no-alias"] ?? [])
    if (service.networks?.[name] === undefined && name !== "default")
      throw fail(
        `${path}.x-skep-no-alias`,
        `${path}.x-skep-no-alias: the service is not in network ${JSON.stringify(name)}`,
      );
  for (const [i, mount] of (service.volumes ?? []).entries())
    if (
      mount.type === "volume" &&
      mount.source !== undefined &&
      project.volumes[mount.source] === undefined
    )
      throw fail(
        `${path}.volumes[${i}]`,
        `undefined volume ${JSON.stringify(mount.source)}: ${path} refers to it; declare it under volumes`,
      );
  for (const kind of ["secrets", "configs"] as const)
    for (const [i, { source }] of (service[kind] ?? []).entries())
      if (project[kind][source] === undefined)
        throw fail(
          `${path}.${kind}[${i}]`,
          `undefined ${kind.slice(0, -1)} ${JSON.stringify(source)}: ${path} refers to it; declare it under ${kind}`,
        );
  for (const [name, { required }] of Object.entries(service.depends_on ?? {})) {
    if (project.services[name] !== undefined || !required) continue;
    const why =
      at.all[name] === undefined
        ? "undefined service"
        : "a service of a profile that is not chosen:";
    throw fail(
      `${path}.depends_on.${name}`,
      `service ${JSON.stringify(key)} depends on ${why} ${JSON.stringify(name)}`,
    );
  }
}

function checkPayload(payload: ComposePayload, at: Pick<At, "path" | "fail">): void {
  const sources = (["file", "environment", "content", "driver"] as const).filter(
    (source) => payload[source] !== undefined,
  );
  if (payload.external === true) {
    if (sources.length > 0)
      throw at.fail(
        at.path,
        `${at.path}: conflicting parameters "external" and ${JSON.stringify(sources[0])} specified`,
      );
    return;
  }
  if (sources.length !== 1)
    throw at.fail(
      at.path,
      `${at.path}: one of file, environment, content or external has to be given, not ${sources.length === 0 ? "none" : sources.join(" and ")}`,
    );
}

function checkCircles(
  services: Readonly<Record<string, ComposeService>>,
  fail: ReferenceContext["fail"],
): void {
  const done = new Set<string>();
  const visit = (key: string, way: readonly string[]) => {
    if (way.includes(key)) {
      const circle = [...way.slice(way.indexOf(key)), key].join(" -> ");
      throw fail(
        `services.${way.at(-1)}.depends_on.${key}`,
        `dependency cycle detected: ${circle}`,
      );
    }
    if (done.has(key)) return;
    for (const name of Object.keys(services[key]?.depends_on ?? {})) visit(name, [...way, key]);
    for (const text of services[key]?.volumes_from ?? [])
      visit(text.split(":")[0] ?? "", [...way, key]);
    done.add(key);
  };
  for (const key of Object.keys(services)) visit(key, []);
}
