/**
 * The connections of an RPC server: where each comes from, who was found to be at its other end, and how to cut it.
 *
 * grpc-js tells a handler the address of its connection, and nothing else that would name the connection. So each socket is
 * given a peer address of its own, with a running number that no client can choose, by which a call finds its connection.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Identity } from "../identity/types.ts";

/** One connection. */
export interface Connection {
  readonly socket: Socket;
  /** IP address it comes from. */
  readonly address: string;
  /** The trust under which TLS checks its certificate. */
  readonly epoch: number;
  /** TLS on it, once its handshake is over. */
  secure?: TLSSocket;
  /** Who is at the other end, once a call was checked; a connection has one certificate for life. */
  peer?: {
    readonly identity: Identity | undefined;
    /** The trust it was checked under; another one means to check again. */
    readonly epoch: number;
  };
}

/** All connections of a server. */
export class Connections {
  readonly #byName = new Map<string, Connection>();
  #count = 0;

  /** How many there are. */
  get count(): number {
    return this.#byName.size;
  }

  /** Takes a socket in, before TLS is put on it under the trust of `epoch`. */
  track(socket: Socket, address: string, epoch: number): void {
    const name = `#${++this.#count}`;
    nameSocket(socket, address, name);
    this.#byName.set(name, { socket, address, epoch });
    socket.once("close", () => this.#byName.delete(name));
  }

  /** The connection of a call, by the peer grpc-js tells; undefined when it is gone. */
  find(peer: string): Connection | undefined {
    return this.#byName.get(peer.slice(peer.lastIndexOf("#")));
  }

  /** The connection that TLS was put on; undefined when it is gone. */
  secured(secure: TLSSocket): Connection | undefined {
    const connection = this.#byName.get(String(secure.remotePort));
    if (connection !== undefined) connection.secure = secure;
    return connection;
  }

  /** Cuts the connections of a node, or all. */
  cut(nodeId?: string): void {
    for (const { socket, peer } of this.#byName.values()) {
      if (nodeId === undefined || peer?.identity?.nodeId === nodeId) socket.destroy();
    }
  }
}

/**
 * Makes `address` and `name` the peer's address and port of a socket and of the TLS layer put on it later.
 *
 * Node asks the handle for its peer, and the TLS layer passes the question on to the handle below (Node 20). A pipe's
 * handle has no answer of its own; that of a TCP handle is replaced.
 */
function nameSocket(socket: Socket, address: string, name: string): void {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return;
  Reflect.set(handle, "getpeername", (out: Record<string, unknown>) => {
    Object.assign(out, { family: address.includes(":") ? "IPv6" : "IPv4", address, port: name });
    return 0;
  });
}
