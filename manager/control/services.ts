/**
 * Writes of services. Decisions over one transaction; pure but for the new id.
 *
 * The orchestrators on the leader make, replace and remove its tasks.
 */
import {
  type CreateServiceRequest,
  Done,
  PullOptions,
  Rebalance,
  type RemoveRequest,
  Service,
  ServiceChanged,
  ServiceSpec,
  type UpdateServiceRequest,
  UpdateStatus,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { firstJobStatus, nextJobStatus } from "../../src/common/job/runs.ts";
import {
  isSameWork,
  payloadReferences,
  withPayloadRevisions,
} from "../../src/common/spec/payload-revision.ts";
import {
  firstNote,
  highestRevision,
  withEarlierSpec,
  withNextSpec,
} from "../../src/common/spec/service-revisions.ts";
import { presentRevision } from "../state/payload.ts";
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
  const spec = withPresentPayloads(tx, withCredentials(given, request.registryAuth), undefined);
  checkSurroundings(tx, spec, "");
  const name = spec.annotations?.name ?? "";
  if (isNameTaken(tx, "service", name))
    throw new ClusterError(
      "already-exists",
      `name conflicts with an existing object: service ${name} already exists`,
    );
  const id = environment.objectId;
  const jobStatus = isJob(modeOf(spec.mode))
    ? firstJobStatus({ spec }, environment.now)
    : undefined;
  const revision = firstNote(environment.now);
  tx.create("service", Service.create({ id, spec, jobStatus, revision }));
  return ServiceChanged.create({ id });
}

/** Stores another spec, or goes back to an earlier one. @throws ClusterError with Docker's text. */
export function updateService(
  tx: Tx,
  request: UpdateServiceRequest,
  environment: Environment,
): ServiceChanged {
  const service = tx.get("service", request.id);
  if (service === undefined) throw notFound("service", request.id);
  if (request.rebalance) {
    checkMovable(service);
    const rebalance = Rebalance.create({ askedAtMs: environment.now });
    tx.update("service", { ...service, rebalance });
    return ServiceChanged.create({ id: service.id });
  }
  const version = meantVersion(service, request.version);
  const changed = changedBy(tx, { service, request, version, now: environment.now });
  checkSurroundings(tx, changed.spec ?? ServiceSpec.create(), service.id);
  tx.update("service", withNextIteration(service, changed, environment.now), version);
  return ServiceChanged.create({ id: service.id });
}

/** The service as a request wants it. */
function changedBy(
  tx: Tx,
  asked: {
    readonly service: Service;
    readonly request: UpdateServiceRequest;
    readonly version: number;
    readonly now: number;
  },
): Service {
  const { service, request, version, now } = asked;
  if (request.rollbackTo !== 0) return takenBackTo(service, request.rollbackTo, now);
  const given = request.spec ?? ServiceSpec.create();
  checkServiceSpec(given);
  checkUnchanging(service, given);
  if (request.rollback === "previous") return rolledBack(service, now);
  const spec = withPresentPayloads(tx, credentialsFor(service, given, request), service);
  const next = withNextSpec(service, { spec, specVersion: version, now, cause: "updated" });
  return { ...next, updateStatus: undefined };
}

/** @throws ClusterError `not-found`. */
export function removeService(tx: Tx, request: RemoveRequest): Done {
  if (tx.get("service", request.id) === undefined) throw notFound("service", request.id);
  tx.remove("service", request.id);
  return Done.create();
}

/**
 * The version a user's update is of. What the managers note of a service, how its update goes or what its image is, changes
 * its version but not its spec: whoever has read the service since its spec was written knows it.
 */
function meantVersion({ overVersion, meta }: Service, version: number): number {
  const present = meta?.version ?? 0;
  return version > overVersion && version <= present ? present : version;
}

/** Only the tasks of replicated services may be on any node. */
function checkMovable({ id, spec }: Service): void {
  const mode = modeOf(spec?.mode);
  if (mode === "replicated") return;
  const name = spec?.annotations?.name ?? id;
  throw new ClusterError(
    "failed-precondition",
    `service ${name} cannot be rebalanced: its mode is ${mode}, only replicated services have tasks that move`,
  );
}

/** Name and mode are for life. */
function checkUnchanging(service: Service, spec: ServiceSpec): void {
  if (modeOf(service.spec?.mode) !== modeOf(spec.mode))
    throw new ClusterError("unimplemented", "service mode change is not allowed");
  if (service.spec?.annotations?.name !== spec.annotations?.name)
    throw new ClusterError("unimplemented", "renaming services is not supported");
}

/**
 * The spec with the present revisions of its secrets and configs. One that was taken back from them keeps those it was
 * taken back to for as long as it makes the same tasks: whoever scales it does not mean to try them again.
 */
function withPresentPayloads(tx: Tx, spec: ServiceSpec, before: Service | undefined): ServiceSpec {
  const isSame = before !== undefined && isSameWork(before.spec, spec);
  const had = isSame ? payloadReferences(before.spec?.task) : [];
  return withPayloadRevisions(spec, ({ kind, id }) => {
    const object = tx.get(kind, id);
    const present = object === undefined ? 1 : presentRevision(object);
    const kept = had.find((reference) => reference.kind === kind && reference.id === id);
    if (kept === undefined || before === undefined) return present;
    return highestRevision(before, id) >= present ? kept.revision : present;
  });
}

/** Back to the kept spec with this number. @throws ClusterError not-found naming the numbers there are. */
function takenBackTo(service: Service, number: number, now: number): Service {
  const { revisions, revision } = service;
  const name = service.spec?.annotations?.name ?? service.id;
  if (number === (revision?.number ?? 1))
    throw new ClusterError(
      "failed-precondition",
      `service ${name} is at revision ${number} already; see skep service history ${name}`,
    );
  const kept = revisions.find(({ note }) => note?.number === number);
  if (kept?.spec === undefined) {
    const there = revisions.map(({ note }) => note?.number ?? 0).join(", ") || "none";
    throw new ClusterError(
      "not-found",
      `revision ${number} of service ${name} is not kept; earlier revisions that are: ${there}`,
    );
  }
  const { spec, specVersion } = kept;
  return {
    ...withEarlierSpec(service, { spec, specVersion }, { now, consumes: false }),
    updateStatus: rollbackAsked(now),
  };
}

function rollbackAsked(now: number): UpdateStatus {
  return UpdateStatus.create({
    state: "rollback-started",
    message: "manually requested rollback",
    startedAtMs: now,
  });
}

function rolledBack(service: Service, now: number): Service {
  const { previousSpec } = service;
  if (previousSpec === undefined)
    throw new ClusterError(
      "failed-precondition",
      `service ${service.id} does not have a previous spec`,
    );
  const earlier = { spec: previousSpec, specVersion: service.previousSpecVersion };
  return {
    ...withEarlierSpec(service, earlier, { now, consumes: false }),
    updateStatus: rollbackAsked(now),
  };
}

/** Every update of a job runs it again, unless it has a schedule. */
function withNextIteration(before: Service, after: Service, now: number): Service {
  if (before.jobStatus === undefined) return after;
  // Another run, rather than a rolling update that somebody would have to finish.
  return { ...after, updateStatus: undefined, jobStatus: nextJobStatus(before, after, now) };
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
