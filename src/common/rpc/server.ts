/**
 * The RPC server of a manager: mutual TLS, roles by method, bounded in messages, streams and silence.
 *
 * It takes connections from the front, from its relay socket, or from TCP itself, checks every call against `roles.ts` before its handler sees
 * it, and can swap its certificate while connections stay.
 */
import type { Socket } from "node:net";
import { type ConnectionInjector, type Deadline, Server, ServerCredentials } from "@grpc/grpc-js";
import type { Clock } from "../clock/clock.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import type { Standing, TlsMaterial } from "../identity/types.ts";
import {
  rpcConnectionsMax,
  rpcHandlerMsMax,
  rpcIdleMs,
  rpcKeepaliveMs,
  rpcKeepaliveTimeoutMs,
  rpcMessageBytesMax,
  rpcStreamsMax,
} from "../limits/limits.ts";
import type { Log } from "../log/log.ts";
import { Connections } from "./connections.ts";
import { tlsServer, updateTlsServer } from "./credentials.ts";
import { DirectCalls } from "./direct-server.ts";
import { drop, type HandedConnection, takeOver } from "./handed-connection.ts";
import {
  type ContextMaker,
  forwardedKey,
  type GrpcRegistration,
  type Registration,
} from "./handler.ts";
import { Intake } from "./intake.ts";
import { PeerChecker } from "./peer.ts";
import { type ListenAddress, type Listener, listen } from "./relay.ts";
import { callersOf, checkCaller } from "./roles.ts";

/** What a server needs. */
export interface RpcServerOptions {
  readonly listen: ListenAddress;
  readonly tls: TlsMaterial;
  readonly handlers: readonly Registration[];
  /** What the cluster says of a node now, whatever its certificate says; asked on every call. */
  readonly standing: (nodeId: string) => Standing;
  readonly clock: Clock;
  readonly log: Log;
}

/** A running server. */
export interface RpcServer {
  /** TCP port, or 0 on a unix socket. */
  readonly port: number;
  /** Takes over a connection that another thread accepted. */
  accept(connection: HandedConnection): void;
  /** Serves further methods. @throws Error for a method without an entry in the table of roles. */
  add(handlers: readonly Registration[]): void;
  /** Shows this certificate on new connections and trusts these roots from now on; connections stay. */
  updateTls(tls: TlsMaterial): void;
  /** Cuts the connections over which this node has called; used when it is removed. */
  disconnect(nodeId: string): void;
  /** Takes no new calls, lets running ones end for `graceMs`, then cuts them. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Starts a server.
 *
 * @throws Error at once when a handler's method has no entry in the table of roles.
 */
export async function serve(options: RpcServerOptions): Promise<RpcServer> {
  const server = new Server({
    "grpc.max_receive_message_length": rpcMessageBytesMax,
    "grpc.max_send_message_length": rpcMessageBytesMax,
    "grpc.max_concurrent_streams": rpcStreamsMax,
    "grpc.keepalive_time_ms": rpcKeepaliveMs,
    "grpc.keepalive_timeout_ms": rpcKeepaliveTimeoutMs,
    "grpc.max_connection_idle_ms": rpcIdleMs,
    "grpc.enable_channelz": 0,
  });
  const peers = new PeerChecker(options);
  const connections = new Connections();
  const direct = new DirectCalls(peers, options.log);
  const makeContext = contextMaker(peers, connections);
  const add = (handlers: readonly Registration[]) => {
    for (const handler of handlers) {
      if ("serve" in handler) direct.add(handler);
      else addHandler(server, handler, makeContext, options.log);
    }
  };
  add(options.handlers);
  // TLS is on the connections already.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const secure = tlsServer(options.tls, (socket, protocol) => {
    const connection = connections.secured(socket);
    if (connection === undefined) socket.destroy();
    else if (protocol === "direct") void direct.serve(socket, connection);
    else injector.injectConnection(socket);
  });
  const take = (socket: Socket, address: string) => {
    connections.track(socket, address, peers.epoch);
    secure.emit("connection", socket);
  };
  const intake = new Intake<HandedConnection>({
    take: (connection) => takeHanded(connection, take, options.log),
    drop: (connection) => {
      const peer = connection.address;
      options.log.debug("connection dropped: it has waited for too long", {
        component: "rpc",
        peer,
      });
      drop(connection);
    },
    clock: options.clock,
  });
  const listener = await listen(options.listen, take);
  let isClosed = false;
  return {
    port: listener.port,
    accept: (connection) => {
      const isFull = connections.count + intake.count >= rpcConnectionsMax;
      if (isClosed || isFull) drop(connection);
      else intake.add(connection);
    },
    add,
    updateTls: (tls) => {
      peers.update(tls);
      updateTlsServer(secure, tls);
    },
    disconnect: (nodeId) => connections.cut(nodeId),
    close: (graceMs = 0) => {
      isClosed = true;
      intake.close();
      return closeAll({ server, injector, direct, listener, connections }, graceMs);
    },
  };
}

