/**
 * Files of containers over HTTP: `docker cp` both ways, diff, export, commit.
 */
import type { PathStat } from "../common/container/containers.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { EngineContext } from "./context.ts";
import { nameFrom } from "./images.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import { timeToJson } from "./translate/common.ts";

/** Routes of files in containers. */
export function archiveRoutes(context: EngineContext): readonly Route[] {
  const on = (
    method: Route["method"],
    pattern: string,
    handler: (context: EngineContext, request: EngineRequest) => Promise<Reply>,
  ) => runtimeRoute(method, pattern, (request) => handler(context, request));
  return [
    on("HEAD", "/containers/{id}/archive", statPath),
    on("GET", "/containers/{id}/archive", getArchive),
    on("PUT", "/containers/{id}/archive", putArchive),
    on("GET", "/containers/{id}/changes", listChanges),
    on("GET", "/containers/{id}/export", exportContainer),
    on("POST", "/commit", commitContainer),
  ];
}

async function statPath(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const stat = await containers.statPath(param(request, "id"), pathOf(request));
  return { kind: "empty", status: 200, headers: statHeader(stat) };
}

async function getArchive(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { stat, tar } = await containers.getArchive(param(request, "id"), pathOf(request));
  return { kind: "bytes", type: "application/x-tar", items: tar, headers: statHeader(stat) };
}

async function putArchive(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  await containers.putArchive(param(request, "id"), pathOf(request), request.bytes(), {
    noOverwriteDirNonDir: flag(request, "noOverwriteDirNonDir"),
    copyUidGid: flag(request, "copyUIDGID"),
  });
  return empty();
}

function pathOf(request: EngineRequest): string {
  const path = request.query.get("path") ?? "";
  if (path === "")
    throw new ClusterError("invalid-argument", "bad parameter: 'path' cannot be empty");
  return path;
}

function statHeader(stat: PathStat): Readonly<Record<string, string>> {
  const shown = {
    name: stat.name,
    size: stat.sizeBytes,
    mode: stat.mode,
    mtime: timeToJson(stat.mtimeMs),
    linkTarget: stat.linkTarget,
  };
  const text = Buffer.from(JSON.stringify(shown)).toString("base64");
  return { "X-Docker-Container-Path-Stat": text };
}

const changeKinds = { modified: 0, added: 1, deleted: 2 } as const;

async function listChanges(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const changes = await context.ports.runtime.containers.changes(param(request, "id"));
  const shown = changes.map(({ kind, path }) => ({ Kind: changeKinds[kind], Path: path }));
  return json(shown.length === 0 ? null : shown);
}

async function exportContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const items = await context.ports.runtime.containers.exportTar(param(request, "id"));
  return { kind: "bytes", type: "application/octet-stream", items };
}

/** The configuration that clients may send along is that of the container: only `changes` alters it. */
async function commitContainer(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const { query } = request;
  const container = containers.find(query.get("container") ?? "");
  const repository = query.get("repo") ?? "";
  const name = repository === "" ? "" : nameFrom(repository, query.get("tag") ?? "");
  const colon = name.lastIndexOf(":");
  const id = await containers.commit(container.id, {
    repository: name.slice(0, Math.max(0, colon)),
    tag: name.slice(colon + 1),
    comment: query.get("comment") ?? "",
    author: query.get("author") ?? "",
    pause: query.get("pause") === null || flag(request, "pause"),
    changes: query.getAll("changes"),
  });
  return json({ Id: id }, 201);
}
