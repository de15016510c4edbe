/**
 * Which services are to run with new data of a secret or config, when, and which old data nobody needs. Pure.
 */
import type { Service, Task } from "../../../src/common/api/generated/api.ts";
import {
  type PayloadReference,
  payloadReferences,
  withPayloadRevisions,
} from "../../../src/common/spec/payload-revision.ts";
import {
  highestRevision,
  keptSpecs,
  withNextSpec,
} from "../../../src/common/spec/service-revisions.ts";
import { isTerminal } from "../../../src/common/task/state.ts";

/** The revision a secret or config has now; undefined for one that is gone. */
export type PresentRevision = (
  reference: Pick<PayloadReference, "kind" | "id">,
) => number | undefined;

/** Label of what belongs to a stack, with its name. */
const stackLabel = "com.docker.stack.namespace";
/**
 * A stack's deployment changes configs first and then the services, one after the other: each is given this long, after
 * the last of them, to be taken to the new data by its own update. Milliseconds.
 */
export const stackPatienceMs = 5_000;
/** ... but no longer than this after the data changed. */
export const stackPatienceMaxMs = 60_000;

/**
 * References of a service whose data is newer than any it has run with: one it was taken back from is not tried again. A job
 * is not run again for it: its next run begins with it, be that by its schedule or by an update.
 */
export function staleReferences(service: Service, present: PresentRevision): PayloadReference[] {
  if (service.jobStatus !== undefined) return [];
  return payloadReferences(service.spec?.task).filter((reference) => {
    const revision = present(reference) ?? 0;
    return revision > reference.revision && revision > highestRevision(service, reference.id);
  });
}

/** The service with the present data of its stale references; undefined when it has none. */
export function withPresentData(
  service: Service,
  present: PresentRevision,
  now: number,
): Service | undefined {
  const stale = staleReferences(service, present);
  if (stale.length === 0 || service.spec === undefined) return undefined;
  const spec = withPayloadRevisions(service.spec, (reference) => {
    const isStale = stale.some(({ kind, id }) => kind === reference.kind && id === reference.id);
    return isStale ? (present(reference) ?? reference.revision) : reference.revision;
  });
  const cause = `${[...new Set(stale.map(({ kind, name }) => `${kind} ${name}`))].join(", ")} changed`;
  const specVersion = service.meta?.version ?? 0;
  const next = withNextSpec(service, { spec, specVersion, now, cause, automatic: true });
  return { ...next, updateStatus: undefined };
}

/** The stack a service belongs to; empty for none. */
export function stackOf({ spec }: Service): string {
  return spec?.annotations?.labels[stackLabel] ?? "";
}

/**
 * When a service is to be taken to new data, on the clock of the arguments, milliseconds.
 *
 * @param changedMs When the data changed.
 * @param deployedMs When a service of the same stack was last updated; undefined for not lately.
 */
export function dueMs(service: Service, changedMs: number, deployedMs: number | undefined): number {
  if (stackOf(service) === "") return changedMs;
  const lastMs = Math.max(changedMs, deployedMs ?? changedMs);
  return Math.min(lastMs + stackPatienceMs, changedMs + stackPatienceMaxMs);
}

/** The service with the present data of all its references, for a job whose next run begins; itself when it has that. */
export function withDataForRun(service: Service, present: PresentRevision, now: number): Service {
  const { jobStatus } = service;
  const next = withPresentData({ ...service, jobStatus: undefined }, present, now);
  return next === undefined ? service : { ...next, jobStatus };
}

/** Which of this earlier data, as `<id>.<revision>`, a task reads, or will once more after a start of its node. */
export function readBy(task: Task, ids: ReadonlySet<string>): string[] {
  if (isTerminal(task.status?.state ?? "new")) return [];
  return payloadReferences(task.spec)
    .map(({ id, revision }) => `${id}.${revision}`)
    .filter((id) => ids.has(id));
}

/** Earlier data that some service may need again, as `<id>.<revision>`. */
export function neededPayloads(services: Iterable<Service>): Set<string> {
  const needed = new Set<string>();
  for (const service of services) {
    for (const { task } of keptSpecs(service)) {
      for (const { id, revision } of payloadReferences(task)) needed.add(`${id}.${revision}`);
    }
  }
  return needed;
}
