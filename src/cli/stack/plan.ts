/**
 * `skep stack plan`: what a deployment would do, without doing it.
 *
 * What it would send is tried by the managers; here it is only told which settings differ, from what they have.
 */
import { planRegistryMs } from "../../common/limits/limits.ts";
import type { Warning } from "../../stack/files.ts";
import { type Difference, type PlannedChange, serviceDifferences } from "../../stack/plan.ts";
import { type StackSpecs, stackSpecs } from "../../stack/translate/stack.ts";
import { authHeaders, finalBodies } from "./body.ts";
import type { ApiObject, Json } from "./client.ts";
import { type StackRun, say } from "./io.ts";
import { effectsOf, type Plan, planText, warningsOf } from "./plan-text.ts";
import { askManagers, type ManagersPlan, type Present, type SentService } from "./planned.ts";

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
  const present = await presentOf(run, specs);
  const nameOf = await run.client.networkNames();
  const byName = new Map(present.services.map((service) => [service.name, service]));
  const sent: SentService[] = [];
  const differences = new Map<string, readonly Difference[]>();
  const silent = new Map<string, string>();
  const wishes = specs.services.map((service) => {
    return { service, before: byName.get(service.name) };
  });
  const bodies = finalBodies(run, wishes, { withinS: planRegistryMs / 1000 });
  for (const { service, before, final } of bodies) {
    const { name } = service;
    const { body, unresolved } = await final;
    // What a registry refuses, the managers may be allowed.
    if (unresolved?.error.code === "unavailable") {
      const { image, error } = unresolved;
      silent.set(image, error.message.replace(/^Error response from daemon: /, ""));
    }
    const headers = authHeaders(run, service);
    const found = before === undefined ? [] : serviceDifferences(before.spec, body, nameOf);
    differences.set(name, found);
    // As a deployment does: the same again is not sent.
    if (before === undefined || found.length > 0 || headers !== undefined)
      sent.push({ name, body, before, headers });
  }
  const { plan: found, refusals } = await askManagers(run, specs, { present, sent, silent });
  const changes = changesOf(run, specs, { present, found, differences });
  return {
    ...{ stack: specs.stack, index: found.Index, changes },
    conflicts: [...refusals, ...warningsOf(found)],
    ...{ services: found.Services, images: found.Images },
  };
}

async function presentOf(
  { client }: Pick<StackRun, "client">,
  { stack }: StackSpecs,
): Promise<Present> {
  const [services, networks, secrets, configs] = await Promise.all([
    client.ofStack("services", stack),
    client.ofStack("networks", stack),
    client.ofStack("secrets", stack),
    client.ofStack("configs", stack),
  ]);
  return { services, networks, secrets, configs };
}

function changesOf(
  { options }: Pick<StackRun, "options">,
  specs: StackSpecs,
  o: {
    readonly present: Present;
    readonly found: ManagersPlan;
    readonly differences: ReadonlyMap<string, readonly Difference[]>;
  },
): readonly PlannedChange[] {
  const { present, found, differences } = o;
  const actions = new Map(found.Objects.map((one) => [`${one.Kind} ${one.Name}`, one.Action]));
  const effects = (kind: PlannedChange["kind"], name: string, before: ApiObject | undefined) => {
    if (before === undefined && !actions.has(`${kind} ${name}`)) return ["would be refused"];
    return kind === "service" ? effectsOf(found, name) : [];
  };
  const changeOf = (
    kind: PlannedChange["kind"],
    name: string,
    before: ApiObject | undefined,
  ): PlannedChange => ({
    ...{ kind, name },
    // What would be refused is not among the objects.
    action: actions.get(`${kind} ${name}`) ?? (before === undefined ? "create" : "none"),
    differences: kind === "service" ? (differences.get(name) ?? []) : [],
    effects: effects(kind, name, before),
  });
  const named = (list: readonly ApiObject[], name: string) => list.find((one) => one.name === name);
  const wanted = new Set(specs.services.map(({ name }) => name));
  const left = options.prune ? present.services.filter(({ name }) => !wanted.has(name)) : [];
  return [
    ...specs.networks.map(({ name }) => changeOf("network", name, named(present.networks, name))),
    ...specs.secrets.map(({ name }) => changeOf("secret", name, named(present.secrets, name))),
    ...specs.configs.map(({ name, body }) => {
      const before = named(present.configs, name);
      const change = changeOf("config", name, before);
      return { ...change, differences: sizes(change, before, body) };
    }),
    ...specs.services.map(({ name }) => changeOf("service", name, named(present.services, name))),
    ...left.map((service) => changeOf("service", service.name, service)),
  ];
}

function sizes(
  { action }: PlannedChange,
  before: ApiObject | undefined,
  body: Json,
): readonly Difference[] {
  const [had, has] = [before?.spec["Data"], body["Data"]].map((data) => String(data ?? ""));
  if (action !== "update" || had === has) return [];
  const size = (data: string | undefined) => `${Buffer.from(data ?? "", "base64").length} bytes`;
  return [{ path: "Data", before: size(had), after: size(has) }];
}
