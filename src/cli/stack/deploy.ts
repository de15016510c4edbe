/**
 * `skep stack deploy`: brings the cluster to what the files say, in the order of the stock client: networks, secrets,
 * configs, services, each after those it depends on.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { serviceDifferences } from "../../stack/plan.ts";
import {
  type StackObject,
  type StackService,
  type StackSpecs,
  stackSpecs,
} from "../../stack/translate/stack.ts";
import { type HistoryRow, payloadTexts } from "../service.ts";
import { authHeaders } from "./body.ts";
import type { ApiObject, StackClient } from "./client.ts";
import { type StackRun, say } from "./io.ts";
import { planOf } from "./plan.ts";
import { type Asked, Questions } from "./questions.ts";
import { namedReferences, type PayloadIds, withIds } from "./references.ts";
import { untilService } from "./wait.ts";

/** @throws ClusterError with the daemon's message, or the place in the file. */
export async function deploy(run: StackRun, name: string | undefined): Promise<void> {
  const { client, options } = run;
  const project = run.project(name);
  const specs = stackSpecs(project);
  say(run, [...project.warnings, ...specs.warnings]);
  if (options.plan !== undefined) await checkPlan(run, specs, options.plan);
  const existing = await client.ofStack("services", specs.stack);
  if (options.prune) await prune(run, specs, existing);
  await makeNetworks(run, specs);
  const changed = new Set<string>();
  for (const secret of specs.secrets) await makePayload(run, "secrets", secret);
  for (const config of specs.configs)
    if (await makePayload(run, "configs", config)) changed.add(config.name);
  const ids = await payloadIds(client, specs.services);
  const byName = new Map(existing.map((service) => [service.name, service]));
  const questions = new Questions(
    run,
    specs.services.map((service) => {
      const whole = { ...service, body: withIds(service.body, ids) };
      return { service: whole, before: byName.get(service.name) };
    }),
  );
  for (const service of specs.services) {
    await waitForDependencies(run, service, specs);
    const asked = questions.about(service);
    const followed = namedReferences([service.body], "configs").filter((one) => changed.has(one));
    await makeService(run, asked, followed);
  }
  if (!options.detach) await converge(run, specs);
}

async function checkPlan(run: StackRun, specs: StackSpecs, wanted: number): Promise<void> {
  const { index } = await planOf(run, specs);
  if (index !== wanted)
    throw new ClusterError(
      "failed-precondition",
      `the cluster moved on since plan ${wanted}: it is at ${index} now; make a plan again`,
    );
}

async function prune(
  { client, io }: StackRun,
  specs: StackSpecs,
  existing: readonly ApiObject[],
): Promise<void> {
  const kept = new Set(specs.services.map(({ name }) => name));
  for (const { id, name } of existing) {
    if (kept.has(name)) continue;
    io.out(`Removing service ${name}\n`);
    await client.remove("services", id);
  }
}

async function makeNetworks({ client, io }: StackRun, specs: StackSpecs): Promise<void> {
  for (const name of specs.externalNetworks) {
    if (["host", "none", "bridge"].includes(name)) continue;
    const network = await client.find("networks", name);
    if (network === undefined)
      throw new ClusterError(
        "not-found",
        `network ${JSON.stringify(name)} is declared as external, but could not be found; create it with: docker network create -d overlay ${name}`,
      );
    if (network.raw["Scope"] !== "swarm")
      throw new ClusterError(
        "invalid-argument",
        `network ${JSON.stringify(name)} is declared as external, but it is not in the right scope: "${String(network.raw["Scope"])}" instead of "swarm"`,
      );
  }
  if (specs.networks.length === 0) return;
  const present = await client.ofStack("networks", specs.stack);
  const known = new Set(present.map(({ name }) => name));
  for (const { name, body } of specs.networks) {
    if (known.has(name)) continue;
    io.out(`Creating network ${name}\n`);
    await client.create("networks", { CheckDuplicate: true, ...body });
  }
}

