/**
 * References of services to secrets and configs: files know names, the API wants ids, too. Pure.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import type { Body } from "../../stack/translate/context.ts";
import type { Json } from "./client.ts";

/** Ids by name. */
export interface PayloadIds {
  readonly secrets: ReadonlyMap<string, string>;
  readonly configs: ReadonlyMap<string, string>;
}

const fields = {
  secrets: { list: "Secrets", id: "SecretID", name: "SecretName" },
  configs: { list: "Configs", id: "ConfigID", name: "ConfigName" },
} as const;

function referencesOf(body: Body, kind: keyof typeof fields): readonly Json[] {
  const task = body["TaskTemplate"] as Json;
  const container = task["ContainerSpec"] as Json;
  return (container[fields[kind].list] ?? []) as readonly Json[];
}

/** Names that services refer to. */
export function namedReferences(
  bodies: readonly Body[],
  kind: keyof typeof fields,
): readonly string[] {
  const { name } = fields[kind];
  return [
    ...new Set(bodies.flatMap((body) => referencesOf(body, kind).map((one) => String(one[name])))),
  ];
}

/** The body with the ids of what it refers to. @throws ClusterError `not-found` naming what is missing. */
export function withIds(body: Body, ids: PayloadIds): Body {
  const task = body["TaskTemplate"] as Json;
  const container = task["ContainerSpec"] as Json;
  const filled = (kind: keyof typeof fields) => {
    const { id, name } = fields[kind];
    return referencesOf(body, kind).map((one) => {
      const wanted = String(one[name]);
      const found = ids[kind].get(wanted);
      if (found === undefined)
        throw new ClusterError("not-found", `${kind.slice(0, -1)} not found: ${wanted}`);
      return { ...one, [id]: found };
    });
  };
  const [Secrets, Configs] = [filled("secrets"), filled("configs")];
  const ContainerSpec = {
    ...container,
    ...(Secrets.length > 0 && { Secrets }),
    ...(Configs.length > 0 && { Configs }),
  };
  return { ...body, TaskTemplate: { ...task, ContainerSpec } };
}
