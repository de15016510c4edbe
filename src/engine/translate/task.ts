/**
 * Tasks as the API shows them. Pure; read-only, users never write tasks.
 */
import type { Network, Task, TaskStatus } from "../../common/api/generated/api.ts";
import { shownPlace, shownSlot } from "../../common/task/place.ts";
import {
  annotationsToJson,
  genericToJson,
  type Json,
  listOrNothing,
  metaToJson,
  numberOrNothing,
  textOrNothing,
  timeToJson,
} from "./common.ts";
import { networkOfTaskToJson } from "./network.ts";
import { portToJson } from "./service.ts";
import { taskSpecToJson } from "./task-spec.ts";

/** @param networkById Finds the networks a task is attached to; an unknown one shows its id only. */
export function taskToJson(task: Task, networkById: (id: string) => Network | undefined): Json {
  return {
    ID: task.id,
    ...metaToJson(task.meta),
    ...annotationsToJson(task.annotations),
    Spec: taskSpecToJson(task.spec, false),
    ServiceID: textOrNothing(task.serviceId),
    Slot: numberOrNothing(shownSlot(task) ?? 0),
    NodeID: textOrNothing(task.nodeId),
    Status: statusToJson(shownStatus(task)),
    DesiredState: task.desiredState,
    NetworksAttachments: listOrNothing(
      task.networks.map((attachment) => ({
        Network: networkOfTaskToJson(attachment.networkId, networkById(attachment.networkId)),
        Addresses: listOrNothing(attachment.addresses),
      })),
    ),
    GenericResources: genericToJson(task.assignedGeneric),
    JobIteration:
      task.jobIteration === undefined ? undefined : { Index: numberOrNothing(task.jobIteration) },
    Volumes: listOrNothing(
      task.volumes.map((v) => ({
        ID: textOrNothing(v.id),
        Source: textOrNothing(v.source),
        Target: textOrNothing(v.target),
      })),
    ),
  };
}

/** `service.slot.id`, with the node id in place of the slot for global services. */
export function taskName(task: Task): string {
  if (task.annotations !== undefined && task.annotations.name !== "") return task.annotations.name;
  return `${task.serviceAnnotations?.name ?? ""}.${shownPlace(task)}.${task.id}`;
}

/** What the agent says of the task, unless the managers have rejected it meanwhile. */
function shownStatus({ status, rejection }: Task): TaskStatus | undefined {
  if (rejection === undefined) return status;
  return { ...rejection, container: status?.container };
}

function statusToJson(status: TaskStatus | undefined): Json {
  const container = status?.container;
  return {
    Timestamp: timeToJson(status?.timestampMs ?? 0),
    State: status?.state ?? "new",
    Message: textOrNothing(status?.message ?? ""),
    Err: textOrNothing(status?.error ?? ""),
    ContainerStatus: container && {
      ContainerID: container.containerId,
      PID: container.pid,
      ExitCode: container.exitCode,
    },
    PortStatus: { Ports: listOrNothing((status?.portStatus?.ports ?? []).map(portToJson)) },
  };
}
