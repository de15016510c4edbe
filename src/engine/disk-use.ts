/**
 * `GET /system/df`: what images, containers and volumes take on the disk of this node.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { EngineContext } from "./context.ts";
import { newestFirst } from "./images.ts";
import { networkingOf } from "./networking.ts";
import { json, type Reply } from "./reply.ts";
import type { EngineRequest } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import type { Json } from "./translate/common.ts";
import { containerToSummary } from "./translate/container-summary.ts";
import { imageToSummary } from "./translate/image.ts";
import { volumeToJson } from "./translate/volume.ts";
import { olderThan } from "./versions.ts";
import { usersOf } from "./volumes.ts";

const kinds = ["container", "image", "volume", "build-cache"];

/** The route of disk use. */
export function diskUseRoutes(context: EngineContext): readonly Route[] {
  return [runtimeRoute("GET", "/system/df", (request) => diskUse(context, request))];
}

async function diskUse(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const wanted = request.query.getAll("type");
  const unknown = wanted.find((kind) => !kinds.includes(kind));
  if (unknown !== undefined)
    throw new ClusterError("invalid-argument", `unknown object type: ${unknown}`);
  const wants = (kind: string) => wanted.length === 0 || wanted.includes(kind);
  return json({
    LayersSize: wants("image") ? await context.ports.runtime.images.layersBytes() : 0,
    Images: wants("image") ? await images(context, request) : null,
    Containers: wants("container") ? await containers(context) : null,
    Volumes: wants("volume") ? await volumes(context) : null,
    BuildCache: wants("build-cache") ? [] : null,
    BuilderSize: olderThan(request.version, "1.42") ? 0 : undefined,
  });
}

async function images(context: EngineContext, request: EngineRequest): Promise<readonly Json[]> {
  const { runtime } = context.ports;
  const used = runtime.containers.list().map(({ imageId }) => imageId);
  return newestFirst(await runtime.images.list()).map((image) => ({
    ...imageToSummary(image, request.version, used.filter((id) => id === image.id).length),
    SharedSize: 0,
  }));
}

async function containers(context: EngineContext): Promise<readonly Json[]> {
  const { runtime } = context.ports;
  const now = context.clock.now();
  const lines = runtime.containers.list().map(async (container) => {
    const sizes = await runtime.containers.sizes(container.id);
    const networking = networkingOf(context, container);
    const { image } = container.config;
    return containerToSummary(container, { now, image, networking, sizes });
  });
  return Promise.all(lines);
}

async function volumes(context: EngineContext): Promise<readonly Json[]> {
  const { runtime } = context.ports;
  const lines = runtime.volumes.list().map(async (volume) =>
    volumeToJson(volume, {
      bytes: await runtime.volumes.sizeBytes(volume.name),
      containers: usersOf(context, volume.name).length,
    }),
  );
  return Promise.all(lines);
}
