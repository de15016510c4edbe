/**
 * The node's containers over HTTP: list, make, look at, and everything that changes what they do.
 */
import type { ImageConfig } from "../common/container/images.ts";
import type { Container, ContainerConfig } from "../common/container/types.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import { parsePlatform, platformText } from "../common/platform/match.ts";
import { containerFilters, containerMatcher } from "./container-filter.ts";
import type { EngineContext } from "./context.ts";
import { type Filters, matchesLabels, parseFilters, valuesFor } from "./filters.ts";
import { untilFrom } from "./network-filter.ts";
import { networkingOf } from "./networking.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { numberOf, runtimeRoute } from "./runtime-route.ts";
import { checkContainerName, containerConfigFromJson } from "./translate/container-config.ts";
import { containerToInspect } from "./translate/container-json.ts";
import { containerToSummary } from "./translate/container-summary.ts";
import { containerUpdateFromJson } from "./translate/container-update.ts";

/** Routes of containers. */
export function containerRoutes(context: EngineContext): readonly Route[] {
  const on = (
    method: Route["method"],
    pattern: string,
    handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>,
  ) => runtimeRoute(method, pattern, (request) => handler(context, request));
  return [
    on("GET", "/containers/json", listContainers),
    on("POST", "/containers/create", createContainer),
    on("POST", "/containers/prune", pruneContainers),
    on("GET", "/containers/{id}/json", inspectContainer),
    on("POST", "/containers/{id}/start", startContainer),
    on("POST", "/containers/{id}/stop", stopContainer),
    on("POST", "/containers/{id}/restart", restartContainer),
    on("POST", "/containers/{id}/kill", killContainer),
    on("POST", "/containers/{id}/pause", pauseContainer),
    on("POST", "/containers/{id}/unpause", unpauseContainer),
    on("POST", "/containers/{id}/rename", renameContainer),
    on("POST", "/containers/{id}/update", updateContainer),
    on("POST", "/containers/{id}/wait", waitContainer),
    on("POST", "/containers/{id}/resize", resizeContainer),
    on("DELETE", "/containers/{id}", removeContainer),
  ];
}

async function listContainers(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const filters = parseFilters(request.query.get("filters"), containerFilters);
  const limit = Math.max(0, numberOf(request, "limit") ?? 0);
  const withStopped = flag(request, "all") || limit > 0 || valuesFor(filters, "status").length > 0;
  const isWanted = containerMatcher(filters, {
    imageIds: await imageIdsOf(context, valuesFor(filters, "ancestor")),
    beforeMs: madeAt(context, filters, "before"),
    sinceMs: madeAt(context, filters, "since"),
    networkingOf: (container) => networkingOf(context, container),
  });
  const found = containers
    .list()
    .filter((container) => (withStopped || isUp(container)) && isWanted(container))
    .sort((a, b) => b.createdAtMs - a.createdAtMs);
  const shown = limit > 0 ? found.slice(0, limit) : found;
  const nameOf = await imageNames(context, shown);
  const now = context.clock.now();
  const lines = shown.map(async (container) =>
    containerToSummary(container, {
      now,
      networking: networkingOf(context, container),
      image: nameOf(container),
      sizes: flag(request, "size") ? await containers.sizes(container.id) : undefined,
    }),
  );
  return json(await Promise.all(lines));
}

function isUp(container: Container): boolean {
  return ["running", "paused", "restarting"].includes(container.state.phase);
}

/** When the container a filter names was made. @throws ClusterError `not-found` */
function madeAt(context: EngineContext, filters: Filters, key: string): number | undefined {
  const [reference] = valuesFor(filters, key);
  if (reference === undefined) return undefined;
  return context.ports.runtime.containers.find(reference).createdAtMs;
}

async function imageIdsOf(
  context: EngineContext,
  references: readonly string[],
): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  for (const reference of references) {
    try {
      ids.add((await context.ports.runtime.images.find(reference)).id);
    } catch (error) {
      // An image that is not there has no containers.
      if (!hasCode(error, "not-found") && !hasCode(error, "invalid-argument")) throw error;
    }
  }
  return ids;
}

