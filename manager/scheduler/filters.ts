/**
 * Which nodes can run a group of tasks at all: the filters, in Docker's order and with its explanations. Pure.
 */
import type { Node, TaskSpec } from "../../src/common/api/generated/api.ts";
import { nodeRunsImage } from "../../src/common/platform/match.ts";
import { nodeMatcher } from "../constraint/match.ts";
import { parseConstraints } from "../constraint/parse.ts";
import { explainPlatforms, namedMax, nodesText, onNodes } from "./explain.ts";
import { explainResources } from "./explain-resources.ts";
import type { Group } from "./group.ts";
import { volumesLabel } from "./homes.ts";
import type { NodeInfo } from "./node-info.ts";
import type { NodeSet } from "./node-set.ts";

/** One reason why a node may not do. */
export interface Filter {
  readonly passes: (info: NodeInfo) => boolean;
  /** What users read about the nodes that did not pass. */
  readonly explain: (nodes: readonly NodeInfo[]) => string;
}

/** The filters that apply to a group, those of Docker in its order. */
export function filtersOf(group: Group, nodes: NodeSet): readonly Filter[] {
  return [
    ready,
    resources(group),
    plugins(group),
    constraints(group),
    platform(group),
    hostPorts(group),
    maxReplicas(group, nodes),
    volumes(group),
    localVolumes(group, nodes),
  ].filter((filter) => filter !== undefined);
}

/** Whether a node passes all of them. */
export function passesAll(filters: readonly Filter[], info: NodeInfo): boolean {
  for (const filter of filters) if (!filter.passes(info)) return false;
  return true;
}

/** Why none of the nodes will do: `no suitable node (...)`, most frequent reasons first. */
export function explainNodes(filters: readonly Filter[], nodes: readonly NodeInfo[]): string {
  const failed = filters.map((filter) => ({ filter, nodes: [] as NodeInfo[] }));
  for (const info of nodes) {
    failed.find(({ filter }) => !filter.passes(info))?.nodes.push(info);
  }
  const texts = failed
    .filter((one) => one.nodes.length > 0)
    .sort((a, b) => b.nodes.length - a.nodes.length)
    .map((one) => one.filter.explain(one.nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1))));
  return texts.length === 0 ? "no suitable node" : `no suitable node (${texts.join("; ")})`;
}

const ready: Filter = {
  passes: (info) => info.isReady,
  explain: (nodes) => `${nodesText(nodes.length)} not available for new tasks`,
};

function resources({ reserved }: Group): Filter | undefined {
  if (reserved === undefined) return undefined;
  const { nanoCpus, memoryBytes, generic } = reserved;
  return {
    passes: (info) =>
      (nanoCpus <= 0 || info.totalCpus - info.usedCpus >= nanoCpus) &&
      (memoryBytes <= 0 || info.totalMemory - info.usedMemory >= memoryBytes) &&
      (generic.length === 0 || info.generic.has(generic)),
    explain: (nodes) => explainResources(reserved, nodes),
  };
}

/** Log drivers, and the driver of volumes, that every node has. */
const builtIn: ReadonlySet<string> = new Set(["", "local", "none", "json-file"]);

function plugins({ spec, networkDrivers }: Group): Filter | undefined {
  const wanted = [
    ...volumeDrivers(spec).map((name) => ({ type: "Volume", name })),
    ...networkDrivers.map((name) => ({ type: "Network", name })),
    { type: "Log", name: spec.logDriver?.name ?? "" },
  ].filter(({ name }) => !builtIn.has(name));
  if (wanted.length === 0) return undefined;
  return {
    passes: ({ node }) => wanted.every(({ type, name }) => hasPlugin(node, type, name)),
    explain: (nodes) => onNodes("missing plugin", nodes.length),
  };
}

function volumeDrivers({ container }: TaskSpec): string[] {
  return (container?.mounts ?? [])
    .filter(({ type }) => type === "volume")
    .map(({ volume }) => volume?.driver?.name ?? "");
}

