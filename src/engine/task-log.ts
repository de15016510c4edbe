/**
 * The log of one task's container, wherever it runs: from this node's runtime, or over a tunnel from its node.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Task } from "../common/api/generated/api.ts";
import { ClusterError, errorText, hasCode } from "../common/errors/cluster-error.ts";
import { httpBodyBytesMax } from "../common/limits/limits.ts";
import { attributesText } from "./container-streams.ts";
import type { EngineContext } from "./context.ts";
import { containerOf } from "./far-lookup.ts";
import { logTime } from "./frames.ts";
import { type FramedRecord, framesHeader, recordsFromFrames } from "./log-frames.ts";
import type { NodeTunnel } from "./ports.ts";

/** What of a log is wanted. */
export interface LogWish {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly details: boolean;
  readonly sinceNs: bigint | undefined;
  readonly untilNs: bigint | undefined;
  readonly tail: number | undefined;
  readonly signal: AbortSignal;
}

/** Told while a log is read. */
export interface LogListener {
  /** The node has answered: records are on their way. */
  onOpen(): void;
  /** The node has not been heard of for a while; it may come back. */
  onSilent(): void;
}

/**
 * The records of a task's log, oldest first; none for a container that is gone or whose log cannot be read.
 *
 * @throws ClusterError `unavailable` when the node cannot be reached, or goes away while its log is read.
 */
export async function* taskLog(
  context: EngineContext,
  task: Task,
  wish: LogWish,
  listener: LogListener,
): AsyncGenerator<FramedRecord, void, void> {
  const { swarm, tunnels } = context.ports;
  if (task.nodeId === swarm.status().nodeId) {
    listener.onOpen();
    yield* localLog(context, task, wish);
    return;
  }
  const tunnel = await tunnels.open(task.nodeId, wish.signal);
  const stop = () => tunnel.stream.destroy(wish.signal.reason);
  wish.signal.addEventListener("abort", stop, { once: true });
  try {
    wish.signal.throwIfAborted();
    tunnel.onSilent(() => listener.onSilent());
    const answer = await ask(tunnel, task, wish);
    listener.onOpen();
    if (answer.statusCode !== 200) {
      await checkRefusal(answer, task);
      return;
    }
    yield* recordsFromFrames(answer, wish.details);
  } catch (error) {
    throw goneError(task, tunnel.stream.errored ?? error);
  } finally {
    wish.signal.removeEventListener("abort", stop);
    tunnel.stream.destroy();
  }
}

async function* localLog(
  context: EngineContext,
  task: Task,
  wish: LogWish,
): AsyncGenerator<FramedRecord, void, void> {
  const { containers } = context.ports.runtime;
  try {
    const container = containers.find(containerOf(task));
    const details = wish.details ? attributesText(container) : "";
    for await (const { stream, timeNs, data } of containers.logs(container.id, wish)) {
      yield { stream, time: logTime(timeNs), details, data };
    }
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
}

/** Gone with its container, or kept by a driver that does not give it back. */
function isUnreadable(error: unknown): boolean {
  return hasCode(error, "not-found") || hasCode(error, "unimplemented");
}

function ask({ stream }: NodeTunnel, task: Task, wish: LogWish): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      createConnection: () => stream,
      path: `/containers/${containerOf(task)}/logs?${queryOf(wish)}`,
      headers: { Host: "docker", [framesHeader]: "1" },
    });
    outgoing.once("response", resolve);
    // Not once: it fails anew when the tunnel breaks while the answer is read, which the answer tells as well.
    outgoing.on("error", reject);
    outgoing.end();
  });
}

function queryOf(wish: LogWish): URLSearchParams {
  const query = new URLSearchParams({ timestamps: "1" });
  if (wish.stdout) query.set("stdout", "1");
  if (wish.stderr) query.set("stderr", "1");
  if (wish.follow) query.set("follow", "1");
  if (wish.details) query.set("details", "1");
  if (wish.sinceNs !== undefined) query.set("since", secondsText(wish.sinceNs));
  if (wish.untilNs !== undefined) query.set("until", secondsText(wish.untilNs));
  if (wish.tail !== undefined) query.set("tail", String(wish.tail));
  return query;
}

function secondsText(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, "0")}`;
}

/** @throws ClusterError for a refusal that is more than "there is no such log". */
async function checkRefusal(answer: IncomingMessage, task: Task): Promise<void> {
  const { statusCode = 0 } = answer;
  let text = "";
  for await (const piece of answer) {
    text += String(piece);
    if (text.length > httpBodyBytesMax) break;
  }
  if (statusCode === 404 || statusCode === 501) return;
  throw new ClusterError("unavailable", `node ${task.nodeId}: ${messageOf(text)}`);
}

function messageOf(text: string): string {
  try {
    const { message }: { message?: unknown } = JSON.parse(text);
    return typeof message === "string" ? message : text;
  } catch {
    // Not from our own server; shown as it is.
    return text;
  }
}

function goneError(task: Task, error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  const text = `node ${task.nodeId} is not available: ${errorText(error)}`;
  return new ClusterError("unavailable", text, { cause: error });
}
