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
  /** `running` for a task that is to go on: one of a job is to complete. */
  readonly desiredState: TaskState;
  /** Where the cluster's default log driver goes to. */
  readonly logDriver: Driver | undefined;
  readonly restart?: Restart | undefined;
  /** Of tasks of a job. */
  readonly jobIteration?: number | undefined;
  /** Task that leaves its node once this one runs. */
  readonly besideId?: string;
}

/** Endpoints are the same for all tasks of a spec: one object, so that the store keeps and hashes it once. */
const endpoints = new WeakMap<object, Endpoint>();

/** A task of the present version of the service, in state NEW. */
export function newTask(service: Service, parts: TaskParts): Task {
  const { id, place, now, desiredState, logDriver, restart, jobIteration, besideId = "" } = parts;
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
    desiredState: desiredState === "running" ? goalOf(jobIteration) : desiredState,
    endpoint: endpointOf(service),
    logDriver: spec.logDriver ?? logDriver,
    restart,
    jobIteration,
    besideId,
  });
}

/** How far a task is to go: one of a job has an iteration, and an end. */
export function goalOf(jobIteration: number | undefined): TaskState {
  return jobIteration === undefined ? "running" : "complete";
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
