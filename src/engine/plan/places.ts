/**
 * Where new tasks of a plan go, and what they need there that only the nodes themselves can tell. Pure.
 */
import type { Mount, Node, Platform, Service, TaskSpec } from "../../common/api/generated/api.ts";
import type { PortName } from "../../common/container/data-path.ts";
import type { RegistryAuth } from "../../common/container/images.ts";
import { allowsEmulation, platformText } from "../../common/platform/match.ts";
import { registryAuthOf } from "../../common/registry/registry-auth.ts";
import type { ClusterPlan } from "../../common/spec/cluster-plan.ts";
import type { ObjectView } from "../ports.ts";
import type { VolumeWish } from "./held.ts";

/** One image for one kind of node. */
export interface Lot {
  readonly image: string;
  readonly auth: RegistryAuth | undefined;
  readonly platforms: readonly Platform[];
  readonly emulated: boolean;
}

/** Tasks of one service that go to one node, with what they need there. */
export interface Place {
  readonly lot: Lot;
  readonly key: string;
  readonly nodeId: string;
  readonly serviceId: string;
  readonly service: string;
  readonly paths: readonly string[];
  readonly volumes: readonly VolumeWish[];
  readonly ports: readonly PortName[];
}

/** Where the tasks of a plan go. */
export function placesOf(plan: ClusterPlan, view: ObjectView): Place[] {
  const places = new Map<string, Place>();
  for (const { id, name, task, tasks } of plan.services) {
    const image = task?.container?.image ?? "";
    if (task === undefined || image === "") continue;
    const service = view.get("service", id);
    const labels = service?.spec?.annotations?.labels;
    const auth = authOf(task);
    for (const nodeId of new Set(tasks.map(({ to }) => to))) {
      const node = nodeId === "" ? undefined : view.get("node", nodeId);
      if (node === undefined) continue;
      const platforms = platformsOf(node);
      const emulated = allowsEmulation(labels) || allowsEmulation(node.spec?.annotations?.labels);
      const lot = { image, auth, platforms, emulated };
      const runs = platforms.map((one) => `${platformText(one)}${one.emulated ? "*" : ""}`);
      const key = JSON.stringify([image, runs, emulated]);
      const paths = pathsOf(task, labels ?? {});
      const needs = { paths, volumes: volumesOf(task), ports: hostPortsOf(service) };
      places.set(`${id} ${nodeId}`, { lot, key, nodeId, serviceId: id, service: name, ...needs });
    }
  }
  return [...places.values()];
}

function platformsOf({ description }: Node): readonly Platform[] {
  const { platforms = [], platform } = description ?? {};
  return platforms.length === 0 && platform !== undefined ? [platform] : platforms;
}

function authOf({ container }: TaskSpec): RegistryAuth | undefined {
  try {
    return registryAuthOf(container?.pull?.registryAuth ?? "");
  } catch {
    // What cannot be read is nobody's credentials: the agents will say so.
    return undefined;
  }
}

/** Files of the node that the task cannot do without. */
function pathsOf(
  { container }: TaskSpec,
  labels: Readonly<Record<string, string>>,
): readonly string[] {
  const devices = container?.labels["skep.devices"] ?? labels["skep.devices"] ?? "";
  return [
    ...(container?.mounts ?? []).filter(isNeeded).map(({ source }) => source),
    ...devices.split(",").flatMap((text) => text.trim().split(":")[0] || []),
  ];
}

function isNeeded({ type, source, bind }: Mount): boolean {
  return type === "bind" && bind?.createMountpoint !== true && !source.includes("{{");
}

function volumesOf({ container }: TaskSpec): readonly VolumeWish[] {
  return (container?.mounts ?? []).flatMap(({ type, source: name, volume }) => {
    const { name: driver = "", options = {} } = volume?.driver ?? {};
    // The node fills placeholders in: what it has is not what stands here.
    const isPlain = !`${name} ${Object.values(options)}`.includes("{{");
    return type === "volume" && name !== "" && isPlain ? [{ name, driver, options }] : [];
  });
}

/** What the service publishes on the nodes of its tasks; the mesh leads to its ports past whoever listens there. */
function hostPortsOf(service: Service | undefined): readonly PortName[] {
  const ports = service?.endpoint?.ports ?? [];
  return ports
    .filter(({ publishMode, publishedPort }) => publishMode === "host" && publishedPort > 0)
    .map(({ protocol, publishedPort: port }) => ({ protocol, port }));
}

/** Equal for equal wishes. */
export function wishKey(wish: object): string {
  return JSON.stringify(wish);
}
