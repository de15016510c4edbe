/**
 * Requests of the command line to the Engine API of a daemon: at the socket the docker command would ask, too.
 */
import { readFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Where the daemon listens unless it is said otherwise. */
export const defaultHost = "unix:///run/skep/docker.sock";

/** What came back. */
export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
}

/** Asks for a path, as `ask` does. */
export function get(
  host: string,
  path: string,
  environment: NodeJS.ProcessEnv,
): Promise<ApiAnswer> {
  return ask({ host, environment }, { method: "GET", path });
}

/** The daemon that is asked. */
export interface ApiHost {
  readonly host: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** One request. */
export interface ApiRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Called with the answer's pieces as they come, if it was a good one; its text is empty then. */
  readonly onData?: (piece: Buffer) => void;
}

/**
 * Sends a request.
 *
 * @param at.host `unix://PATH` or `tcp://HOST:PORT`, the latter by TLS where `DOCKER_TLS_VERIFY` is set, as with docker.
 * @throws ClusterError `unavailable` when nobody answers there, `invalid-argument` for a host of another kind.
 */
export function ask({ host, environment }: ApiHost, request: ApiRequest): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const isTls = host.startsWith("tcp://") && (environment["DOCKER_TLS_VERIFY"] ?? "") !== "";
    const { method, path, body } = request;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      Host: "skep",
      ...(text !== undefined && {
        "Content-Type": "application/json",
        "Content-Length": String(Buffer.byteLength(text)),
      }),
      ...request.headers,
    };
    const options = { ...addressOf(host), method, path, headers };
    const outgoing = isTls
      ? httpsRequest({ ...options, ...certificates(environment) })
      : httpRequest(options);
    outgoing.once("error", (error) => {
      const message = `cannot reach the daemon at ${host} (${error.message}): is "skep daemon" running?`;
      reject(new ClusterError("unavailable", message, { cause: error }));
    });
    outgoing.once("response", (answer) => resolve(read(answer, request.onData)));
    outgoing.end(text);
  });
}

function addressOf(host: string): RequestOptions {
  if (host.startsWith("unix://")) return { socketPath: host.slice("unix://".length) };
  const [, name, port] = /^(?:tcp|https?):\/\/\[?([^\]/]+?)\]?:(\d+)\/?$/.exec(host) ?? [];
  if (name === undefined || port === undefined) {
    const text = `invalid host ${host}: it must be unix://PATH or tcp://HOST:PORT`;
    throw new ClusterError("invalid-argument", text);
  }
  return { host: name, port: Number(port) };
}

function certificates(environment: NodeJS.ProcessEnv) {
  const folder = environment["DOCKER_CERT_PATH"] || join(environment["HOME"] ?? "/root", ".docker");
  const file = (name: string) => readFileSync(join(folder, name));
  return { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") };
}

async function read(
  answer: IncomingMessage,
  onData: ((piece: Buffer) => void) | undefined,
): Promise<ApiAnswer> {
  const status = answer.statusCode ?? 0;
  if (onData !== undefined && status === 200) {
    for await (const piece of answer) onData(piece as Buffer);
    return { status, text: "" };
  }
  const pieces: Buffer[] = [];
  for await (const piece of answer) pieces.push(piece as Buffer);
  return { status, text: Buffer.concat(pieces).toString() };
}

/** What a refusal says, without the JSON around it. */
export function messageOf(text: string): string {
  try {
    const { message }: { message?: unknown } = JSON.parse(text);
    if (typeof message === "string") return plainText(message);
  } catch {
    // Not of our daemon: shown as it is.
  }
  return text.trim();
}

/** Without how Docker's managers begin, which programs look for and people do not. */
export function plainText(message: string): string {
  return message.replace(/^rpc error: code = \w+ desc = /, "");
}

/** The text of an answer that is a good one. @throws Error with the daemon's words. */
export function goodText({ status, text }: ApiAnswer): string {
  if (status === 200) return text;
  throw new Error(`Error response from daemon: ${messageOf(text)}`);
}
