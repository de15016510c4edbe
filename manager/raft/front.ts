/**
 * The front: one TCP port for everything a manager serves (2377), in the Raft worker.
 *
 * Looks at the server name a TLS client asks for. Raft peers (`skep-raft` for calls, `skep-raft-stream` for messages) are served
 * here, so that no work of the main thread delays a heartbeat; all others are handed over to the main thread's gRPC server. Where
 * connections cannot change hands, they are piped to it on a unix socket, after one line that tells it who called (as version 1 of
 * the PROXY protocol does). Clients that say nothing or something else are cut.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import { raftServerName, raftStreamServerName } from "../../src/common/identity/types.ts";
import {
  clientHelloBytesMax,
  clientHelloTimeoutMs,
  silentConnectionsMax,
} from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import {
  type HandedConnection,
  handOver,
  plainAddress,
} from "../../src/common/rpc/handed-connection.ts";
import { readClientHello } from "./client-hello.ts";

/** What the front needs; `onRaft` takes over the socket, whose first bytes are put back. */
export interface FrontOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly relayPath: string;
  readonly onRaft: (socket: Socket) => void;
  /** As `onRaft`, for the streams of messages. */
  readonly onRaftStream: (socket: Socket) => void;
  /** Takes over whatever else comes; without it all of that is relayed. */
  readonly onOther?: ((connection: HandedConnection) => void) | undefined;
  readonly log: Log;
  readonly helloTimeoutMs?: number;
}

/** The open front. */
export interface Front {
  /** Where it listens, with the port the system chose for port 0. */
  readonly address: { readonly host: string; readonly port: number };
  /** Stops listening and cuts what is relayed. */
  close(): Promise<void>;
}

/**
 * Opens the port.
 *
 * @throws ClusterError unavailable when the address cannot be listened on.
 */
export async function openFront(options: FrontOptions): Promise<Front> {
  const sockets = new Set<Socket>();
  let silent = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", (error) => {
      options.log.debug("connection failed", { peer: socket.remoteAddress, err: error });
    });
    if (silent >= silentConnectionsMax) {
      socket.destroy();
      return;
    }
    silent++;
    classify(socket, options, () => {
      silent--;
    });
  });
  const address = await listen(server, options.listen, options.log);
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function listen(
  server: Server,
  at: { readonly host: string; readonly port: number },
  log: Log,
): Promise<{ host: string; port: number }> {
  const port = await listenOnAll(server, at).catch((cause: unknown) => {
    const where = `${at.host}:${at.port}`;
    throw new ClusterError("unavailable", `cannot listen on ${where}: ${errorText(cause)}`, {
      cause,
    });
  });
  // Later ones are connections that could not be taken, such as without a file descriptor left: the next may be.
  server.on("error", (error) => log.warn("connection not accepted", { err: error }));
  return { host: at.host, port };
}

/** All addresses are those of both families, as with Docker: nodes may have IPv6 alone. */
async function listenOnAll(
  server: Server,
  at: { readonly host: string; readonly port: number },
): Promise<number> {
  if (at.host !== "0.0.0.0") return listenAt(server, at);
  try {
    return await listenAt(server, { ...at, host: "::" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A kernel without IPv6.
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL" && code !== "EINVAL") throw error;
    return listenAt(server, at);
  }
}

function listenAt(
  server: Server,
  at: { readonly host: string; readonly port: number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ ...at, backlog: 1024 }, () => {
      server.off("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function classify(socket: Socket, options: FrontOptions, settled: () => void): void {
  let received: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), options.helloTimeoutMs ?? clientHelloTimeoutMs);
  const finish = () => {
    clearTimeout(timer);
    socket.off("data", look);
    socket.off("close", finish);
    socket.off("end", cut);
    settled();
  };
  const cut = () => socket.destroy();
  const look = (data: Buffer) => {
    received = received.length === 0 ? data : Buffer.concat([received, data]);
    const verdict = readClientHello(received);
    if (verdict.kind === "more" && received.length < clientHelloBytesMax) return;
    if (verdict.kind !== "hello") {
      socket.destroy();
      return;
    }
    finish();
    socket.pause();
    const { serverName } = verdict;
    if (serverName === raftServerName || serverName === raftStreamServerName) {
      socket.unshift(received);
      if (serverName === raftServerName) options.onRaft(socket);
      else options.onRaftStream(socket);
      return;
    }
    const handed = options.onOther && handOver(socket, received);
    if (handed === undefined) relay(socket, received, options);
    else options.onOther?.(handed);
  };
  socket.on("data", look);
  socket.once("close", finish);
  socket.once("end", cut);
}

function relay(socket: Socket, received: Buffer, options: FrontOptions): void {
  const inner = connect({ path: options.relayPath, allowHalfOpen: true });
  inner.on("error", (error) => {
    options.log.debug("relay failed", { peer: socket.remoteAddress, err: error });
    socket.destroy();
  });
  inner.write(proxyLine(socket));
  inner.write(received);
  otherEnds.set(socket, inner);
  otherEnds.set(inner, socket);
  for (const end of [socket, inner]) {
    end.on("data", passOn);
    end.on("drain", readOtherEnd);
    end.on("end", endOtherEnd);
    end.on("close", cutOtherEnd);
  }
  socket.resume();
}

/**
 * The other end of each relayed connection. With it all of them share the functions below: `pipe` makes a dozen for each
 * direction, and a manager may have thousands of agents.
 */
const otherEnds = new WeakMap<Socket, Socket>();

function passOn(this: Socket, data: Buffer): void {
  if (otherEnds.get(this)?.write(data) === false) this.pause();
}

function readOtherEnd(this: Socket): void {
  otherEnds.get(this)?.resume();
}

function endOtherEnd(this: Socket): void {
  otherEnds.get(this)?.end();
}

function cutOtherEnd(this: Socket): void {
  otherEnds.get(this)?.destroy();
}

/** The line that precedes a relayed connection: `PROXY TCP4|TCP6 source destination source-port destination-port`. */
function proxyLine(socket: Socket): string {
  const from = plainAddress(socket.remoteAddress ?? "");
  const to = plainAddress(socket.localAddress ?? "");
  const family = from.includes(":") ? "TCP6" : "TCP4";
  return `PROXY ${family} ${from} ${to} ${socket.remotePort ?? 0} ${socket.localPort ?? 0}\r\n`;
}