/** Which names the containers' images are shown by: the one a container was made by, as long as that means its image. */
async function imageNames(
  context: EngineContext,
  shown: readonly Container[],
): Promise<(container: Container) => string> {
  const meant = new Map<string, Promise<string | undefined>>();
  // One name may stand for several images, one for each platform.
  const keyOf = ({ config, imagePlatform }: Container) =>
    `${config.image} ${platformText(imagePlatform)}`;
  for (const container of shown) {
    const key = keyOf(container);
    if (!meant.has(key)) meant.set(key, imageIdOf(context, container));
  }
  const ids = new Map(
    await Promise.all([...meant].map(async ([key, id]) => [key, await id] as const)),
  );
  return (container) => {
    const { config, imageId } = container;
    // A digest always means the same.
    const isMeant = config.image.includes("@") || ids.get(keyOf(container)) === imageId;
    return isMeant ? config.image : imageId;
  };
}

/** Id of the image that is called now what the container's was when it was made; undefined when none is. */
async function imageIdOf(
  context: EngineContext,
  { config, imagePlatform }: Container,
): Promise<string | undefined> {
  try {
    return (await context.ports.runtime.images.find(config.image, imagePlatform)).id;
  } catch (error) {
    if (hasCode(error, "not-found") || hasCode(error, "invalid-argument")) return undefined;
    throw error;
  }
}

async function createContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { runtime, facts } = context.ports;
  const platform = request.query.get("platform") ?? "";
  const { config, warnings } = containerConfigFromJson(await request.body(), {
    name: request.query.get("name") ?? "",
    platform: platform === "" ? undefined : parsePlatform(platform),
    limits: {
      cpus: facts.cpus,
      runtimes: runtime.facts().programs.map(({ name }) => name),
    },
  });
  const whole = await withImagePorts(context, config);
  const made = await runtime.containers.create(whole, request.signal);
  return json({ Id: made.id, Warnings: [...warnings, ...made.warnings] }, 201);
}

/** Those of the image are exposed, too. An image that is not there is told by what makes the container. */
async function withImagePorts(
  context: EngineContext,
  config: ContainerConfig,
): Promise<ContainerConfig> {
  try {
    const { exposedPorts } = (
      await context.ports.runtime.images.find(config.image, config.platform)
    ).config;
    return { ...config, exposedPorts: [...new Set([...exposedPorts, ...config.exposedPorts])] };
  } catch (error) {
    if (hasCode(error, "not-found")) return config;
    throw error;
  }
}

async function inspectContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers, facts } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  return json(
    containerToInspect({
      container,
      image: await imageConfig(context, container),
      execIds: containers.execsOf(container.id),
      snapshotter: facts().snapshotter,
      networking: networkingOf(context, container),
      sizes: flag(request, "size") ? await containers.sizes(container.id) : undefined,
    }),
  );
}

/** Undefined when the image is gone: the container is shown all the same. */
async function imageConfig(
  context: EngineContext,
  container: Container,
): Promise<ImageConfig | undefined> {
  try {
    return (await context.ports.runtime.images.find(container.imageId)).config;
  } catch (error) {
    if (error instanceof ClusterError) return undefined;
    throw error;
  }
}

async function startContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  if ((request.query.get("checkpoint") ?? "") !== "")
    throw new ClusterError("unimplemented", "checkpoints are not supported");
  const container = containers.find(param(request, "id"));
  if (container.state.phase === "paused")
    throw new ClusterError(
      "failed-precondition",
      "cannot start a paused container, try unpause instead",
    );
  if (container.state.phase === "running") return empty(304);
  await containers.start(container.id, request.signal);
  return empty(204);
}

async function stopContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  const options = endingOf(request);
  if (!isUp(container)) return empty(304);
  await containers.stop(container.id, options);
  return empty(204);
}

async function restartContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  await containers.restart(containers.find(param(request, "id")).id, endingOf(request));
  return empty(204);
}

/** Signal and time of a stop. */
function endingOf(request: EngineRequest): { signal: string; timeoutS: number | undefined } {
  return { signal: request.query.get("signal") ?? "", timeoutS: numberOf(request, "t") };
}