/** A node that names no plugin of the type does not tell: its agent will. */
function hasPlugin(node: Node, type: string, name: string): boolean {
  const known = (node.description?.engine?.plugins ?? []).filter(
    (plugin) => plugin.type.toLowerCase() === type.toLowerCase(),
  );
  return (
    known.length === 0 ||
    known.some((plugin) => plugin.name === name || plugin.name === `${name}:latest`)
  );
}

function constraints({ spec }: Group): Filter | undefined {
  const expressions = spec.placement?.constraints ?? [];
  if (expressions.length === 0) return undefined;
  const matches = matcherOf(expressions);
  return {
    passes: (info) => matches(info.node),
    explain: (nodes) => onNodes("scheduling constraints not satisfied", nodes.length),
  };
}

function matcherOf(expressions: readonly string[]): (node: Node) => boolean {
  try {
    return nodeMatcher(parseConstraints(expressions));
  } catch {
    // Control refuses what does not parse; an older version's spec that got in must not stop the others.
    return () => false;
  }
}

/**
 * The platforms of the image's index, with variants; those of the spec besides, which the docker client makes of an older
 * look at the same index, without variants and with 32-bit ARM blanked; and what agents found out.
 */
function platform(group: Group): Filter | undefined {
  const { image, spec, mayEmulate } = group;
  const lists = [image.platforms, spec.placement?.platforms ?? []].filter((l) => l.length > 0);
  const answers = new Map<string, boolean>();
  const runs = (info: NodeInfo) => {
    let answer = answers.get(info.platformKey);
    if (answer === undefined) {
      const options = { emulated: mayEmulate || info.mayEmulate };
      answer = lists.every((list) => nodeRunsImage(info.platforms, list, options));
      answers.set(info.platformKey, answer);
    }
    return answer;
  };
  return {
    passes: (info) => runs(info) && !info.hasRefused(image.reference, image.digest),
    explain: (nodes) => explainPlatforms(group, nodes),
  };
}

function hostPorts({ hostPorts: ports }: Group): Filter | undefined {
  if (ports.length === 0) return undefined;
  return {
    passes: (info) => !info.hasPort(ports),
    explain: (nodes) => onNodes("host-mode port already in use", nodes.length),
  };
}

function maxReplicas({ spec, serviceId }: Group, nodes: NodeSet): Filter | undefined {
  const max = spec.placement?.maxReplicas ?? 0;
  if (max <= 0) return undefined;
  return {
    passes: (info) => (nodes.tasksOf(serviceId).get(info) ?? 0) < max,
    explain: () => "max replicas per node limit exceed",
  };
}

function localVolumes({ homes }: Group, all: NodeSet): Filter | undefined {
  if (homes === undefined) return undefined;
  const { names, nodeIds } = homes;
  return {
    passes: ({ id }) => nodeIds.has(id),
    explain: (nodes) => {
      const where = [...nodeIds].map((id) => all.get(id)?.name ?? id).sort();
      const more = where.length > namedMax ? `, ${where.length - namedMax} more` : "";
      const what = `local volume${names.length > 1 ? "s" : ""} ${names.join(", ")}`;
      return (
        `${onNodes(`no ${what}`, nodes.length)}: it is on ${where.slice(0, namedMax).join(", ")}${more}` +
        ` (the label ${volumesLabel}=anywhere on the service lets it start empty)`
      );
    },
  };
}

function volumes({ volumes: wanted }: Group): Filter | undefined {
  if (wanted.length === 0) return undefined;
  return {
    passes: (info) =>
      wanted.every((choices) =>
        choices.some(
          (volume) =>
            !volume.pendingDelete &&
            (volume.spec?.availability ?? "active") === "active" &&
            volume.nodeIds.includes(info.id),
        ),
      ),
    explain: (nodes) => onNodes("cannot fulfill requested CSI volume mounts", nodes.length),
  };
}
