/**
 * What runs of a stack → a project: reading the file it is printed to gives specs equal to those that run. Pure.
 *
 * Data of secrets is not known to anybody but the tasks: they are named as external, as are configs that are no text.
 */
import { exportedService, filled, part, parts, type Shown } from "./export-service.ts";
import type { ComposeProject } from "./model.ts";
import { namespaceLabel } from "./translate/context.ts";

/** What the API shows of a stack. */
export interface StackState {
  readonly stack: string;
  /** Specs. */
  readonly services: readonly Shown[];
  /** All of the cluster's. */
  readonly networks: readonly Shown[];
  readonly configs: readonly Shown[];
}

/** The project, and what of the stack could not be put into it. */
export function exported(state: StackState): {
  readonly project: ComposeProject;
  readonly warnings: readonly string[];
} {
  const warnings = new Set<string>();
  const sections: Record<"networks" | "volumes" | "secrets" | "configs", Record<string, Shown>> = {
    networks: {},
    volumes: {},
    secrets: {},
    configs: {},
  };
  const keyOf = (name: string) =>
    name.startsWith(`${state.stack}_`) ? name.slice(state.stack.length + 1) : name;
  const networkAt = (target: string) =>
    state.networks.find((one) => one["Id"] === target || one["Name"] === target);
  const names = {
    stack: state.stack,
    warn: (text: string) => warnings.add(text),
    networkName: (target: string) => String(networkAt(target)?.["Name"] ?? target),
    network: (target: string) => {
      const network = networkAt(target);
      const name = String(network?.["Name"] ?? target);
      const key = keyOf(name);
      sections.networks[key] ??= networkOf(network ?? {}, { name, key, stack: state.stack });
      return key;
    },
    volume: (mount: Shown) => {
      const name = String(mount["Source"]);
      const key = keyOf(name);
      sections.volumes[key] ??= volumeOf(mount, { name, key, stack: state.stack });
      return key;
    },
    payload: (kind: "secrets" | "configs", name: string) => {
      const key = keyOf(name);
      const config =
        kind === "configs"
          ? state.configs.find((one) => part(one, "Spec")["Name"] === name)
          : undefined;
      sections[kind][key] ??= payloadOf(config, { name, key, stack: state.stack });
      return key;
    },
  };
  const services = state.services.map((spec) => {
    const key = keyOf(String(spec["Name"]));
    return [key, exportedService(spec, key, names)] as const;
  });
  const project = {
    name: state.stack,
    services: Object.fromEntries(services.sort(([one], [other]) => (one < other ? -1 : 1))),
    ...sections,
  };
  return { project: project as unknown as ComposeProject, warnings: [...warnings] };
}

interface Named {
  readonly name: string;
  readonly key: string;
  readonly stack: string;
}

/** What is said of a thing that is the stack's, with the name if it is not the usual. */
function own(fields: Shown, { name, key, stack }: Named): Shown {
  return { ...(name === `${stack}_${key}` ? {} : { name }), ...(filled(fields) ?? {}) };
}

function withoutStack(labels: Shown): Shown {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key !== namespaceLabel));
}

function networkOf(network: Shown, named: Named): Shown {
  const labels = part(network, "Labels");
  if (labels[namespaceLabel] !== named.stack) return { external: true, name: named.name };
  const ipam = part(network, "IPAM");
  const configs = parts(ipam, "Config").map((config) =>
    filled({
      subnet: config["Subnet"],
      gateway: config["Gateway"],
      ip_range: config["IPRange"],
      aux_addresses: config["AuxiliaryAddresses"],
    }),
  );
  return own(
    {
      driver: network["Driver"],
      driver_opts: withoutVni(part(network, "Options")),
      attachable: network["Attachable"],
      internal: network["Internal"],
      enable_ipv6: network["EnableIPv6"],
      labels: withoutStack(labels),
      ipam: configs.length === 0 ? undefined : { config: configs },
    },
    named,
  );
}

/** The managers choose it. */
function withoutVni(options: Shown): Shown {
  return Object.fromEntries(
    Object.entries(options).filter(([key]) => !key.endsWith("vxlanid_list")),
  );
}

function volumeOf(mount: Shown, named: Named): Shown {
  const options = part(mount, "VolumeOptions");
  const labels = part(options, "Labels");
  if (labels[namespaceLabel] !== named.stack) return { external: true, name: named.name };
  const driver = part(options, "DriverConfig");
  return own(
    { driver: driver["Name"], driver_opts: driver["Options"], labels: withoutStack(labels) },
    named,
  );
}

function payloadOf(config: Shown | undefined, named: Named): Shown {
  const spec = part(config ?? {}, "Spec");
  const labels = part(spec, "Labels");
  const data = Buffer.from(String(spec["Data"] ?? ""), "base64");
  const isText = Buffer.from(data.toString()).equals(data);
  if (labels[namespaceLabel] !== named.stack || !isText)
    return { external: true, name: named.name };
  return {
    ...own(
      { labels: withoutStack(labels), template_driver: part(spec, "Templating")["Name"] },
      named,
    ),
    content: data.toString(),
  };
}
