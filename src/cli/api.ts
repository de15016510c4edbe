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

/**
 * Asks for a path.
 *
 * @param host `unix://PATH` or `tcp://HOST:PORT`, the latter by TLS where `DOCKER_TLS_VERIFY` is set, as with docker.
 * @throws ClusterError `unavailable` when nobody answers there, `invalid-argument` for a host of another kind.
 */
export function get(
  host: string,
  path: string,
  environment: NodeJS.ProcessEnv,
): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const isTls = host.startsWith("tcp://") && (environment["DOCKER_TLS_VERIFY"] ?? "") !== "";
    const options = { ...addressOf(host), path, headers: { Host: "skep" } };
    const outgoing = isTls
      ? httpsRequest({ ...options, ...certificates(environment) })
      : httpRequest(options);
    outgoing.once("error", (error) => {
      const text = `cannot reach the daemon at ${host} (${error.message}): is "skep daemon" running?`;
      reject(new ClusterError("unavailable", text, { cause: error }));
    });
    outgoing.once("response", (answer) => resolve(read(answer)));
    outgoing.end();
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

async function read(answer: IncomingMessage): Promise<ApiAnswer> {
  let text = "";
  for await (const piece of answer.setEncoding("utf8")) text += String(piece);
  return { status: answer.statusCode ?? 0, text };
}
