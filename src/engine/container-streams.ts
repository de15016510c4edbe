/**
 * What flows out of and into containers: attach and logs.
 */
import type { Container } from "../common/container/types.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { relay } from "./attached.ts";
import type { EngineContext } from "./context.ts";
import { detachKeys, frame, logTime, nanosecondsFrom } from "./frames.ts";
import { type Connection, streamType } from "./hijack.ts";
import { framesHeader } from "./log-frames.ts";
import type { Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { runtimeRoute } from "./runtime-route.ts";
import { olderThan } from "./versions.ts";

/** Routes of container streams. */
export function containerStreamRoutes(context: EngineContext): readonly Route[] {
  return [
    runtimeRoute("POST", "/containers/{id}/attach", (request) => attach(context, request)),
    runtimeRoute("GET", "/containers/{id}/attach/ws", async () => refuseWebsocket()),
    runtimeRoute("GET", "/containers/{id}/logs", (request) => logs(context, request)),
  ];
}

/** Whether the client knows the media type of frames. */
export function knowsFrames(request: EngineRequest): boolean {
  return !olderThan(request.version, "1.42");
}

async function attach(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const container = containers.find(param(request, "id"));
  const { config, id } = container;
  const keys = detachKeys(request.query.get("detachKeys") ?? "");
  checkAttachable(container);
  const stdin = flag(request, "stdin") && config.openStdin;
  // Before the head is sent: clients start the container once they have it, and nothing of its output may be missed.
  const attachment = await containers.attach(id, {
    stdin,
    stdout: flag(request, "stdout"),
    stderr: flag(request, "stderr"),
    logs: flag(request, "logs"),
    stream: flag(request, "stream"),
    signal: request.signal,
  });
  return {
    kind: "hijack",
    type: streamType(config.tty, knowsFrames(request)),
    converse: (connection) =>
      relay(connection, attachment, { stdin, closesStdin: config.stdinOnce, keys }),
  };
}

function checkAttachable({ id, state }: Container): void {
  if (state.phase === "paused")
    throw new ClusterError(
      "failed-precondition",
      `container ${id} is paused, unpause the container before attach`,
    );
  if (state.phase === "restarting")
    throw new ClusterError(
      "failed-precondition",
      `container ${id} is restarting, wait until the container is running`,
    );
}

/** Runs a conversation; what goes wrong in it is said where the output goes, as there is no other way left. */
export async function reported(
  connection: Connection,
  tty: boolean,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    const text = Buffer.from(`${error.message}\r\n`);
    await connection.write(tty ? text : frame("stderr", text));
  }
}

function refuseWebsocket(): never {
  throw new ClusterError(
    "unimplemented",
    "attaching over a websocket is not supported: use POST /containers/{id}/attach with Upgrade: tcp",
  );
}

async function logs(context: EngineContext, request: EngineRequest): Promise<Reply> {
  const { containers } = context.ports.runtime;
  const stdout = flag(request, "stdout");
  const stderr = flag(request, "stderr");
  if (!stdout && !stderr)
    throw new ClusterError(
      "invalid-argument",
      "Bad parameters: you must choose at least one stream",
    );
  const container = containers.find(param(request, "id"));
  const { tty } = container.config;
  const records = containers.logs(container.id, {
    stdout,
    stderr,
    follow: flag(request, "follow"),
    sinceNs: nanosecondsFrom("since", request.query.get("since") ?? ""),
    untilNs: nanosecondsFrom("until", request.query.get("until") ?? ""),
    tail: tailOf(request),
    signal: request.signal,
  });
  const details = flag(request, "details") ? `${attributesText(container)} ` : "";
  const timestamps = flag(request, "timestamps");
  const isBare = tty && request.header(framesHeader) === "";
  return {
    kind: "bytes",
    // Before frames had a media type the answer named none.
    type: knowsFrames(request) ? streamType(tty, true) : "",
    items: (async function* () {
      for await (const { stream, timeNs, data } of records) {
        const head = `${timestamps ? `${logTime(timeNs)} ` : ""}${details}`;
        const line = head === "" ? data : Buffer.concat([Buffer.from(head), data]);
        yield isBare ? line : frame(stream, line);
      }
    })(),
  };
}

/** How many records of the end of a log are wanted: anything but a number means all, as with Docker. */
export function tailOf(request: EngineRequest): number | undefined {
  const text = request.query.get("tail") ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The labels and variables that the log options `labels` and `env` name. */
export function attributesText(container: Container): string {
  const options = container.config.logDriver?.options ?? {};
  const names = (key: string) => (options[key] ?? "").split(",").filter((name) => name !== "");
  const env = new Map(
    container.env.map((line) => {
      const at = line.indexOf("=");
      return at < 0 ? ([line, ""] as const) : ([line.slice(0, at), line.slice(at + 1)] as const);
    }),
  );
  const pairs = [
    ...names("labels").flatMap((name) => {
      const value = container.labels[name];
      return value === undefined ? [] : [[name, value] as const];
    }),
    ...names("env").flatMap((name) => {
      const value = env.get(name);
      return value === undefined ? [] : [[name, value] as const];
    }),
  ];
  return pairs
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join(",");
}
