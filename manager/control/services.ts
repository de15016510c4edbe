/**
 * Writes of services. Decisions over one transaction; pure but for the new id.
 *
 * The orchestrators on the leader make, replace and remove its tasks.
 */
import {
  type CreateServiceRequest,
  Done,
  JobStatus,
  PullOptions,
  type RemoveRequest,
  Service,
  ServiceChanged,
  ServiceSpec,
  type UpdateServiceRequest,
  UpdateStatus,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Tx } from "../state/transaction.ts";
import type { Environment } from "./environment.ts";
import { isNameTaken, notFound } from "./names.ts";
import { checkServiceSpec, checkSurroundings, isJob, modeOf } from "./service-spec.ts";

/** @throws ClusterError with Docker's text. */
export function createService(
  tx: Tx,
  request: CreateServiceRequest,
  environment: Environment,
): ServiceChanged {
  const given = request.spec ?? ServiceSpec.create();
  checkServiceSpec(given);
  const spec = withCredentials(given, request.registryAuth);
  checkSurroundings(tx, spec, "");
  const name = spec.annotations?.name ?? "";
  if (isNameTaken(tx, "service", name))
    throw new ClusterError(
      "already-exists",
      `name conflicts with an existing object: service ${name} already exists`,
    );
  const id = environment.objectId;
  const jobStatus = isJob(modeOf(spec.mode))
    ? JobStatus.create({ lastExecutionMs: environment.now })
    : undefined;
  tx.create("service", Service.create({ id, spec, jobStatus }));
  return ServiceChanged.create({ id });
}

/** Stores another spec, or swaps the present one with the previous. @throws ClusterError with Docker's text. */
export function updateService(
  tx: Tx,
  request: UpdateServiceRequest,
  environment: Environment,
): ServiceChanged {
  const service = tx.get("service", request.id);
  if (service === undefined) throw notFound("service", request.id);
  const given = request.spec ?? ServiceSpec.create();
  checkServiceSpec(given);
  checkUnchanging(service, given);
  const version = meantVersion(service, request.version);
  const changed =
    request.rollback === "previous"
      ? rolledBack(service, environment.now)
      : withSpec(service, credentialsFor(service, given, request), version);
  checkSurroundings(tx, changed.spec ?? given, service.id);
  tx.update("service", withNextIteration(changed, environment.now), version);
  return ServiceChanged.create({ id: service.id });
}

/** @throws ClusterError `not-found`. */
export function removeService(tx: Tx, request: RemoveRequest): Done {
  if (tx.get("service", request.id) === undefined) throw notFound("service", request.id);
  tx.remove("service", request.id);
  return Done.create();
}

/**
 * The version a user's update is of. What the managers note of the service's image, shortly after it was made, changes its
 * version but not its spec: whoever has read the service since its spec was written knows it.
 */
function meantVersion({ image, specVersion, meta }: Service, version: number): number {
  const present = meta?.version ?? 0;
  if (image?.specVersion !== specVersion || image.overVersion === 0) return version;
  return version >= image.overVersion && version <= present ? present : version;
}

/** Name and mode are for life. */
function checkUnchanging(service: Service, spec: ServiceSpec): void {
  if (modeOf(service.spec?.mode) !== modeOf(spec.mode))
    throw new ClusterError("unimplemented", "service mode change is not allowed");
  if (service.spec?.annotations?.name !== spec.annotations?.name)
    throw new ClusterError("unimplemented", "renaming services is not supported");
}

function withSpec(service: Service, spec: ServiceSpec, version: number): Service {
  return {
    ...service,
    spec,
    specVersion: version,
    previousSpec: service.spec,
    previousSpecVersion: service.specVersion,
    updateStatus: undefined,
  };
}

function rolledBack(service: Service, now: number): Service {
  const { previousSpec } = service;
  if (previousSpec === undefined)
    throw new ClusterError(
      "failed-precondition",
      `service ${service.id} does not have a previous spec`,
    );
  return {
    ...service,
    spec: previousSpec,
    specVersion: service.previousSpecVersion,
    previousSpec: service.spec,
    previousSpecVersion: service.specVersion,
    updateStatus: UpdateStatus.create({
      state: "rollback-started",
      message: "manually requested rollback",
      startedAtMs: now,
    }),
  };
}

/** Every update of a job runs it again. */
function withNextIteration(service: Service, now: number): Service {
  const { jobStatus } = service;
  if (jobStatus === undefined) return service;
  return {
    ...service,
    // Another run, rather than a rolling update that somebody would have to finish.
    updateStatus: undefined,
    jobStatus: { jobIteration: jobStatus.jobIteration + 1, lastExecutionMs: now },
  };
}

/** Credentials the client did not send again are kept: those of the present spec, or of the previous when it says so. */
function credentialsFor(
  service: Service,
  spec: ServiceSpec,
  request: UpdateServiceRequest,
): ServiceSpec {
  if (request.registryAuth !== "") return withCredentials(spec, request.registryAuth);
  const fromPrevious = request.registryAuthFrom === "previous-spec";
  const source = fromPrevious ? service.previousSpec : service.spec;
  if (source === undefined)
    throw new ClusterError("failed-precondition", "service does not have a previous spec");
  return withCredentials(spec, source.task?.container?.pull?.registryAuth ?? "");
}

function withCredentials(spec: ServiceSpec, registryAuth: string): ServiceSpec {
  const { task } = spec;
  if (registryAuth === "" || task?.container === undefined) return spec;
  const pull = PullOptions.create({ registryAuth });
  return { ...spec, task: { ...task, container: { ...task.container, pull } } };
}
