/**
 * The HTTP server of the Engine API: listeners, limits, version negotiation, and the way from a request to its handler.
 *
 * HTTP/1.1 on a unix socket (mode 0660) and on TCP, with mutual TLS when asked. Silent and slow clients are cut, streams
 * are not. Nothing a client sends ends the daemon: every failure becomes a reply.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../common/clock/clock.ts";
import { asAbortSignal, LightSignal } from "../common/clock/light-signal.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import {
  apiRequestTimeoutMs,
  eventsRetryMs,
  httpConnectionsMax,
  httpHeadBytesMax,
  httpHeadTimeoutMs,
  httpIdleTimeoutMs,
} from "../common/limits/limits.ts";
import type { Log } from "../common/log/log.ts";
import type { Random } from "../common/random/random.ts";
import { absentRoutes } from "./absent.ts";
import { archiveRoutes } from "./archive.ts";
import { carry } from "./carry.ts";
import { configRoutes } from "./configs.ts";
import { containerStatsRoutes } from "./container-stats.ts";
import { containerStreamRoutes } from "./container-streams.ts";
import { containerRoutes } from "./containers.ts";
import type { EngineContext } from "./context.ts";
import { diskUseRoutes } from "./disk-use.ts";
import { distributionRoutes } from "./distribution.ts";
import { errorReply } from "./errors.ts";
import { EventHub } from "./event-hub.ts";
import { eventRoutes } from "./events.ts";
import { execRoutes } from "./exec.ts";
import { explainRoutes, lookRoutes } from "./explain/routes.ts";
import { Far } from "./far.ts";
import { mayTravel } from "./far-routes.ts";
import { converseUpgraded } from "./hijack.ts";
import { imageTransferRoutes } from "./image-transfer.ts";
import { imageRoutes } from "./images.ts";
import { networkRoutes } from "./networks.ts";
import { nodeRoutes } from "./nodes.ts";
import { piecesOf } from "./pieces.ts";
import { heldRoutes } from "./plan/held.ts";
import { plannable } from "./plan/routes.ts";
import type { EnginePorts, SwarmStatus } from "./ports.ts";
import { writeReply } from "./reply.ts";
import { type EngineRequest, readBody } from "./request.ts";
import { type Route, Router, splitVersion } from "./router.ts";
import { runtimeFeeds } from "./runtime-events.ts";
import { secretRoutes } from "./secrets.ts";
import { serviceHistoryRoutes } from "./service-history.ts";
import { serviceLogRoutes } from "./service-logs.ts";
import { serviceRebalanceRoutes } from "./service-rebalance.ts";
import { serviceRoutes } from "./services.ts";
import { listenOnSocket } from "./socket.ts";
import { swarmRoutes } from "./swarm.ts";
import { systemRoutes } from "./system.ts";
import { taskRoutes } from "./tasks.ts";
import { apiVersion, requireServed } from "./versions.ts";
import { volumeRoutes } from "./volumes.ts";

/** What the server is made of. */
export interface EngineOptions {
  readonly ports: EnginePorts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Key material of a TCP listener, PEM. */
export interface EngineTls {
  readonly key: string;
  readonly certificate: string;
  /** Clients must hold a certificate of this authority (`--tlsverify`). */
  readonly clientAuthority?: string;
}

/** Where to listen on TCP. */
export interface TcpListener {
  readonly host: string;
  readonly port: number;
  readonly tls?: EngineTls;
}

const serverOptions: ServerOptions = {
  headersTimeout: httpHeadTimeoutMs,
  // A connection that closes as the next request is on its way fails it: clients do not repeat a POST.
  keepAliveTimeout: httpIdleTimeoutMs,
  // Uploads take as long as they take; JSON bodies have a limit of their own.
  requestTimeout: 0,
  connectionsCheckingInterval: httpHeadTimeoutMs / 4,
  maxHeaderSize: httpHeadBytesMax,
};

/** Reason of every signal of a request that is over; one object, as making errors costs more than a small request. */
const left = new ClusterError(
  "cancelled",
  "the request is over: it was answered, or the client has left",
);

/** How often is looked for requests that take too long. */
const timeoutSweepMs = 1_000;

/** One request and where its answer goes. */
interface Exchange {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  /** The bare connection of a request that asks to be upgraded. */
  readonly upgraded?: Duplex;
  readonly router: Router;
}

/** A request under way. */
interface UnderWay {
  readonly stop: LightSignal;
  /** On the monotonic clock; Infinity for one without limit. */
  endMs: number;
}

/** Serves the Engine API until its run ends. */
export class EngineServer {
  readonly #options: EngineOptions;
  readonly #router: Router;
  readonly #events: EventHub;
  /** Requests whose handlers or answers are not done yet. */
  readonly #underWay = new Set<UnderWay>();
  #sweeping = false;
  readonly #servers: Server[] = [];
  /** What managers send through tunnels: served by routes of their own, which lead nowhere else. */
  readonly #farServer = createServer(serverOptions);
  readonly #farStreams = new Set<Duplex>();

