/**
 * HTTP to registries and to their token services: one request with its redirects, bounded waits, proxies, and errors in
 * words that users know from Docker.
 *
 * A redirect to another host is followed without the Authorization header: registries send clients to the stores of others,
 * which must not see the credentials (and refuse what carries two).
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { ClusterError, errorText } from "../errors/cluster-error.ts";
import {
  registryConnectionIdleMs,
  registryConnectMs,
  registryRedirectsMax,
  registryStallMs,
} from "../limits/limits.ts";
import { type Environment, proxyFor, proxyHeaders, tunnelThrough } from "./proxy.ts";
import { hostName } from "./settings.ts";
import type { Trust, TrustStore } from "./trust.ts";

/** One request. */
export interface WebRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** A stream is sent once: neither redirects nor a second try are possible with it. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Certificates are checked. */
  readonly verify: boolean;
  /** `host[:port]` of the registry: its certificates are trusted beside those of the address's own host. */
  readonly trustHost: string;
  readonly signal: AbortSignal;
}

/** An answer, its body still to be read: one of `chunks`, `read` and `discard` must be called. */
export interface WebResponse {
  readonly status: number;
  readonly url: URL;
  /** "" when there is no such header. */
  header(name: string): string;
  /** The body as it comes. @throws ClusterError `unavailable` when it is cut or stalls */
  chunks(): AsyncIterable<Uint8Array>;
  /** The whole body. @throws ClusterError `failed-precondition` when it is longer than `bytesMax` */
  read(bytesMax: number): Promise<Uint8Array>;
  discard(): void;
}

/** Sends requests and keeps connections. */
export class WebClient {
  readonly #trust: TrustStore;
  readonly #environment: Environment;
  readonly #plain = new HttpAgent({ keepAlive: true, timeout: registryConnectionIdleMs });
  /** By trust and verification: a connection made under other certificates must not be used again. */
  readonly #secure = new Map<string, HttpsAgent>();

  constructor(trust: TrustStore, environment: Environment) {
    this.#trust = trust;
    this.#environment = environment;
  }

  /** Resolves with the answer to the last redirect. @throws ClusterError `unavailable`, `failed-precondition` (TLS) */
  async send(request: WebRequest): Promise<WebResponse> {
    let { url, headers } = request;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#once({ ...request, url, headers });
      const next = redirectOf(request, url, response);
      if (next === undefined) return response;
      response.discard();
      if (redirects >= registryRedirectsMax)
        throw new ClusterError("unavailable", `${label(request)}: stopped after 10 redirects`);
      if (next.host !== url.host || next.protocol !== url.protocol) {
        headers = Object.fromEntries(
          Object.entries(headers).filter(([name]) => name.toLowerCase() !== "authorization"),
        );
      }
      url = next;
    }
  }

  /** Closes all connections. */
  close(): void {
    this.#plain.destroy();
    for (const agent of this.#secure.values()) agent.destroy();
    this.#secure.clear();
  }

  /** A connection the server closed while it was idle is no failure: the request then goes out again on a new one. */
  async #once(request: WebRequest): Promise<WebResponse> {
    const replayable = request.body === undefined || request.body instanceof Uint8Array;
    for (;;) {
      const outcome = await this.#exchange(request);
      if (!("error" in outcome)) return outcome;
      request.signal.throwIfAborted();
      if (!(outcome.reused && replayable)) throw failure(request, outcome.error);
    }
  }

  async #exchange(request: WebRequest): Promise<WebResponse | Failed> {
    const { url, signal } = request;
    signal.throwIfAborted();
    const proxy = proxyFor(url, this.#environment);
    let connection: object;
    try {
      connection = await this.#connection(request, proxy);
    } catch (error) {
      return { error, reused: false };
    }
    const secure = url.protocol === "https:";
    const through = secure ? undefined : proxy;
    const options = {
      method: request.method,
      host: hostName((through ?? url).host),
      port: (through ?? url).port || (secure ? 443 : 80),
      path: through === undefined ? `${url.pathname}${url.search}` : url.href,
      headers: {
        host: url.host,
        ...(through === undefined ? {} : proxyHeaders(through)),
        ...request.headers,
      },
      signal,
      ...connection,
    };
    const outgoing = secure ? httpsRequest(options) : httpRequest(options);
    return await exchange(request, outgoing);
  }

  /** What the connection is made or taken from. */
  async #connection(request: WebRequest, proxy: URL | undefined): Promise<object> {
    const { url, verify } = request;
    if (url.protocol !== "https:") return { agent: this.#plain };
    const trust = this.#trust.for([url.host, request.trustHost]);
    if (proxy === undefined) return { agent: this.#agent(trust, verify) };
    const host = hostName(url.host);
    const socket = await tunnelThrough(proxy, `${hostName(url.host)}:${url.port || 443}`);
    const createConnection = () =>
      tlsConnect({
        socket,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        secureContext: trust.context,
        rejectUnauthorized: verify,
      });
    return { createConnection };
  }

  #agent(trust: Trust, verify: boolean): HttpsAgent {
    const key = `${verify} ${trust.key}`;
    const kept = this.#secure.get(key);
    if (kept !== undefined) return kept;
    const agent = new HttpsAgent({
      keepAlive: true,
      timeout: registryConnectionIdleMs,
      secureContext: trust.context,
      rejectUnauthorized: verify,
    });
    // Those let go are not destroyed: they may have requests under way, and close idle connections by themselves.
    if (this.#secure.size >= agentsMax) this.#secure.clear();
    this.#secure.set(key, agent);
    return agent;
  }
}