/** @returns whether a config that was there is another now; of secrets only the managers know. */
async function makePayload(
  { client, io }: StackRun,
  kind: "secrets" | "configs",
  object: StackObject,
): Promise<boolean> {
  const { name, body } = object;
  const before = await client.find(kind, name);
  if (before === undefined) {
    io.out(`Creating ${kind.slice(0, -1)} ${name}\n`);
    await client.create(kind, body);
    return false;
  }
  try {
    await client.update(kind, before, { body });
    const isChanged = kind === "configs" && before.spec["Data"] !== body["Data"];
    if (isChanged) io.out(`Updating config ${name}\n`);
    return isChanged;
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    throw new ClusterError(
      error.code,
      `failed to update ${kind.slice(0, -1)} ${name}: ${error.message}`,
      { cause: error },
    );
  }
}

async function payloadIds(
  client: StackClient,
  services: readonly StackService[],
): Promise<PayloadIds> {
  const bodies = services.map(({ body }) => body);
  const idsOf = async (kind: "secrets" | "configs") => {
    const found = await client.byName(kind, namedReferences(bodies, kind));
    return new Map([...found].map(([name, { id }]) => [name, id]));
  };
  return { secrets: await idsOf("secrets"), configs: await idsOf("configs") };
}

async function waitForDependencies(
  run: StackRun,
  service: StackService,
  specs: StackSpecs,
): Promise<void> {
  for (const [key, { condition, required }] of Object.entries(service.dependsOn)) {
    const name = specs.services.find((one) => one.key === key)?.name ?? key;
    try {
      await untilService(run.client, { name, condition, timeoutMs: run.options.timeoutMs });
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      if (required)
        throw new ClusterError(
          error.code,
          `service ${service.name} was not deployed, as it depends on ${name}: ${error.message}`,
          { cause: error },
        );
      run.io.fail(
        `warning: service ${service.name} is deployed without ${name}, which it does not require: ${error.message}\n`,
      );
    }
  }
}

async function makeService(
  run: StackRun,
  { service, before, final }: Asked,
  followed: readonly string[],
): Promise<void> {
  const { client, io } = run;
  const headers = authHeaders(run, service);
  const { body, unresolved } = await final;
  if (unresolved !== undefined && !run.options.quiet) {
    io.fail(unresolvedText(service.image, unresolved.error.message));
  }
  if (before === undefined) {
    io.out(`Creating service ${service.name}\n`);
    await client.create("services", body, headers);
    return;
  }
  // Every update runs a job again, and the same again is none.
  const found = serviceDifferences(before.spec, body, await client.networkNames());
  if (found.length === 0 && headers === undefined) {
    const earlier = followed.length === 0 ? await earlierOf(client, service, before.id) : [];
    const what =
      followed.length > 0
        ? `, and follows config ${followed.join(", ")}`
        : earlier.length > 0
          ? `, and runs with ${earlier.join(", ")}: docker service update --force takes it to the newest`
          : "";
    io.out(`Service ${service.name} is unchanged${what}\n`);
    return;
  }
  io.out(`Updating service ${service.name} (id: ${before.id})\n`);
  await client.update("services", before, { body, headers });
}

/** In Docker's words. */
function unresolvedText(image: string, reason: string): string {
  return `warning: image ${image} could not be accessed on a registry to record its digest. Each node will access ${image} independently, possibly leading to different nodes running different versions of the image. (${reason})\n`;
}

/** Revisions of secrets and configs that a service was taken back to, as its history has them. */
async function earlierOf(
  client: StackClient,
  { body }: StackService,
  id: string,
): Promise<readonly string[]> {
  const kinds = ["secrets", "configs"] as const;
  if (kinds.every((kind) => namedReferences([body], kind).length === 0)) return [];
  const answer = await client.call({ method: "GET", path: `/skep/services/${id}/history` });
  const [present] = answer as readonly HistoryRow[];
  if (present === undefined) return [];
  return payloadTexts(present).filter((text) => / of \d+$/.test(text));
}

async function converge(run: StackRun, specs: StackSpecs): Promise<void> {
  for (const { name } of specs.services) {
    await untilService(run.client, {
      name,
      condition: "converged",
      timeoutMs: run.options.timeoutMs,
    });
    run.io.out(`service ${name} converged\n`);
  }
}