  constructor(options: EngineOptions) {
    const { ports, clock, random } = options;
    this.#options = options;
    this.#events = new EventHub(ports.events, clock);
    const context: EngineContext = { ports, clock, random, events: this.#events };
    // What this node has itself; a manager looks for single containers on other nodes, too.
    const local: readonly Route[] = [
      ...containerStreamRoutes(context),
      ...execRoutes(context),
      ...containerStatsRoutes(context),
      ...archiveRoutes(context),
      ...containerRoutes(context),
      ...imageTransferRoutes(context),
      ...imageRoutes(context),
      ...volumeRoutes(context),
      ...diskUseRoutes(context),
      ...distributionRoutes(context),
      ...absentRoutes,
    ];
    this.#router = new Router([
      ...systemRoutes(context),
      ...eventRoutes(context),
      ...swarmRoutes(context),
      ...nodeRoutes(context),
      ...plannable(context, (own) => [
        ...serviceRoutes(own),
        ...secretRoutes(own),
        ...configRoutes(own),
        ...networkRoutes(own),
      ]),
      ...serviceHistoryRoutes(context),
      ...serviceRebalanceRoutes(context),
      ...taskRoutes(context),
      ...serviceLogRoutes(context),
      ...explainRoutes(context),
      ...new Far(context).over(local),
    ]);
    this.#listen(
      this.#farServer,
      new Router([...local.filter(mayTravel), ...lookRoutes(context), ...heldRoutes(context)]),
    );
  }

  /**
   * Listens on a unix socket of mode 0660, given to `group` when that exists.
   * @throws ClusterError `already-exists` when another daemon answers there.
   */
  async listenUnix(path: string, group = "docker"): Promise<void> {
    const server = createServer(serverOptions);
    this.#prepare(server);
    await listenOnSocket(server, path, group);
  }

  /** Listens on TCP; returns the port, which differs from the one asked for when that is 0. */
  async listenTcp(listener: TcpListener): Promise<number> {
    const { tls } = listener;
    const server =
      tls === undefined
        ? createServer(serverOptions)
        : createTlsServer({
            ...serverOptions,
            key: tls.key,
            cert: tls.certificate,
            minVersion: "TLSv1.2",
            handshakeTimeout: httpHeadTimeoutMs,
            // A client of attach closes its side first and reads on.
            allowHalfOpen: true,
            ...(tls.clientAuthority === undefined
              ? {}
              : { ca: tls.clientAuthority, requestCert: true, rejectUnauthorized: true }),
          });
    this.#prepare(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(listener.port, listener.host, () => {
        server.off("error", reject);
        // From now on: a connection that could not be taken, such as without a file descriptor left; the next may be.
        server.on("error", () => {});
        resolve();
      });
    });
    return (server.address() as AddressInfo).port;
  }

  /** Serves what a manager sends through a tunnel: requests for single containers of this node, nothing else. */
  serveTunnel(stream: Duplex): void {
    this.#farStreams.add(stream);
    stream.once("close", () => this.#farStreams.delete(stream));
    this.#farServer.emit("connection", stream);
  }

  /** Feeds events and serves until the signal aborts; then cuts what is still open and returns. */
  async run(signal: AbortSignal): Promise<void> {
    const feeds = runtimeFeeds(this.#options.ports.runtime, this.#events);
    const sources = [(until: AbortSignal) => this.#events.run(until), ...feeds];
    await Promise.all(sources.map((source) => this.#feedEvents(source, signal)));
    for (const request of this.#underWay) request.stop.abort(left);
    for (const stream of this.#farStreams) stream.destroy();
    await Promise.all(this.#servers.map(closeServer));
  }

  /** A failing source of events costs events, not the API: it is asked again. */
  async #feedEvents(source: (signal: AbortSignal) => Promise<void>, signal: AbortSignal) {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        await source(signal);
      } catch (error) {
        // Without a runtime there is nothing to be told, and `docker info` says why.
        const expected = hasCode(error, "unavailable");
        if (!signal.aborted && !expected) log.error("events stopped", { err: error });
      }
      // Ends early with the signal, and then there is nothing more to do.
      if (!signal.aborted) await clock.sleep(eventsRetryMs, signal).catch(() => {});
    }
  }

  #prepare(server: Server): void {
    server.maxConnections = httpConnectionsMax;
    this.#listen(server, this.#router);
    this.#servers.push(server);
  }

  #listen(server: Server, router: Router): void {
    server.on("request", (message, response) => void this.#serve({ message, response, router }));
    server.on("upgrade", (message, socket, head) => {
      void this.#serveUpgrade(message, { socket, head, router });
    });
    server.on("clientError", answerUnreadable);
  }

  /**
   * A request that asks to be upgraded comes with its bare connection. Handlers that have no use for that answer as ever.
   * Never rejects.
   */
  async #serveUpgrade(
    message: IncomingMessage,
    {
      socket,
      head,
      router,
    }: { readonly socket: Duplex; readonly head: Buffer; readonly router: Router },
  ): Promise<void> {
    // What goes wrong with it ends it, and that is listened to.
    socket.on("error", () => {});
    if (head.length > 0) socket.unshift(head);
    const response = new ServerResponse(message);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    response.once("finish", () => socket.end());
    await this.#serve({ message, response, upgraded: socket, router });
  }

  /** Never rejects. */
  async #serve(exchange: Exchange): Promise<void> {
    const { message, response, upgraded } = exchange;
    const self: UnderWay = { stop: new LightSignal(), endMs: Number.POSITIVE_INFINITY };
    const leave = () => {
      // After the answer nobody listens any more; to abort all the same would cost as much as a small request.
      if (this.#underWay.has(self)) self.stop.abort(left);
    };
    response.once("close", leave);
    upgraded?.once("close", leave);
    response.on("error", leave);
    message.on("error", leave);
    this.#underWay.add(self);
    try {
      await this.#answer(exchange, self);
    } catch (error) {
      this.#refuse(message, response, error);
    } finally {
      this.#underWay.delete(self);
      // What the client still sends is read and dropped, so that the connection can be used again.
      if (!message.complete) message.resume();
    }
  }

  async #answer(exchange: Exchange, self: UnderWay): Promise<void> {
    const { message, response, upgraded } = exchange;
    const [target = "", query = ""] = splitOnce(message.url ?? "", "?");
    const { version = apiVersion, path } = splitVersion(target);
    setHeaders(response, path, this.#options.ports);
    requireServed(version);
    const method = message.method ?? "";
    const { route, params } = exchange.router.find(method, path);
    if (route.unlimited !== true) this.#limitTime(self);
    let signal: AbortSignal | undefined;
    const request: EngineRequest = {
      method,
      path,
      params,
      query: new URLSearchParams(query),
      version,
      header: (name) => [message.headers[name] ?? ""].flat().join(","),
      body: () => readBody(message, upgraded),
      bytes: () => piecesOf(message),
      get signal() {
        signal ??= asAbortSignal(self.stop);
        return signal;
      },
      lightSignal: self.stop,
    };
    const reply = await route.handler(request);
    // A slow reader may take its time.
    self.endMs = Number.POSITIVE_INFINITY;
    if (reply.kind === "far") {
      const { stream } = await this.#options.ports.tunnels.open(
        reply.carried.nodeId,
        request.signal,
      );
      await carry(
        { message, response, upgraded, carried: reply.carried, signal: request.signal },
        stream,
      );
    } else if (reply.kind === "hijack" && upgraded !== undefined) {
      response.detachSocket(upgraded as Socket);
      await converseUpgraded(upgraded, reply, request.signal);
    } else await writeReply(response, reply, self.stop);
    this.#options.log.debug("request served", { method, path, status: response.statusCode });
  }

  #limitTime(self: UnderWay): void {
    self.endMs = this.#options.clock.monotonic() + apiRequestTimeoutMs;
    if (this.#sweeping) return;
    this.#sweeping = true;
    void this.#sweep();
  }

  /** Ends requests that take too long; one timer for all of them, and none once all are answered. */
  async #sweep(): Promise<void> {
    const { clock } = this.#options;
    while (this.#underWay.size > 0) {
      await clock.sleep(timeoutSweepMs);
      for (const { stop, endMs } of this.#underWay) {
        if (clock.monotonic() < endMs) continue;
        const text = "the request took too long and was given up";
        stop.abort(new ClusterError("deadline-exceeded", text));
      }
    }
    this.#sweeping = false;
  }

  #refuse(message: IncomingMessage, response: ServerResponse, error: unknown): void {
    const reply = errorReply(error);
    const fields = { method: message.method, path: message.url?.split("?")[0], err: error };
    if (reply.unexpected) this.#options.log.error("request failed", fields);
    else this.#options.log.debug("request refused", { ...fields, status: reply.status });
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const body = Buffer.from(`${JSON.stringify({ message: reply.message })}\n`);
    response
      .writeHead(reply.status, {
        "Content-Type": "application/json",
        "Content-Length": body.length,
      })
      .end(body);
  }
}

/** Headers clients negotiate by; those of the ping only there. */
function setHeaders(response: ServerResponse, path: string, ports: EnginePorts): void {
  response.setHeader("Server", `Docker/${ports.facts.version} (linux)`);
  response.setHeader("Api-Version", apiVersion);
  response.setHeader("Ostype", "linux");
  response.setHeader("Docker-Experimental", String(ports.facts.experimental));
  if (path !== "/_ping") return;
  response.setHeader("Cache-Control", "no-cache, no-store, must-revalidate");
  response.setHeader("Pragma", "no-cache");
  response.setHeader("Builder-Version", "");
  response.setHeader("Swarm", swarmHeader(ports.swarm.status()));
}

function swarmHeader(status: SwarmStatus): string {
  if (status.state !== "active") return status.state;
  return status.isManager ? "active/manager" : "active/worker";
}

/** Answers what is no HTTP, or came too slowly, and closes. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const message = late ? "the request was not sent in time" : "the request is not valid HTTP";
  const body = `${JSON.stringify({ message })}\n`;
  const head = `HTTP/1.1 ${late ? "408 Request Timeout" : "400 Bad Request"}\r\nConnection: close\r\n`;
  socket.end(
    `${head}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

function splitOnce(text: string, separator: string): readonly string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