/** What errors say of a server that nobody reached. */
export const connectTimeout = "dial tcp: i/o timeout";

/** Contexts of TLS in use at once. */
const agentsMax = 16;

interface Failed {
  readonly error: unknown;
  /** The connection had served before, so that the server may have closed it meanwhile. */
  readonly reused: boolean;
}

/** Sends the body and waits for the head of the answer, as long as something goes on. */
function exchange(request: WebRequest, outgoing: ClientRequest): Promise<WebResponse | Failed> {
  return new Promise((resolve) => {
    let failed: unknown;
    const end = (text: string) => () => outgoing.destroy(new Error(text));
    let timer = setTimeout(end(connectTimeout), registryConnectMs);
    const connected = () => {
      clearTimeout(timer);
      timer = setTimeout(end("i/o timeout while waiting for the answer"), registryStallMs);
    };
    outgoing.once("socket", (socket) => {
      if (socket.connecting) socket.once("connect", connected);
      else connected();
    });
    outgoing.once("response", (message) => {
      clearTimeout(timer);
      resolve(new Answer(request, message));
    });
    outgoing.on("error", (error) => {
      clearTimeout(timer);
      resolve({ error: failed ?? error, reused: outgoing.reusedSocket });
    });
    const { body } = request;
    if (body === undefined || body instanceof Uint8Array) {
      outgoing.end(body);
      return;
    }
    // While we send, the other side is silent by right: each piece it takes starts the wait anew.
    pump(body, outgoing, () => timer.refresh()).catch((error: unknown) => {
      failed = error;
      outgoing.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
}

async function pump(
  body: AsyncIterable<Uint8Array>,
  outgoing: ClientRequest,
  progress: () => void,
): Promise<void> {
  for await (const piece of body) {
    if (outgoing.destroyed) return;
    progress();
    await new Promise<void>((resolve) => {
      // Also called, with an error, when the request fails meanwhile.
      outgoing.write(piece, () => resolve());
    });
  }
  outgoing.end();
}

/** The answer as `WebResponse`. */
class Answer implements WebResponse {
  readonly status: number;
  readonly url: URL;
  readonly #request: WebRequest;
  readonly #message: IncomingMessage;

  constructor(request: WebRequest, message: IncomingMessage) {
    this.#request = request;
    this.#message = message;
    this.status = message.statusCode ?? 0;
    this.url = request.url;
  }

  header(name: string): string {
    const value = this.#message.headers[name];
    return (Array.isArray(value) ? value.join(", ") : value) ?? "";
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    const message = this.#message;
    let waiting = false;
    let stalled = false;
    // Only counts while we wait for the registry, not while the reader is busy.
    const timer = setTimeout(() => {
      if (!waiting) return;
      stalled = true;
      message.destroy();
    }, registryStallMs);
    try {
      const pieces = message[Symbol.asyncIterator]();
      for (;;) {
        waiting = true;
        timer.refresh();
        const { value, done } = await pieces.next();
        waiting = false;
        if (done === true) break;
        yield value as Uint8Array;
      }
      if (!message.complete) throw new Error("unexpected EOF");
    } catch (error) {
      this.#request.signal.throwIfAborted();
      const cause = stalled ? new Error(`no data for ${registryStallMs / 1000} s`) : error;
      throw failure(this.#request, cause);
    } finally {
      clearTimeout(timer);
      message.destroy();
    }
  }

  async read(bytesMax: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    const message = this.#message;
    for await (const piece of this.chunks()) {
      length += piece.length;
      if (length > bytesMax) {
        message.destroy();
        throw new ClusterError(
          "failed-precondition",
          `${label(this.#request)}: the answer is longer than ${bytesMax} bytes`,
        );
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  /** What is short is read to its end, so that the connection can serve again. */
  discard(): void {
    const message = this.#message;
    const length = Number(message.headers["content-length"] ?? Number.NaN);
    message.on("error", () => {}); // Nobody waits for it any more.
    if (this.#request.method === "HEAD" || length <= discardBytesMax) message.resume();
    else message.destroy();
  }
}

/** Reading more of what nobody wants costs more than a new connection. */
const discardBytesMax = 64 * 1024;

/** The address a redirect leads to, if the answer is one that is followed. */
function redirectOf(request: WebRequest, from: URL, response: WebResponse): URL | undefined {
  const { status } = response;
  const follows = request.method === "GET" || request.method === "HEAD";
  if (!follows || ![301, 302, 303, 307, 308].includes(status)) return undefined;
  const location = response.header("location");
  const next = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (next === undefined || !/^https?:$/.test(next.protocol)) {
    response.discard();
    throw new ClusterError(
      "unavailable",
      `${label(request)}: redirected to no valid address: ${JSON.stringify(location.slice(0, 256))}`,
    );
  }
  return next;
}

/** `Get "https://host/v2/"`, as Go's client says it and users search for it; without the query, which may be signed. */
function label({ method, url }: WebRequest): string {
  const verb = `${method.slice(0, 1)}${method.slice(1).toLowerCase()}`;
  return `${verb} "${url.origin}${url.pathname}"`;
}

function failure(request: WebRequest, error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  const { url } = request;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const host = hostName(url.host);
  const at = `dial tcp ${url.host.includes(":") ? url.host : `${url.host}:${url.protocol === "https:" ? 443 : 80}`}`;
  const words: Readonly<Record<string, string>> = {
    ECONNREFUSED: `${at}: connect: connection refused`,
    EHOSTUNREACH: `${at}: connect: no route to host`,
    ENETUNREACH: `${at}: connect: network is unreachable`,
    ENOTFOUND: `dial tcp: lookup ${host}: no such host`,
    EAI_AGAIN: `dial tcp: lookup ${host}: temporary failure in name resolution`,
    ECONNRESET: `${errorText(error) === "aborted" ? "unexpected EOF" : "connection reset by peer"}`,
    EPIPE: "write: broken pipe",
  };
  const known = Object.hasOwn(words, code) ? words[code] : undefined;
  if (known !== undefined) {
    const unreached = !["ECONNRESET", "EPIPE"].includes(code);
    return new ClusterError("unavailable", `${label(request)}: ${known}`, {
      cause: error,
      fields: unreached ? { unreached } : {},
    });
  }
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST/.test(code)) {
    return new ClusterError(
      "failed-precondition",
      `${label(request)}: http: server gave HTTP response to HTTPS client (if this registry is meant to be without TLS, start the daemon with --insecure-registry ${url.host})`,
      { cause: error },
    );
  }
  const distrust = distrustText(request, error);
  if (distrust !== undefined) {
    return new ClusterError(
      "failed-precondition",
      `${label(request)}: tls: failed to verify certificate: ${distrust}`,
      { cause: error },
    );
  }
  return new ClusterError("unavailable", `${label(request)}: ${errorText(error)}`, {
    cause: error,
    fields: errorText(error) === connectTimeout ? { unreached: true } : {},
  });
}

/** What is wrong with the server's certificate, with the remedy; undefined when the failure is another. */
function distrustText(request: WebRequest, error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (/^(?:UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|CERT_UNTRUSTED)/.test(code)) {
    return `x509: certificate signed by unknown authority (put the authority's certificate on this node at /etc/docker/certs.d/${request.trustHost}/ca.crt)`;
  }
  if (code === "CERT_HAS_EXPIRED")
    return "x509: certificate has expired or is not yet valid: current time is after its end";
  if (code === "CERT_NOT_YET_VALID")
    return "x509: certificate has expired or is not yet valid: check this node's clock";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return `x509: ${errorText(error)}`;
  return undefined;
}
