/**
 * Whether a task is what its service wants now. Pure; shared by the API's progress filter and the orchestrators.
 */
import { EndpointSpec, type Service, type Task, TaskSpec } from "../api/generated/api.ts";

/**
 * Whether the task was made from another spec than the service has, in a way that calls for a new task: placement and
 * registry credentials do not, as they do not change what runs (docker-facts 1.8).
 */
export function isTaskDirty(service: Service, task: Task): boolean {
  if (task.specVersion !== undefined && task.specVersion === service.specVersion) return false;
  const wanted = service.spec?.task ?? TaskSpec.create();
  const has = task.spec ?? TaskSpec.create();
  if (!sameBytes(TaskSpec.encode(comparable(wanted)), TaskSpec.encode(comparable(has))))
    return true;
  const endpoint = service.spec?.endpoint ?? EndpointSpec.create();
  const hasEndpoint = task.endpoint?.spec ?? EndpointSpec.create();
  return !sameBytes(EndpointSpec.encode(endpoint), EndpointSpec.encode(hasEndpoint));
}

function comparable(spec: TaskSpec): TaskSpec {
  const container = spec.container && { ...spec.container, pull: undefined };
  return { ...spec, placement: undefined, container };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
