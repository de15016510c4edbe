/**
 * What a service remembers of the specs it had. Pure; written by control for its users and by the leader's loops.
 *
 * The last ten specs before the present one are kept, with the revisions of secrets and configs they ran with. Docker's
 * `PreviousSpec` is a field of its own, as an automatic rollback uses it up while the history stays.
 */
import { RevisionNote, type Service, ServiceRevision, ServiceSpec } from "../api/generated/api.ts";
import { payloadReferences } from "./payload-revision.ts";

/** Specs kept besides the present one. */
export const revisionsMax = 10;
/** All kept specs of a service together, bytes: they are written again with each update, which has to fit into an entry. */
export const revisionsBytesMax = 256 * 1024;
/** A change of data that is not through yet, and no older than this, is one with the update that comes after it. */
const foldMsMax = 10 * 60_000;

/** The next spec of a service, and why it gets it. */
export interface NextSpec {
  readonly spec: ServiceSpec;
  /** See `Service.spec_version`. */
  readonly specVersion: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** For people. */
  readonly cause: string;
  /** Nobody wrote it. */
  readonly automatic?: boolean;
}

/**
 * The service with another spec: the present one becomes the previous one.
 *
 * A spec that is as the present one leaves the history as it is, so that a second deployment of the same does not hide
 * what was there before it. A change of data alone, made by itself, that is still under way is taken as part of the next
 * change: a stack's deployment changes its configs first and then its services, and is taken back as a whole.
 */
export function withNextSpec(service: Service, next: NextSpec): Service {
  const { spec, specVersion } = next;
  const changed = { ...service, spec, specVersion, overVersion: service.meta?.version ?? 0 };
  if (isSameSpec(service.spec, spec)) {
    const isFirst = service.previousSpec === undefined;
    return isFirst
      ? { ...changed, previousSpec: service.spec, previousSpecVersion: service.specVersion }
      : changed;
  }
  const noted = { ...changed, revision: noteFor(service, next) };
  if (isUnfinished(service, next.now)) return noted;
  return {
    ...noted,
    previousSpec: service.spec,
    previousSpecVersion: service.specVersion,
    revisions: withPresent(service, service.revisions),
  };
}

/**
 * The service with a spec it had: it is not among the kept ones any more, and the present one is.
 *
 * @param consumes Whether there is no previous spec after it, as after Docker's automatic rollback.
 */
export function withEarlierSpec(
  service: Service,
  earlier: { readonly spec: ServiceSpec; readonly specVersion: number },
  terms: { readonly now: number; readonly consumes: boolean },
): Service {
  const { spec, specVersion } = earlier;
  const kept = service.revisions.find((one) => isSameSpec(one.spec, spec));
  const others = service.revisions.filter((one) => one !== kept);
  const what = terms.consumes ? "rolled back by itself" : "rolled back";
  const number = kept?.note?.number ?? 0;
  const cause = number === 0 ? what : `${what} to revision ${number}`;
  return {
    ...service,
    spec,
    specVersion,
    previousSpec: terms.consumes ? undefined : service.spec,
    previousSpecVersion: terms.consumes ? 0 : service.specVersion,
    overVersion: service.meta?.version ?? 0,
    revision: noteFor(service, { now: terms.now, cause }),
    revisions: withPresent(service, others),
  };
}

/** Highest revision of a secret or config that any spec of the service has run with; 0 for none. */
export function highestRevision(service: Service, id: string): number {
  const specs = [service.spec, service.previousSpec, ...service.revisions.map(({ spec }) => spec)];
  let highest = 0;
  for (const spec of specs) {
    for (const reference of payloadReferences(spec?.task)) {
      if (reference.id === id) highest = Math.max(highest, reference.revision);
    }
  }
  return highest;
}

/** All specs a service may come back to, the present one included. */
export function keptSpecs(service: Service): ServiceSpec[] {
  const kept = service.revisions.map(({ spec }) => spec);
  return [service.spec, service.previousSpec, ...kept].filter((spec) => spec !== undefined);
}

function isSameSpec(a: ServiceSpec | undefined, b: ServiceSpec | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a === b || Buffer.compare(ServiceSpec.encode(a), ServiceSpec.encode(b)) === 0;
}

/** Whether the present spec is a change of data alone that has not got through. */
function isUnfinished({ revision, updateStatus }: Service, now: number): boolean {
  if (revision?.automatic !== true || now - revision.atMs > foldMsMax) return false;
  const state = updateStatus?.state ?? "unknown";
  return state === "unknown" || state === "updating" || state === "paused";
}

function noteFor(
  { revision, revisions }: Service,
  { now, cause, automatic }: Pick<NextSpec, "now" | "cause" | "automatic">,
): RevisionNote {
  const last = Math.max(revision?.number ?? 1, ...revisions.map(({ note }) => note?.number ?? 0));
  return RevisionNote.create({ number: last + 1, atMs: now, cause, automatic: automatic ?? false });
}

/** The kept specs and the present one, as many of the last as may be kept. */
function withPresent(
  { spec, specVersion, revision, meta }: Service,
  revisions: readonly ServiceRevision[],
): ServiceRevision[] {
  const note = revision ?? firstNote(meta?.createdAtMs ?? 0);
  const all = [...revisions, ServiceRevision.create({ spec, specVersion, note })];
  const kept: ServiceRevision[] = [];
  let bytes = 0;
  for (const one of all.slice(-revisionsMax).reverse()) {
    bytes += ServiceRevision.encode(one).length;
    if (bytes > revisionsBytesMax) break;
    kept.unshift(one);
  }
  return kept;
}

/** The note of a service's first spec. */
export function firstNote(atMs: number): RevisionNote {
  return RevisionNote.create({ number: 1, atMs, cause: "created" });
}
