/**
 * Which revision of its secrets and configs a spec runs with. Pure.
 *
 * A stored spec names the revision in each of its references, so that a task, a service and each of its earlier specs say
 * exactly what they run with. The first revision is written as 0, as specs of before say nothing.
 */
import { type ServiceSpec, TaskSpec } from "../api/generated/api.ts";

/** A secret or a config. */
export type PayloadKind = "secret" | "config";

/** A reference, whichever kind it is of. */
export interface PayloadReference {
  readonly kind: PayloadKind;
  readonly id: string;
  readonly name: string;
  /** From 1. */
  readonly revision: number;
}

/** Under which id an agent is given the data: the object's own for the first revision. */
export function payloadKey(id: string, revision: number): string {
  return revision > 1 ? `${id}.${revision}` : id;
}

/** All references of a task's spec, secrets first. */
export function payloadReferences(spec: TaskSpec | undefined): PayloadReference[] {
  const { secrets = [], configs = [] } = spec?.container ?? {};
  return [
    ...secrets.map(({ secretId, secretName, revision }) => ({
      kind: "secret" as const,
      id: secretId,
      name: secretName,
      revision: Math.max(revision, 1),
    })),
    ...configs.map(({ configId, configName, revision }) => ({
      kind: "config" as const,
      id: configId,
      name: configName,
      revision: Math.max(revision, 1),
    })),
  ];
}

/** The spec with other revisions; the same object when nothing changes. */
export function withPayloadRevisions(
  spec: ServiceSpec,
  revisionOf: (reference: PayloadReference) => number,
): ServiceSpec {
  const { task } = spec;
  const container = task?.container;
  if (task === undefined || container === undefined) return spec;
  const references = payloadReferences(task);
  const wanted = references.map((reference) => {
    const revision = revisionOf(reference);
    return revision > 1 ? revision : 0;
  });
  const { secrets, configs } = container;
  const same = [...secrets, ...configs].every(({ revision }, at) => revision === wanted[at]);
  if (same) return spec;
  return {
    ...spec,
    task: {
      ...task,
      container: {
        ...container,
        secrets: secrets.map((one, at) => ({ ...one, revision: wanted[at] ?? 0 })),
        configs: configs.map((one, at) => ({ ...one, revision: wanted[secrets.length + at] ?? 0 })),
      },
    },
  };
}

/** Whether two specs make the same tasks but for the data of their secrets and configs and the credentials of pulls. */
export function isSameWork(a: ServiceSpec | undefined, b: ServiceSpec | undefined): boolean {
  return Buffer.compare(workBytes(a), workBytes(b)) === 0;
}

function workBytes(spec: ServiceSpec | undefined): Uint8Array {
  const { task } = spec === undefined ? {} : withPayloadRevisions(spec, () => 0);
  const container = task?.container && { ...task.container, pull: undefined };
  return TaskSpec.encode(TaskSpec.create({ ...task, container }));
}
