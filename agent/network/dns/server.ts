/**
 * The name server of containers: they ask 127.0.0.11, and the rules of their namespaces lead here.
 *
 * Its sockets are in the namespace `swarm`, on the gateway that every container has a link to, so that no rule of the host
 * stands between; questions to the world leave from the host's own network. Who asks is told by the source address.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { once, setMaxListeners } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import {
  nameBufferBytes,
  nameConnectionsMax,
  nameConnectionsPerCallerMax,
  nameListenRetryMs,
} from "../../../src/common/limits/names.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { Budget } from "./budget.ts";
import { serveConnection } from "./connection.ts";
import { Forwarder } from "./forwarder.ts";
import {
  type AnswerRecord,
  encodeAnswer,
  fitted,
  parseQuery,
  type ResponseCode,
  responseCode,
} from "./message.ts";
import type { NameIndex } from "./name-index.ts";
import { HostResolvers, type Resolver } from "./resolvers.ts";
import { type Answer, type Asker, answer } from "./zone.ts";

/** A container that may ask. */
export interface Caller extends Asker {
  readonly containerId: string;
  /** Those the container was given; the host's when there are none. */
  readonly resolvers: readonly Resolver[];
}

/** What a name server is made with. */
export interface NameServerOptions {
  readonly index: NameIndex;
  /** The container with this address; undefined for strangers, who get no answer. */
  readonly callerOf: (address: string) => Caller | undefined;
  /** Does something in the namespace the sockets belong to, at once. */
  readonly within: <T>(work: () => T) => T;
  /** Address and port to listen on, in that namespace. */
  readonly address: string;
  readonly port: number;
  /** The host's /etc/resolv.conf. */
  readonly resolversPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Bytes of an answer over TCP, at most. */
const tcpBytesMax = 65_535;

/** One name server; `run` is its life. */
export class NameServer {
  readonly #o: NameServerOptions;
  readonly #forwarder: Forwarder;
  readonly #resolvers: HostResolvers;
  readonly #budget: Budget;
  readonly #connections = new Map<Socket, string>();
  #turn = 0;

  constructor(options: NameServerOptions) {
    this.#o = options;
    this.#forwarder = new Forwarder(options);
    this.#resolvers = new HostResolvers(options.resolversPath, options.clock);
    this.#budget = new Budget(options.clock);
  }

  /** Answers until the signal aborts; opens its sockets again when they fail. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#o;
    while (!signal.aborted) {
      try {
        await this.#serve(signal);
      } catch (error) {
        log.warn("the name server of containers has no socket", { err: errorText(error) });
        await clock.sleep(nameListenRetryMs, signal).catch(() => {
          // Stopped: the loop's condition ends it.
        });
      }
    }
  }

  /** @throws Error when a socket fails. */
  async #serve(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    // One for each question that is under way.
    setMaxListeners(0, stop.signal);
    const end = () => stop.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    const udp = this.#newUdp(stop);
    const tcp = this.#newTcp(stop);
    try {
      this.#o.within(() => {
        udp.bind(this.#o.port, this.#o.address);
        // Without an address it is open at once; strangers are turned away.
        tcp.listen(this.#o.port);
      });
      if (!stop.signal.aborted) await once(stop.signal, "abort");
    } finally {
      signal.removeEventListener("abort", end);
      stop.abort();
      for (const connection of this.#connections.keys()) connection.destroy();
      await Promise.all([closed(tcp), closed(udp)]);
    }
    if (!signal.aborted) throw stop.signal.reason;
  }

  #newUdp(stop: AbortController): UdpSocket {
    const udp = createSocket({
      type: "udp4",
      recvBufferSize: nameBufferBytes,
      // Found at once: the socket has to be open before the namespace is left.
      lookup: (host, _options, found) => found(null, host, 4),
    });
    udp.on("error", (error) => stop.abort(error));
    udp.on("message", (bytes, from) => {
      void this.#asked(udp, bytes, from, stop.signal);
    });
    return udp;
  }

  #newTcp(stop: AbortController): Server {
    const tcp = createServer({ allowHalfOpen: true }, (connection) =>
      this.#connected(connection, stop.signal),
    );
    tcp.on("error", (error) => stop.abort(error));
    return tcp;
  }

  async #asked(
    udp: UdpSocket,
    bytes: Buffer,
    from: RemoteInfo,
    signal: AbortSignal,
  ): Promise<void> {
    const caller = this.#o.callerOf(from.address);
    if (caller === undefined || !this.#budget.take(caller.containerId)) return;
    const response = await this.#respond(bytes, caller, false, signal);
    if (response === undefined || signal.aborted) return;
    udp.send(response, from.port, from.address, () => {
      // One that is gone asks no more.
    });
  }

  #connected(connection: Socket, signal: AbortSignal): void {
    const caller = this.#o.callerOf((connection.remoteAddress ?? "").replace(/^::ffff:/, ""));
    const id = caller?.containerId ?? "";
    const own = [...this.#connections.values()].filter((one) => one === id).length;
    const isFull = this.#connections.size >= nameConnectionsMax;
    if (caller === undefined || isFull || own >= nameConnectionsPerCallerMax) {
      connection.destroy();
      return;
    }
    this.#connections.set(connection, id);
    connection.once("close", () => this.#connections.delete(connection));
    serveConnection(connection, async (bytes) =>
      this.#budget.take(id) ? this.#respond(bytes, caller, true, signal) : undefined,
    );
  }

  /** The answer to one message; undefined for what gets none. */
  async #respond(
    bytes: Buffer,
    caller: Caller,
    overTcp: boolean,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const parsed = parseQuery(bytes);
    if (parsed.kind === "garbage") return undefined;
    if (parsed.kind === "fault") return parsed.response;
    const { query } = parsed;
    const bytesMax = overTcp ? tcpBytesMax : query.udpBytes;
    const found = answer(query, caller, this.#o.index, this.#turn++);
    const reply = (code: ResponseCode, records: readonly AnswerRecord[] = []) =>
      encodeAnswer(query, records, { code, bytesMax });
    // Names of ours are of the Internet's class only.
    if (found.kind !== "not-ours") {
      return reply(
        found.kind === "no-name" ? responseCode.noName : responseCode.ok,
        query.isInternet ? recordsOf(found) : [],
      );
    }
    if (!query.isRecursive) return reply(responseCode.refused);
    const own = caller.resolvers;
    const resolvers = own.length > 0 ? own : await this.#resolvers.get();
    const request = { message: bytes, query, caller: caller.containerId, resolvers, overTcp };
    const response = await this.#forwarder.forward(request, signal);
    if (response === undefined) return reply(responseCode.serverFailure);
    return fitted(query, response, bytesMax);
  }
}

function recordsOf(found: Answer): AnswerRecord[] {
  if (found.kind === "names") return found.names.map((value) => ({ type: "PTR", value }));
  if (found.kind !== "addresses") return [];
  return found.addresses.map((value) => ({ type: value.includes(":") ? "AAAA" : "A", value }));
}

/** Resolves when it is closed, also when it never was open. */
function closed(socket: UdpSocket | Server): Promise<void> {
  return new Promise((resolve) => {
    try {
      socket.close(() => resolve());
    } catch {
      resolve(); // It never was open.
    }
  });
}
