/**
 * Images that come and go: pull, push, load, save, import.
 *
 * Progress is a stream of JSON values as Docker's clients show it. What fails before the first of them has an HTTP status
 * of its own; later failures are the last value of the stream.
 */
import type { Image, Images, TransferProgress } from "../common/container/images.ts";
import { ClusterError, errorText, hasCode } from "../common/errors/cluster-error.ts";
import { parsePlatform } from "../common/platform/match.ts";
import type { EngineContext } from "./context.ts";
import { nameFrom } from "./images.ts";
import { ProgressQueue } from "./progress.ts";
import type { Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import type { Json } from "./translate/common.ts";
import { registryAuthFromHeader } from "./translate/registry-auth.ts";

/** Routes of image transfers. */
export function imageTransferRoutes(context: EngineContext): readonly Route[] {
  const on = (
    method: Route["method"],
    pattern: string,
    handler: (images: Images, request: EngineRequest) => Promise<Reply>,
  ) => runtimeRoute(method, pattern, (request) => handler(context.ports.runtime.images, request));
  return [
    on("POST", "/images/create", createImage),
    on("POST", "/images/load", loadImages),
    on("GET", "/images/get", saveImages),
    on("GET", "/images/{id...}/get", saveImages),
    on("POST", "/images/{id...}/push", pushImage),
  ];
}

async function createImage(images: Images, request: EngineRequest): Promise<Reply> {
  const from = request.query.get("fromImage") ?? "";
  return from === "" ? importImage(images, request) : pullImage(images, request, from);
}

async function pullImage(images: Images, request: EngineRequest, from: string): Promise<Reply> {
  const tag = request.query.get("tag") ?? "";
  // A digest comes where the tag does.
  const reference = tag.includes(":") ? `${from}@${tag}` : nameOfPull(from, tag);
  return progressing((queue) =>
    images
      .pull({
        reference,
        platform: platformOf(request),
        auth: registryAuthFromHeader(request.header("x-registry-auth")),
        onProgress: (progress) => queue.push(progressToJson(progress)),
        signal: request.signal,
      })
      .then(() => {}),
  );
}

function nameOfPull(from: string, tag: string): string {
  return from.includes("@") ? from : nameFrom(from, tag);
}

function platformOf(request: EngineRequest) {
  const text = request.query.get("platform") ?? "";
  return text === "" ? undefined : parsePlatform(text);
}

/** One step as clients read it. */
function progressToJson({ id, status, currentBytes, totalBytes }: TransferProgress): Json {
  const detail = {
    ...(currentBytes > 0 ? { current: currentBytes } : {}),
    ...(totalBytes > 0 ? { total: totalBytes } : {}),
  };
  return { status, ...(id === "" ? {} : { progressDetail: detail, id }) };
}

/** Without a tag all names of the repository are pushed, one after the other. */
async function pushImage(images: Images, request: EngineRequest): Promise<Reply> {
  const repository = param(request, "id");
  const tag = request.query.get("tag") ?? "";
  const auth = registryAuthFromHeader(request.header("x-registry-auth"));
  const names = tag === "" ? await namesIn(images, repository) : [nameFrom(repository, tag)];
  for (const name of names) await images.find(name);
  if (names.length === 0)
    throw new ClusterError(
      "not-found",
      `An image does not exist locally with the tag: ${repository}`,
    );
  return progressing(async (queue) => {
    queue.push({ status: `The push refers to repository [${repository}]` });
    for (const reference of names) {
      const { digest, sizeBytes } = await images.push({
        reference,
        platform: platformOf(request),
        auth,
        onProgress: (progress) => queue.push(progressToJson(progress)),
        signal: request.signal,
      });
      const pushed = reference.slice(reference.lastIndexOf(":") + 1);
      queue.push({ status: `${pushed}: digest: ${digest} size: ${sizeBytes}` });
      queue.push({ progressDetail: {}, aux: { Tag: pushed, Digest: digest, Size: sizeBytes } });
    }
  });
}

async function namesIn(images: Images, repository: string): Promise<readonly string[]> {
  const last = repository.slice(repository.lastIndexOf("/") + 1);
  if (last.includes(":")) return [repository];
  const all: readonly Image[] = await images.list();
  return all.flatMap(({ tags }) =>
    tags.filter((tag) => tag.slice(0, tag.lastIndexOf(":")) === repository),
  );
}

async function loadImages(images: Images, request: EngineRequest): Promise<Reply> {
  return progressing(async (queue) => {
    const lines = await images.load(request.bytes());
    for (const line of lines) queue.push({ stream: `${line}\n` });
  });
}

async function saveImages(images: Images, request: EngineRequest): Promise<Reply> {
  const named = param(request, "id");
  // Each `names` may hold several, as old clients send them.
  const names = named === "" ? request.query.getAll("names").flatMap((n) => n.split(",")) : [named];
  const wanted = names.filter((name) => name !== "");
  if (wanted.length === 0)
    throw new ClusterError("invalid-argument", "name the images to save: names=…");
  return { kind: "bytes", type: "application/x-tar", items: await images.save(wanted) };
}

async function importImage(images: Images, request: EngineRequest): Promise<Reply> {
  const source = request.query.get("fromSrc") ?? "";
  if (source === "")
    throw new ClusterError("invalid-argument", "invalid reference format: name an image to pull");
  if (source !== "-")
    throw new ClusterError(
      "unimplemented",
      "importing from an address is not supported: fetch the file and import it from standard input (-)",
    );
  const repository = request.query.get("repo") ?? "";
  const tag = request.query.get("tag") ?? "";
  const name = repository === "" ? "" : nameFrom(repository, tag);
  const colon = name.lastIndexOf(":");
  const target = {
    repository: name.slice(0, Math.max(0, colon)),
    tag: name.slice(colon + 1),
    message: request.query.get("message") ?? "",
    changes: request.query.getAll("changes"),
    platform: platformOf(request),
  };
  return progressing(async (queue) => {
    const id = await images.importTar(request.bytes(), target);
    queue.push({ status: id });
  });
}

/** Runs the work; answers once there is something to say of it, or throws what it failed with before that. */
async function progressing(work: (queue: ProgressQueue) => Promise<void>): Promise<Reply> {
  const queue = new ProgressQueue();
  work(queue).then(
    () => queue.end(undefined),
    (error: unknown) => queue.end(withoutPrompt(error)),
  );
  await queue.begun();
  return { kind: "stream", items: queue.values(failureToJson) };
}

/** With 401 clients ask for a password, where Docker's daemon has them say what is wrong: it answers 500. */
function withoutPrompt(error: unknown): unknown {
  if (!hasCode(error, "unauthenticated")) return error;
  return new ClusterError("unknown", errorText(error), { cause: error });
}

function failureToJson(error: unknown): Json {
  const message = errorText(error);
  return { errorDetail: { message }, error: message };
}
