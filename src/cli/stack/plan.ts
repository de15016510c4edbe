/**
 * `skep stack plan`: what a deployment would do, without doing it.
 */
import type { Warning } from "../../stack/files.ts";
import {
  creationEffects,
  type Difference,
  effectsOf,
  type PlannedChange,
  publishedPorts,
  serviceDifferences,
} from "../../stack/plan.ts";
import type { StackSpecs } from "../../stack/translate/stack.ts";
import { stackSpecs } from "../../stack/translate/stack.ts";
import { finalBody } from "./body.ts";
import type { ApiObject, Json } from "./client.ts";
import { type StackRun, say } from "./io.ts";

/** Everything a deployment would do. */
export interface Plan {
  readonly stack: string;
  /** Stands for the state of the stack in the cluster; `deploy --plan` refuses when it is another by then. */
  readonly index: number;
  readonly changes: readonly PlannedChange[];
  /** What would be refused, or would keep tasks from starting. */
  readonly conflicts: readonly string[];
}

/** Prints the plan; whether it would change something. @throws ClusterError */
export async function plan(run: StackRun, name: string | undefined): Promise<boolean> {
  const project = run.project(name);
  const specs = stackSpecs(project);
  const warnings: readonly Warning[] = [...project.warnings, ...specs.warnings];
  if (!run.options.json) say(run, warnings);
  const found = await planOf(run, specs);
  run.io.out(run.options.json ? `${JSON.stringify(found, null, 2)}\n` : planText(found));
  return found.changes.some(({ action }) => action !== "none");
}

/** @throws ClusterError with the daemon's message. */
export async function planOf(
  run: Pick<StackRun, "client" | "io" | "options">,
  specs: StackSpecs,
): Promise<Plan> {
  const { client, options } = run;
  const [services, networks, secrets, configs] = await Promise.all(
    (["services", "networks", "secrets", "configs"] as const).map((kind) =>
      client.ofStack(kind, specs.stack),
    ),
  );
  const names = await client.networkNames();
  const byName = new Map((services ?? []).map((service) => [service.name, service]));
  const changes: PlannedChange[] = [
    ...specs.networks.map(({ name }) => presence("network", name, networks ?? [])),
    ...specs.secrets.map(({ name }) => presence("secret", name, secrets ?? [])),
    ...specs.configs.map(({ name, body }) => configChange(name, body, configs ?? [])),
  ];
  for (const service of specs.services) {
    const before = byName.get(service.name);
    const body = await finalBody(run, service, before);
    if (before === undefined) {
      changes.push({
        kind: "service",
        name: service.name,
        action: "create",
        differences: [],
        effects: creationEffects(body),
      });
      continue;
    }
    const found = serviceDifferences(before.spec, body, names);
    changes.push({
      kind: "service",
      name: service.name,
      action: found.length === 0 ? "none" : "update",
      differences: found,
      effects: effectsOf(found, before.spec, body),
    });
  }
  const wanted = new Set(specs.services.map((service) => service.name));
  const left = (services ?? []).filter(({ name }) => !wanted.has(name));
  if (options.prune)
    for (const { name } of left)
      changes.push({
        kind: "service",
        name,
        action: "remove",
        differences: [],
        effects: ["stops its tasks"],
      });
  const all = [...(services ?? []), ...(networks ?? []), ...(secrets ?? []), ...(configs ?? [])];
  return {
    stack: specs.stack,
    index: indexOf(all),
    changes,
    conflicts: await portConflicts(run, specs),
  };
}

function presence(
  kind: "network" | "secret",
  name: string,
  present: readonly ApiObject[],
): PlannedChange {
  const isThere = present.some((one) => one.name === name);
  return { kind, name, action: isThere ? "none" : "create", differences: [], effects: [] };
}

function configChange(name: string, body: Json, present: readonly ApiObject[]): PlannedChange {
  const before = present.find((one) => one.name === name);
  if (before === undefined)
    return { kind: "config", name, action: "create", differences: [], effects: [] };
  const size = (data: unknown) => `${Buffer.from(String(data ?? ""), "base64").length} bytes`;
  const isSame = (before.spec["Data"] ?? "") === (body["Data"] ?? "");
  const differences: Difference[] = isSame
    ? []
    : [{ path: "Data", before: size(before.spec["Data"]), after: size(body["Data"]) }];
  return { kind: "config", name, action: isSame ? "none" : "update", differences, effects: [] };
}

/** Changes whenever an object of the stack is made, changed or removed. */
function indexOf(objects: readonly ApiObject[]): number {
  const words = objects.map(({ id, version }) => `${id}:${version}`).sort();
  let hash = 0x811c9dc5;
  for (const char of words.join(",")) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0;
  return hash;
}

async function portConflicts(
  { client }: Pick<StackRun, "client">,
  specs: StackSpecs,
): Promise<readonly string[]> {
  const wanted = new Map(
    specs.services.flatMap(({ name, body }) =>
      publishedPorts(body).map((port) => [port, name] as const),
    ),
  );
  if (wanted.size === 0) return [];
  const list = (await client.call({ method: "GET", path: "/services" })) as readonly Json[];
  return list.flatMap((service) => {
    const spec = service["Spec"] as Json;
    const other = String(spec["Name"]);
    return publishedPorts(spec).flatMap((port) => {
      const mine = wanted.get(port);
      return mine === undefined || mine === other
        ? []
        : [`port ${port} of service ${mine} is already published by service ${other}`];
    });
  });
}

const signs = { create: "+", update: "~", remove: "-", none: " " } as const;

function planText({ stack, index, changes, conflicts }: Plan): string {
  const changed = changes.filter(({ action }) => action !== "none");
  const lines = changed.flatMap(({ kind, name, action, differences, effects }) => [
    `${signs[action]} ${kind} ${name}`,
    ...differences.map(
      ({ path, before, after }) =>
        `    ${path}: ${before ?? "(nothing)"} -> ${after ?? "(nothing)"}`,
    ),
    ...effects.map((effect) => `    ${effect}`),
  ]);
  const summary =
    changed.length === 0
      ? `Stack ${stack}: no change`
      : `Stack ${stack}: ${changed.length} of ${changes.length} objects change`;
  const warnings = conflicts.map((conflict) => `! ${conflict}`);
  return `${[...lines, ...warnings, summary, `Plan ${index}`].join("\n")}\n`;
}
