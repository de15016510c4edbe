/**
 * Processes in containers over HTTP: make, start (attached or not), look at, resize.
 */
import type { ExecProcess } from "../common/container/containers.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { execKeysMax } from "../common/limits/limits.ts";
import { relay } from "./attached.ts";
import { knowsFrames, reported } from "./container-streams.ts";
import { sizeOf } from "./containers.ts";
import type { EngineContext } from "./context.ts";
import { detachKeys } from "./frames.ts";
import { type Connection, streamType } from "./hijack.ts";
import { empty, json, type Reply } from "./reply.ts";
import { type EngineRequest, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import { execConfigFromJson, execToJson } from "./translate/exec.ts";

/** Detach keys of processes that are not started yet, where they are not the default. */
type KeysById = Map<string, Uint8Array>;

/** Routes of processes. */
export function execRoutes(context: EngineContext): readonly Route[] {
  const keys: KeysById = new Map();
  return [
    runtimeRoute("POST", "/containers/{id}/exec", (request) => createExec(context, request, keys)),
    runtimeRoute("POST", "/exec/{id}/start", (request) => startExec(context, request, keys)),
    runtimeRoute("POST", "/exec/{id}/resize", (request) => resizeExec(context, request)),
    runtimeRoute("GET", "/exec/{id}/json", async (request) =>
      json(execToJson(context.ports.runtime.containers.findExec(param(request, "id")))),
    ),
  ];
}

async function createExec(
  context: EngineContext,
  request: EngineRequest,
  keys: KeysById,
): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  const body = await request.body();
  const config = execConfigFromJson(body);
  const keysText = body.string("DetachKeys");
  const wanted = detachKeys(keysText);
  if (container.state.phase === "paused")
    throw new ClusterError(
      "failed-precondition",
      `Container ${container.id} is paused, unpause the container before exec`,
    );
  if (container.state.phase !== "running")
    throw new ClusterError("failed-precondition", `Container ${container.id} is not running`);
  const id = await containers.createExec(container.id, config);
  if (keysText !== "") {
    keys.set(id, wanted);
    const [oldest] = keys.keys();
    if (keys.size > execKeysMax && oldest !== undefined) keys.delete(oldest);
  }
  return json({ Id: id }, 201);
}

async function startExec(
  context: EngineContext,
  request: EngineRequest,
  keys: KeysById,
): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const process = containers.findExec(param(request, "id"));
  const body = await request.body();
  const size = body.consoleSize("ConsoleSize");
  checkStartable(process);
  if (body.bool("Detach")) {
    await containers.startExec(process.id, { detach: true, size });
    return empty();
  }
  const { tty, attachStdin } = process.config;
  const wanted = keys.get(process.id) ?? detachKeys("");
  keys.delete(process.id);
  const attached = async (connection: Connection): Promise<void> => {
    const attachment = await containers.startExec(process.id, { detach: false, size });
    if (attachment === undefined) return;
    await relay(connection, attachment, { stdin: attachStdin, closesStdin: true, keys: wanted });
  };
  return {
    kind: "hijack",
    type: streamType(tty, knowsFrames(request)),
    converse: (connection) => reported(connection, tty, () => attached(connection)),
  };
}

function checkStartable(process: ExecProcess): void {
  if (process.running)
    throw new ClusterError(
      "failed-precondition",
      `Error: Exec command ${process.id} is already running`,
    );
  if (process.exitCode !== undefined)
    throw new ClusterError(
      "failed-precondition",
      `Error: Exec command ${process.id} has already run`,
    );
}

async function resizeExec(context: EngineContext, request: EngineRequest): Promise<Reply> {
  await context.ports.runtime.containers.resizeExec(param(request, "id"), sizeOf(request));
  return empty();
}
