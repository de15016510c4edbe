/**
 * Makes the tasks of a service from its spec. Pure but for the new id and the time, which are arguments.
 */
import {
  type Driver,
  Endpoint,
  type Restart,
  type Service,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import type { View } from "../state/view.ts";
import type { Place } from "./slot.ts";

/** What differs between the tasks of a service. */
export interface TaskParts {
  readonly id: string;
  readonly place: Place;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly desiredState: TaskState;
  /** Where the cluster's default log driver goes to. */
  readonly logDriver: Driver | undefined;
  readonly restart?: Restart | undefined;
}

/** Endpoints are the same for all tasks of a spec: one object, so that the store keeps and hashes it once. */
const endpoints = new WeakMap<object, Endpoint>();

/** A task of the present version of the service, in state NEW. */
export function newTask(service: Service, parts: TaskParts): Task {
  const { id, place, now, desiredState, logDriver, restart } = parts;
  const spec = service.spec?.task ?? TaskSpec.create();
  return Task.create({
    id,
    serviceId: service.id,
    slot: place.slot,
    nodeId: place.nodeId,
    serviceAnnotations: service.spec?.annotations,
    spec,
    specVersion: service.specVersion,
    status: TaskStatus.create({ timestampMs: now, state: "new", message: "created" }),
    desiredState,
    endpoint: endpointOf(service),
    logDriver: spec.logDriver ?? logDriver,
    restart,
  });
}

/** What tasks log to whose spec does not say. */
export function defaultLogDriver(view: View): Driver | undefined {
  for (const cluster of view.each("cluster")) return cluster.spec?.defaultLogDriver;
  return undefined;
}

function endpointOf(service: Service): Endpoint | undefined {
  const spec = service.spec?.endpoint;
  if (spec === undefined) return undefined;
  let endpoint = endpoints.get(spec);
  if (endpoint === undefined) {
    endpoint = Endpoint.create({ spec });
    endpoints.set(spec, endpoint);
  }
  return endpoint;
}
