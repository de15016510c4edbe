/**
 * Where the local volumes of a task are: it goes there, or waits, rather than start with empty ones elsewhere. Pure.
 *
 * A place of a service (its slot) has its volumes on the node where its last task was. A place that had none yet, such as
 * after a stack was removed and deployed again, takes over volumes of that name which no other place of the service has; a
 * further replica, for which none is left, may begin anywhere.
 */
import type { Task, TaskSpec } from "../../src/common/api/generated/api.ts";
import { isBefore } from "../../src/common/task/state.ts";
import type { View } from "../state/view.ts";
import { isWanted } from "./node-info.ts";

/** Label of a service whose tasks may start with empty volumes on any node. */
export const volumesLabel = "skep.volumes";

/** Volumes of a task, and the nodes that have them. */
export interface VolumeHomes {
  readonly names: readonly string[];
  readonly nodeIds: ReadonlySet<string>;
}

/** Names of the volumes of the driver local that a spec mounts, sorted; what placeholders stand for is not known before. */
export function localVolumesOf(spec: TaskSpec | undefined): string[] {
  const names = (spec?.container?.mounts ?? []).flatMap(({ type, source, volume }) => {
    const driver = volume?.driver?.name ?? "";
    const isLocal = type === "volume" && (driver === "" || driver === "local");
    return isLocal && source !== "" && !source.includes("{{") ? source : [];
  });
  return [...new Set(names)].sort();
}

/** Where a task has to go for its volumes; undefined when it may go anywhere. */
export function homesOf(task: Task, view: View): VolumeHomes | undefined {
  const names = localVolumesOf(task.spec);
  const labels = view.get("service", task.serviceId)?.spec?.annotations?.labels ?? {};
  // A task that is for one node already goes there or nowhere.
  if (names.length === 0 || task.nodeId !== "" || labels[volumesLabel] === "anywhere")
    return undefined;
  const own = lastNodeOf(task, names, view);
  if (own !== undefined) return { names, nodeIds: new Set([own]) };
  const taken = new Set(
    view
      .find("task", "service", task.serviceId)
      .filter((other) => other.slot !== task.slot && isWanted(other) && sharesOne(other, names))
      .map(({ nodeId }) => nodeId),
  );
  const nodeIds = new Set<string>();
  for (const { id, description } of view.each("node")) {
    const has = description?.localVolumes ?? [];
    if (!taken.has(id) && names.some((name) => has.includes(name))) nodeIds.add(id);
  }
  return nodeIds.size === 0 ? undefined : { names, nodeIds };
}

/** The node of the last task in the same place that had one of the volumes; undefined when it left the cluster. */
function lastNodeOf(task: Task, names: readonly string[], view: View): string | undefined {
  if (task.serviceId === "" || task.slot === 0) return undefined;
  let last: Task | undefined;
  for (const other of view.find("task", "slot", [task.serviceId, task.slot])) {
    if (other.id === task.id || other.nodeId === "" || !sharesOne(other, names)) continue;
    if (isBefore(other.status?.state ?? "new", "preparing")) continue;
    if ((other.meta?.createdAtMs ?? 0) >= (last?.meta?.createdAtMs ?? 0)) last = other;
  }
  return last === undefined || view.get("node", last.nodeId) === undefined
    ? undefined
    : last.nodeId;
}

function sharesOne({ spec }: Task, names: readonly string[]): boolean {
  return localVolumesOf(spec).some((name) => names.includes(name));
}
