/**
 * One request as handlers see it: parameters of the path, query, API version, body.
 *
 * Bodies are bounded, must be JSON where JSON is read, and are never trusted: `JSON.parse` here, types in
 * `translate/reader.ts`.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { httpBodyBytesMax, httpRequestTimeoutMs } from "../common/limits/limits.ts";
import { takeBytes } from "./pieces.ts";
import { bodyObject, JsonObject } from "./translate/reader.ts";

const tooLong = `request body is too large: at most ${httpBodyBytesMax} bytes are read`;

/** A request on its way to a handler. */
export interface EngineRequest {
  readonly method: string;
  /** The path without version and query. */
  readonly path: string;
  /** The named parts of the route, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** API version the client speaks, `major.minor`. */
  readonly version: string;
  header(name: string): string;
  /** The body as a JSON object; an empty one when there is no body. */
  body(): Promise<JsonObject>;
  /** The body as it comes: archives and images. */
  bytes(): AsyncIterable<Uint8Array>;
  /** Aborts when the client leaves, the server stops, or the time for the request is over (streams have no limit). */
  readonly signal: AbortSignal;
  /** The same, cheaper, for what only listens to it; see `LightSignal`. */
  readonly lightSignal: AbortSignal;
}

/** A part of the path, "" when the route has no such part. */
export function param(request: EngineRequest, name: string): string {
  return request.params[name] ?? "";
}

/** A flag of the query as Docker's daemon reads lenient ones: anything but "", 0, no, false and none is true. */
export function flag(request: EngineRequest, name: string): boolean {
  const text = (request.query.get(name) ?? "").trim().toLowerCase();
  return !["", "0", "no", "false", "none"].includes(text);
}

/** A flag that must be a truth value. @throws ClusterError `invalid-argument` naming it. */
export function strictFlag(request: EngineRequest, name: string): boolean {
  const text = request.query.get(name) ?? "";
  if (["", "0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  throw new ClusterError("invalid-argument", `invalid value for ${name}: ${text}`);
}

/** The `version` of an update. @throws ClusterError `invalid-argument` when it is not a number. */
export function versionOf(request: EngineRequest, what: string): number {
  const text = request.query.get("version") ?? "";
  const version = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(version))
    throw new ClusterError(
      "invalid-argument",
      `invalid ${what} version '${text}': version must be the Version.Index of the ${what} as last read`,
    );
  return version;
}

/**
 * Reads the whole body as a JSON object.
 * @param upgraded The connection of a request that asks to be upgraded: Node's parser leaves its body there.
 * @throws ClusterError `invalid-argument` saying what is wrong with it.
 */
export async function readBody(message: IncomingMessage, upgraded?: Duplex): Promise<JsonObject> {
  const length = message.headers["content-length"];
  const isEmpty = message.headers["transfer-encoding"] === undefined && !Number(length);
  checkContentType(message.headers["content-type"], isEmpty);
  if (isEmpty) return new JsonObject({}, "");
  const text =
    upgraded === undefined
      ? await readText(message, Number(length ?? 0))
      : await readUpgraded(upgraded, length);
  if (text === "") invalid("invalid JSON: got EOF while reading request body");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return invalid(`invalid JSON: ${withoutContent(errorText(error))}`);
  }
  return bodyObject(value);
}

/** An absent type is let pass, as Docker does for bodies that are empty; scripts leave it out. */
function checkContentType(type: string | undefined, isEmpty: boolean): void {
  if (type === undefined) {
    if (!isEmpty)
      invalid("malformed Content-Type header (): must be 'application/json' for a request body");
    return;
  }
  const [media = ""] = type.split(";");
  if (media.trim().toLowerCase() !== "application/json" && !isEmpty)
    invalid(`unsupported Content-Type header (${type}): must be 'application/json'`);
}

async function readUpgraded(socket: Duplex, length: string | undefined): Promise<string> {
  if (length === undefined) invalid("a request to be upgraded must say the length of its body");
  const count = Number(length);
  if (count > httpBodyBytesMax) invalid(tooLong);
  return (await takeBytes(socket, count)).toString("utf8");
}

/** By events: iterating would cost as much as all the rest of a small request. */
async function readText(message: IncomingMessage, announced: number): Promise<string> {
  if (announced > httpBodyBytesMax) invalid(tooLong);
  const pieces: Buffer[] = [];
  let length = 0;
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    // Errors are made when they are needed: their stacks cost as much as all the rest of a small request.
    timer = setTimeout(() => {
      reject(new ClusterError("deadline-exceeded", "the request was not sent in time"));
    }, httpRequestTimeoutMs);
    message.on("data", (piece: Buffer) => {
      length += piece.length;
      if (length <= httpBodyBytesMax) pieces.push(piece);
      else reject(new ClusterError("invalid-argument", tooLong));
    });
    message.once("end", resolve);
    message.once("error", reject);
    message.once("close", () => {
      if (!message.complete) reject(new ClusterError("cancelled", "the client has left"));
    });
  }).finally(() => clearTimeout(timer));
  return Buffer.concat(pieces).toString("utf8");
}

/** V8 quotes the text around a mistake; bodies hold secrets, so only the place is kept. */
function withoutContent(message: string): string {
  const place = /at position (\d+)/.exec(message);
  if (place !== null) return `unexpected character at byte ${place[1]}`;
  return /end of JSON/i.test(message) ? "unexpected end of JSON input" : "unexpected character";
}

function invalid(message: string): never {
  throw new ClusterError("invalid-argument", message);
}
