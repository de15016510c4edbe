/**
 * Where the local volumes of a task are: it goes there, or waits, rather than start with empty ones elsewhere. Pure.
 *
 * A place of a service (its slot) has its volumes on the node where its last task was. A place that had none yet, such as
 * after a stack was removed and deployed again, takes over volumes of that name which no other place of the service has:
 * those that nodes tell of, and those of other services that share them by name. A further replica, for which none is
 * left, may begin anywhere.
 */
import type { Task } from "../../src/common/api/generated/api.ts";
import { localVolumesOf } from "../../src/common/spec/local-volumes.ts";
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

/**
 * Where a task has to go for its volumes; undefined when it may go anywhere.
 *
 * @param placed Tasks that were given a node just now, of which the view does not know yet.
 */
export function homesOf(
  task: Task,
  view: View,
  placed: () => Iterable<Task> = () => [],
): VolumeHomes | undefined {
  const names = localVolumesOf(task.spec);
  const labels = view.get("service", task.serviceId)?.spec?.annotations?.labels ?? {};
  // A task that is for one node already goes there or nowhere.
  if (names.length === 0 || task.nodeId !== "" || labels[volumesLabel] === "anywhere")
    return undefined;
  const nodeIds = volumeNodesOf(task, names, { view, placed });
  return nodeIds.size === 0 ? undefined : { names, nodeIds };
}

/** The nodes that have one of the volumes for the place of a task; none where it would be the first to have it. */
export function volumeNodesOf(
  task: Task,
  names: readonly string[],
  { view, placed = () => [] }: { readonly view: View; readonly placed?: () => Iterable<Task> },
): ReadonlySet<string> {
  const own = lastNodeOf(task, names, view);
  if (own !== undefined) return new Set([own]);
  const nodeIds = new Set<string>();
  for (const { id, description } of view.each("node")) {
    const has = description?.localVolumes ?? [];
    if (names.some((name) => has.includes(name))) nodeIds.add(id);
  }
  const taken = new Set<string>();
  for (const other of [...sharersOf(names, view), ...placed()]) {
    if (other.nodeId === "" || !sharesOne(other, names)) continue;
    if (other.serviceId !== task.serviceId) {
      // What it will have soon, its node does not tell of yet.
      if (isWanted(other) && view.get("node", other.nodeId) !== undefined)
        nodeIds.add(other.nodeId);
    } else if (other.slot !== task.slot && isWanted(other)) taken.add(other.nodeId);
  }
  for (const id of taken) nodeIds.delete(id);
  return nodeIds;
}

/** Tasks of all services that mount one of the volumes. */
function sharersOf(names: readonly string[], view: View): Task[] {
  const services = names.flatMap((name) => view.ids("service", "volume", name));
  return [...new Set(services)].flatMap((id) => view.find("task", "service", id));
}

/**
 * The node of the last task in the same place that had one of the volumes; undefined when it left the cluster. One that was
 * rejected never ran: where it was tried in vain is no home.
 */
function lastNodeOf(task: Task, names: readonly string[], view: View): string | undefined {
  if (task.serviceId === "" || task.slot === 0) return undefined;
  let last: Task | undefined;
  for (const other of view.find("task", "slot", [task.serviceId, task.slot])) {
    if (other.id === task.id || other.nodeId === "" || !sharesOne(other, names)) continue;
    const state = other.status?.state ?? "new";
    if (isBefore(state, "preparing") || state === "rejected") continue;
    if ((other.meta?.createdAtMs ?? 0) >= (last?.meta?.createdAtMs ?? 0)) last = other;
  }
  return last === undefined || view.get("node", last.nodeId) === undefined
    ? undefined
    : last.nodeId;
}

function sharesOne({ spec }: Task, names: readonly string[]): boolean {
  return localVolumesOf(spec).some((name) => names.includes(name));
}