function takeHanded(
  connection: HandedConnection,
  take: (socket: Socket, address: string) => void,
  log: Log,
): void {
  let socket: Socket;
  try {
    socket = takeOver(connection);
  } catch (error) {
    log.warn("connection not accepted", { component: "rpc", err: error });
    drop(connection);
    return;
  }
  // Errors before TLS has the socket need no answer: the connection is gone.
  socket.on("error", () => socket.destroy());
  take(socket, connection.address);
}

function addHandler(
  server: Server,
  handler: GrpcRegistration,
  makeContext: (path: string) => ContextMaker,
  log: Log,
): void {
  const { path } = handler.definition;
  callersOf(path);
  const implementation = handler.bind(makeContext(path), (error) => {
    log.error("RPC handler failed", { component: "rpc", method: path, err: error });
  });
  server.addService({ [path]: handler.definition }, { [path]: implementation });
}

function contextMaker(
  peers: PeerChecker,
  connections: Connections,
): (path: string) => ContextMaker {
  return (path) => (call, unary) => {
    const connection = connections.find(call.getPeer());
    // A socket may close between the arrival of a call and its start.
    if (connection === undefined) throw new ClusterError("cancelled", "the caller hung up");
    const peer = peers.identify(connection);
    checkCaller(path, peer);
    const stop = new AbortController();
    let isOver = false;
    // grpc-js says so after every call, also after those that were answered.
    call.once("cancelled", () => {
      if (!isOver) stop.abort(new ClusterError("cancelled", "the caller hung up"));
    });
    const timer = unary ? setTimeout(() => stop.abort(tooSlow(path)), rpcHandlerMsMax) : undefined;
    return {
      peer,
      address: connection.address,
      deadlineMs: millisecondsOf(call.getDeadline()),
      signal: stop.signal,
      forwarded: peer?.role === "manager" && call.metadata.get(forwardedKey).length > 0,
      done: () => {
        isOver = true;
        clearTimeout(timer);
      },
    };
  };
}

function tooSlow(path: string): ClusterError {
  return new ClusterError("deadline-exceeded", `${path} took longer than ${rpcHandlerMsMax} ms`);
}

function millisecondsOf(deadline: Deadline): number {
  return deadline instanceof Date ? deadline.getTime() : deadline;
}

async function closeAll(
  parts: {
    readonly server: Server;
    readonly injector: ConnectionInjector;
    readonly direct: DirectCalls;
    readonly listener: Listener;
    readonly connections: Connections;
  },
  graceMs: number,
): Promise<void> {
  parts.listener.close();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      parts.server.forceShutdown();
      resolve();
    }, graceMs);
    parts.injector.destroy();
    const grpcClosed = new Promise<void>((closed) => parts.server.tryShutdown(() => closed()));
    void Promise.all([grpcClosed, parts.direct.close()]).then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
  parts.connections.cut();
}