async function killContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const reference = param(request, "id");
  const container = containers.find(reference);
  if (!isUp(container))
    throw new ClusterError(
      "failed-precondition",
      `Cannot kill container: ${reference}: Container ${container.id} is not running`,
    );
  await containers.kill(container.id, request.query.get("signal") || "SIGKILL");
  return empty(204);
}

async function pauseContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { id, state } = containers.find(param(request, "id"));
  if (state.phase === "paused")
    throw new ClusterError("failed-precondition", `Container ${id} is already paused`);
  if (state.phase !== "running")
    throw new ClusterError("failed-precondition", `Container ${id} is not running`);
  await containers.pause(id);
  return empty(204);
}

async function unpauseContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { id, state } = containers.find(param(request, "id"));
  if (state.phase !== "paused")
    throw new ClusterError("failed-precondition", `Container ${id} is not paused`);
  await containers.unpause(id);
  return empty(204);
}

async function renameContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  const name = checkContainerName(request.query.get("name") ?? "");
  if (name === "")
    throw new ClusterError("invalid-argument", "Neither old nor new names may be empty");
  if (name === container.name)
    throw new ClusterError(
      "invalid-argument",
      "Renaming a container with the same name as its current name",
    );
  await containers.rename(container.id, name);
  return empty(204);
}

async function updateContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  const change = containerUpdateFromJson(
    await request.body(),
    container.config,
    context.ports.facts.cpus,
  );
  const warnings = await containers.update(container.id, change);
  return json({ Warnings: warnings.length === 0 ? null : warnings });
}

const conditions = ["not-running", "next-exit", "removed"] as const;

/** The head is sent at once: clients start the container only then. */
async function waitContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const text = request.query.get("condition") || "not-running";
  const condition = conditions.find((known) => known === text);
  if (condition === undefined)
    throw new ClusterError("invalid-argument", `invalid condition: ${JSON.stringify(text)}`);
  const container = containers.find(param(request, "id"));
  const exit = containers.wait(container.id, condition, request.signal);
  // Whoever reads the answer is told; a client that has left is not.
  exit.catch(() => {});
  return { kind: "stream", items: exitToJson(exit) };
}

async function* exitToJson(exit: Promise<{ exitCode: number; error: string }>) {
  const { exitCode, error } = await exit;
  yield { StatusCode: exitCode, Error: error === "" ? undefined : { Message: error } };
}

async function resizeContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  await containers.resize(containers.find(param(request, "id")).id, sizeOf(request));
  return empty();
}

/** Size of a terminal from the query. @throws ClusterError `invalid-argument` */
export function sizeOf(request: EngineRequest): { width: number; height: number } {
  return { width: numberOf(request, "w") ?? 0, height: numberOf(request, "h") ?? 0 };
}

async function removeContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  if (flag(request, "link")) throw new ClusterError("unimplemented", "links are not supported");
  await containers.remove(containers.find(param(request, "id")).id, {
    force: flag(request, "force"),
    volumes: flag(request, "v"),
  });
  return empty(204);
}

/** Removes what has stopped; what starts meanwhile, or is removed by another, is left. */
async function pruneContainers(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const filters = parseFilters(request.query.get("filters"), ["label", "label!", "until"]);
  const until = untilFrom(filters, context.clock.now());
  const deleted: string[] = [];
  let freedBytes = 0;
  for (const container of containers.list()) {
    if (isUp(container) || container.state.phase === "removing") continue;
    if (until !== undefined && container.createdAtMs > until) continue;
    if (!hasPruneLabels(filters, container.labels)) continue;
    try {
      const { ownBytes } = await containers.sizes(container.id);
      await containers.remove(container.id, { force: false, volumes: false });
      freedBytes += ownBytes;
      deleted.push(container.id);
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
    }
  }
  return json({
    ContainersDeleted: deleted.length === 0 ? null : deleted,
    SpaceReclaimed: freedBytes,
  });
}

/** Whether all labels of `label` and not all of `label!` are there. */
export function hasPruneLabels(
  filters: Filters,
  labels: Readonly<Record<string, string>>,
): boolean {
  const unwanted =
    valuesFor(filters, "label!").length > 0 && matchesLabels(filters, "label!", labels);
  return matchesLabels(filters, "label", labels) && !unwanted;
}
