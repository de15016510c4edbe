/**
 * Carries one HTTP request to another node and its answer back, through a tunnel: bodies at the pace of the slower side,
 * upgraded connections byte for byte with each direction ending by itself, and the end of either side told to the other.
 */
import {
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { hijackLingerMs, httpBodyBytesMax } from "../common/limits/limits.ts";
import type { Json } from "./translate/common.ts";

/** Where a request goes. */
export interface Carried {
  readonly nodeId: string;
  /** Path to ask for there, without API version and query. */
  readonly path: string;
  /** Sees, and may replace, the JSON of a successful answer. */
  readonly onJson?: (body: Json) => Json;
}

/** An answer that another node gives. */
export interface FarReply {
  readonly kind: "far";
  readonly carried: Carried;
}

/** A request on its way. */
export interface Carriage {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  /** The bare connection of a request that asks to be upgraded. */
  readonly upgraded: Duplex | undefined;
  readonly carried: Carried;
  /** Aborts when the client has left. */
  readonly signal: AbortSignal;
}

/** Headers that concern one connection only. */
const connectionHeaders: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Sends the request through the tunnel; resolves when the answer is written or either side is gone.
 *
 * @throws ClusterError `unavailable` when the node went away before it answered.
 */
export async function carry(carriage: Carriage, tunnel: Duplex): Promise<void> {
  const { signal } = carriage;
  const cut = () => tunnel.destroy();
  if (signal.aborted) cut();
  signal.addEventListener("abort", cut, { once: true });
  try {
    if (carriage.upgraded === undefined) await carryPlain(carriage, tunnel);
    else await carryRaw(carriage, carriage.upgraded, tunnel);
  } finally {
    signal.removeEventListener("abort", cut);
  }
}

/** The head as it came, then bytes both ways. */
async function carryRaw(
  { message, response, carried }: Carriage,
  client: Duplex,
  tunnel: Duplex,
): Promise<void> {
  response.detachSocket(client as Socket);
  tunnel.write(headOf(message, targetOf(message, carried)));
  client.pipe(tunnel);
  tunnel.pipe(client);
  tunnel.once("end", () => letGo(client));
  await new Promise<void>((resolve) => {
    client.once("close", () => {
      tunnel.destroy();
      resolve();
    });
    tunnel.once("close", () => {
      // All that came is on its way to the client already; a tunnel that broke off has nothing more to come.
      if (!tunnel.readableEnded) client.destroy();
    });
  });
}

/** Ends our side once all is sent, and cuts a client that then does not end its own. */
function letGo(client: Duplex): void {
  client.end(() => {
    const timer = setTimeout(() => client.destroy(), hijackLingerMs).unref();
    client.once("close", () => clearTimeout(timer));
  });
}

function headOf(message: IncomingMessage, target: string): string {
  const lines = [`${message.method ?? "GET"} ${target} HTTP/1.1`];
  for (let at = 0; at + 1 < message.rawHeaders.length; at += 2) {
    lines.push(`${message.rawHeaders[at]}: ${message.rawHeaders[at + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

async function carryPlain(carriage: Carriage, tunnel: Duplex): Promise<void> {
  const { message, response, carried } = carriage;
  const answer = await ask(carriage, tunnel);
  for (const [name, value] of Object.entries(passedOn(answer.headers))) {
    if (value !== undefined) response.setHeader(name, value);
  }
  const status = answer.statusCode ?? 502;
  if (carried.onJson !== undefined && status < 300) {
    const body = Buffer.from(`${JSON.stringify(carried.onJson(await jsonOf(answer)))}\n`);
    response.writeHead(status, { "Content-Length": body.length }).end(body);
    return;
  }
  response.writeHead(status);
  // A follower of logs, say, is to see the head before there is a body.
  response.flushHeaders();
  await new Promise<void>((resolve) => {
    const broken = () => {
      // No end is better than one that looks like the real one.
      if (!answer.complete) response.destroy();
      resolve();
    };
    answer.once("close", broken);
    response.once("close", () => {
      if (!answer.complete) tunnel.destroy();
      resolve();
    });
    answer.pipe(response);
  });
  message.unpipe();
}

/** Sends the request; resolves with the head of the answer. */
function ask({ message, carried }: Carriage, tunnel: Duplex): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      createConnection: () => tunnel,
      method: message.method ?? "GET",
      path: targetOf(message, carried),
      headers: passedOn(message.headers),
    });
    outgoing.once("response", resolve);
    // Not once: it fails anew when the tunnel breaks while the answer is read, which the answer tells as well.
    outgoing.on("error", (error) => reject(goneError(carried.nodeId, tunnel.errored ?? error)));
    const hasBody =
      message.headers["transfer-encoding"] !== undefined ||
      Number(message.headers["content-length"] ?? 0) > 0;
    if (!hasBody) {
      outgoing.end();
      return;
    }
    message.pipe(outgoing);
    message.once("error", () => tunnel.destroy());
  });
}

function passedOn(headers: IncomingMessage["headers"]): OutgoingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !connectionHeaders.has(name)),
  );
}

function targetOf({ url = "/" }: IncomingMessage, { path }: Carried): string {
  const [version = ""] = /^\/v[\d.]+(?=\/)/.exec(url) ?? [];
  const query = url.indexOf("?");
  return `${version}${path}${query < 0 ? "" : url.slice(query)}`;
}

async function jsonOf(answer: IncomingMessage): Promise<Json> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of answer) {
    pieces.push(piece);
    length += piece.length;
    if (length > httpBodyBytesMax) break;
  }
  const value: unknown = JSON.parse(Buffer.concat(pieces).toString("utf8"));
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

function goneError(nodeId: string, error: Error): ClusterError {
  if (error instanceof ClusterError) return error;
  return new ClusterError(
    "unavailable",
    `node ${nodeId} went away before it answered: ${errorText(error)}`,
    { cause: error, fields: { "node.id": nodeId } },
  );
}
