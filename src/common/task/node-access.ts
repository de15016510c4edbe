/**
 * What of its node a task may reach beyond the usual: devices, and everything with privileges. Pure.
 *
 * Docker's API has no words for it in services: services ask by label, and a node gives it only where its operator has
 * allowed that by a label of the node. Nodes go by it, and managers say beforehand what nodes will say.
 */
import type { Task } from "../api/generated/api.ts";
import type { DeviceMapping } from "../container/types.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { type ContainerLabels, containerLabelsOf, reachesNode } from "../spec/container-labels.ts";

/** Label of services and their containers, and with the value `allow` of nodes. */
const privilegedLabel = "skep.privileged";
/** Label of services: `/dev/a`, `/dev/a:/dev/b`, `/dev/a:/dev/b:rwm`, several with commas between; of nodes as above. */
const devicesLabel = "skep.devices";

/** The node that is asked. */
export interface AskedNode {
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Whether the container runs with all privileges. @throws ClusterError permission-denied, invalid-argument */
export function isPrivileged(task: Task, node: AskedNode): boolean {
  const wish = wishOf(task, privilegedLabel);
  if (wish === "" || wish === "false") return false;
  if (wish !== "true") throw bad(privilegedLabel, wish, "give true or false");
  checkAllowed(privilegedLabel, node);
  return true;
}

/** The devices of the container. @throws ClusterError permission-denied, invalid-argument */
export function devicesOf(task: Task, node: AskedNode): DeviceMapping[] {
  const wish = wishOf(task, devicesLabel);
  if (wish === "") return [];
  const devices = wish.split(",").map((text) => deviceFrom(text.trim()));
  checkAllowed(devicesLabel, node);
  return devices;
}

function deviceFrom(text: string): DeviceMapping {
  const [pathOnHost = "", second, third] = text.split(":");
  const isRights = second !== undefined && /^[rwm]+$/.test(second);
  const permissions = (isRights ? second : third) ?? "rwm";
  const pathInContainer = second === undefined || isRights ? pathOnHost : second;
  const arePaths = [pathOnHost, pathInContainer].every((path) => /^\/dev\/./.test(path));
  if (!arePaths || !/^[rwm]{1,3}$/.test(permissions) || text.split(":").length > 3) {
    throw bad(devicesLabel, text, "the form is /dev/NAME[:/dev/NAME][:rwm]");
  }
  return { pathOnHost, pathInContainer, permissions };
}

/**
 * What the labels of the container say besides its spec.
 * @throws ClusterError permission-denied for what reaches beyond the container where the node does not allow privileges
 */
export function extrasOf(task: Task, node: AskedNode): ContainerLabels {
  const extras = containerLabelsOf(task.spec?.container?.labels ?? {});
  if (reachesNode(extras))
    checkAllowed(
      privilegedLabel,
      node,
      "skep.ipc, skep.pid, skep.uts, skep.cgroup, skep.cgroup-parent, skep.annotations or by a hook with privileges",
    );
  if (extras.deviceRules.length > 0) checkAllowed(devicesLabel, node, "skep.device-cgroup-rules");
  return extras;
}

/** Why a node would not give a task what it asks for; empty when it would. */
export function accessRefusal(task: Task, node: AskedNode): string {
  try {
    isPrivileged(task, node);
    devicesOf(task, node);
    extrasOf(task, node);
    return "";
  } catch (error) {
    if (error instanceof ClusterError) return error.message;
    throw error;
  }
}

/** The container's label goes before that of the service. */
function wishOf({ spec, serviceAnnotations }: Task, label: string): string {
  for (const labels of [spec?.container?.labels ?? {}, serviceAnnotations?.labels ?? {}])
    if (Object.hasOwn(labels, label)) return labels[label] ?? "";
  return "";
}

function checkAllowed(label: string, { hostname, labels }: AskedNode, asked = label): void {
  if (Object.hasOwn(labels, label) && labels[label] === "allow") return;
  throw new ClusterError(
    "permission-denied",
    `node ${hostname} does not allow what the service asks for by its label ${asked}: allow it with "docker node update --label-add ${label}=allow ${hostname}", and keep the service to such nodes with the constraint node.labels.${label}==allow`,
  );
}

function bad(label: string, value: string, why: string): ClusterError {
  return new ClusterError("invalid-argument", `label ${label}=${value} of the service: ${why}`);
}
