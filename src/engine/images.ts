/**
 * The node's images over HTTP: list, look at, name, remove, prune.
 */
import type { Image } from "../common/container/images.ts";
import type { Container } from "../common/container/types.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { isImageReference } from "../common/spec/image-reference.ts";
import { truthFor } from "./container-filter.ts";
import { hasPruneLabels } from "./containers.ts";
import type { EngineContext } from "./context.ts";
import { type Filters, parseFilters, valuesFor } from "./filters.ts";
import { filteredImages, imageFilters } from "./image-filter.ts";
import { untilFrom } from "./network-filter.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import type { Json } from "./translate/common.ts";
import { historyToJson, imageToInspect, imageToSummary, removalToJson } from "./translate/image.ts";

/** Routes of images. */
export function imageRoutes(context: EngineContext): readonly Route[] {
  const on = (
    method: Route["method"],
    pattern: string,
    handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>,
  ) => runtimeRoute(method, pattern, (request) => handler(context, request));
  return [
    on("GET", "/images/json", listImages),
    on("GET", "/images/search", async () => refuseSearch()),
    on("POST", "/images/prune", pruneImages),
    on("GET", "/images/{id...}/json", inspectImage),
    on("GET", "/images/{id...}/history", imageHistory),
    on("POST", "/images/{id...}/tag", tagImage),
    on("DELETE", "/images/{id...}", removeImage),
  ];
}

async function listImages(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { images } = context.ports.runtime;
  const filters = parseFilters(request.query.get("filters"), imageFilters);
  const found = filteredImages(await images.list(), filters, {
    beforeMs: await madeAt(context, filters, "before"),
    sinceMs: await madeAt(context, filters, "since"),
    untilMs: untilFrom(filters, context.clock.now()),
  });
  return json(newestFirst(found).map((image) => imageToSummary(image, request.version)));
}

/** A copy in the order lists have. */
export function newestFirst(images: readonly Image[]): readonly Image[] {
  return [...images].sort((a, b) => b.createdAtMs - a.createdAtMs);
}

/** When the image a filter names was made. @throws ClusterError `not-found` */
async function madeAt(
  context: EngineContext,
  filters: Filters,
  key: string,
): Promise<number | undefined> {
  const [reference] = valuesFor(filters, key);
  if (reference === undefined) return undefined;
  return (await context.ports.runtime.images.find(reference)).createdAtMs;
}

async function inspectImage(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { images, facts } = context.ports.runtime;
  const image = await images.find(param(request, "id"));
  return json(
    imageToInspect(image, { version: request.version, snapshotter: facts().snapshotter }),
  );
}

async function imageHistory(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const lines = await context.ports.runtime.images.history(param(request, "id"));
  return json(lines.map(historyToJson));
}

async function tagImage(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const repository = request.query.get("repo") ?? "";
  const tag = request.query.get("tag") ?? "";
  await context.ports.runtime.images.tag(param(request, "id"), nameFrom(repository, tag));
  return empty(201);
}

/**
 * The name a repository and a tag make; `latest` where there is none.
 * @throws ClusterError `invalid-argument` in Docker's words for what is no name.
 */
export function nameFrom(repository: string, tag: string): string {
  const last = repository.slice(repository.lastIndexOf("/") + 1);
  const name = tag === "" ? repository : `${repository}:${tag}`;
  if (/[A-Z]/.test(repository.slice(repository.indexOf("/") + 1)))
    throw new ClusterError(
      "invalid-argument",
      "invalid reference format: repository name must be lowercase",
    );
  if (repository.includes("@"))
    throw new ClusterError("invalid-argument", "refusing to create a tag with a digest reference");
  if (!isImageReference(name))
    throw new ClusterError("invalid-argument", "invalid reference format");
  return tag === "" && !last.includes(":") ? `${name}:latest` : name;
}

async function removeImage(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { images, containers } = context.ports.runtime;
  const reference = param(request, "id");
  const force = flag(request, "force");
  const image = await images.find(reference);
  const users = containers.list().filter(({ imageId }) => imageId === image.id);
  const conflict = conflictOf({ reference, image, users, force });
  if (conflict !== undefined) throw new ClusterError("failed-precondition", conflict);
  const removal = await images.remove(reference, {
    force,
    prune: !flag(request, "noprune"),
    inUse: usedImages(context),
  });
  return json(removalToJson(removal));
}

/** Whether a container is made from the image, as it is now. */
function usedImages(context: EngineContext): (imageId: string) => boolean {
  const used = new Set(context.ports.runtime.containers.list().map(({ imageId }) => imageId));
  return (imageId) => used.has(imageId);
}

interface Removal {
  readonly reference: string;
  readonly image: Image;
  readonly users: readonly Container[];
  readonly force: boolean;
}

/** What stands in the way of a removal, in Docker's words; undefined when nothing does. Pure. */
export function conflictOf({ reference, image, users, force }: Removal): string | undefined {
  const [first] = users;
  const id = shortId(image.id);
  const running = users.find(({ state }) => state.phase === "running" || state.phase === "paused");
  const byId = image.id === reference || image.id.slice("sha256:".length).startsWith(reference);
  const single = new Set(image.tags).size <= 1;
  if (!byId) {
    if (force || !single || first === undefined) return undefined;
    return `conflict: unable to remove repository reference ${JSON.stringify(reference)} (must force) - container ${shortId(first.id)} is using its referenced image ${id}`;
  }
  if (running !== undefined)
    return `conflict: unable to delete ${id} (cannot be forced) - image is being used by running container ${shortId(running.id)}`;
  if (force) return undefined;
  if (!single)
    return `conflict: unable to delete ${id} (must be forced) - image is referenced in multiple repositories`;
  if (first !== undefined)
    return `conflict: unable to delete ${id} (must be forced) - image is being used by stopped container ${shortId(first.id)}`;
  return undefined;
}

function shortId(id: string): string {
  return id.replace("sha256:", "").slice(0, 12);
}

/** Without filters the store of images does it in one go; labels it does not know. */
async function pruneImages(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { images } = context.ports.runtime;
  const filters = parseFilters(request.query.get("filters"), [
    "dangling",
    "label",
    "label!",
    "until",
  ]);
  const all = truthFor(filters, "dangling") === false;
  const untilMs = untilFrom(filters, context.clock.now()) ?? Number.MAX_SAFE_INTEGER;
  const inUse = usedImages(context);
  if (valuesFor(filters, "label").length === 0 && valuesFor(filters, "label!").length === 0) {
    const { freedBytes, ...steps } = await images.prune({ all, untilMs, inUse });
    return pruned(removalToJson({ ...steps, freedBytes }), freedBytes);
  }
  const steps: Json[] = [];
  let freed = 0;
  for (const image of await images.list()) {
    if ((!all && image.tags.length > 0) || image.createdAtMs > untilMs || inUse(image.id)) continue;
    if (!hasPruneLabels(filters, image.config.labels)) continue;
    // Forced, as it may have several names; that no container needs it is known.
    const removal = await images.remove(image.id, { force: true, prune: true, inUse });
    steps.push(...removalToJson(removal));
    freed += removal.freedBytes;
  }
  return pruned(steps, freed);
}

function pruned(steps: readonly Json[], freedBytes: number): Reply {
  return json({ ImagesDeleted: steps.length === 0 ? null : steps, SpaceReclaimed: freedBytes });
}

function refuseSearch(): never {
  throw new ClusterError(
    "unimplemented",
    "searching a registry is not supported: use the registry's own pages",
  );
}
