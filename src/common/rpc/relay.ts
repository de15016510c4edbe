/**
 * Takes connections for the RPC server: from a TCP port, or from the front over a unix socket.
 *
 * The front (manager/raft) owns the cluster's TCP port, in another thread. Where it cannot hand a connection over as it is
 * (`handed-connection.ts`), it pipes every one that is not Raft's to this socket and puts one line before it, in the form of the PROXY protocol, version 1:
 * `PROXY TCP4|TCP6 <source> <destination> <source port> <destination port>\r\n`. The source is what
 * the server takes for the address of the connection.
 */

import { chmodSync, rmSync } from "node:fs";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { rpcConnectionsMax, rpcHandshakeTimeoutMs } from "../limits/limits.ts";
import { plainAddress } from "./handed-connection.ts";

/** Where to listen. */
export type ListenAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** The longest header a PROXY version 1 line can be, line end included. */
const headerBytesMax = 107;

/** A running listener. */
export interface Listener {
  /** TCP port, or 0 on a unix socket. */
  readonly port: number;
  /** Takes no further connections. */
  close(): void;
}

/** The address a connection comes from, in a PROXY line. */
export interface ProxySource {
  readonly family: "IPv4" | "IPv6";
  readonly address: string;
  readonly port: number;
}

/** Listens, and hands each connection over once the address it comes from is known. A stale unix socket is replaced. */
export async function listen(
  address: ListenAddress,
  accept: (socket: Socket, address: string) => void,
): Promise<Listener> {
  const relayed = "path" in address;
  const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
    // Errors before TLS has the socket need no answer: the connection is gone.
    socket.on("error", () => socket.destroy());
    if (relayed) readHeader(socket, (source) => accept(socket, source.address));
    else accept(socket, plainAddress(socket.remoteAddress ?? ""));
  });
  server.maxConnections = rpcConnectionsMax;
  if (relayed) rmSync(address.path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(relayed ? { path: address.path } : address, () => {
      server.off("error", reject);
      // From now on: a connection that could not be taken, such as without a file descriptor left; the next may be.
      server.on("error", () => {});
      resolve();
    });
  });
  if (relayed) chmodSync(address.path, 0o600);
  return { port: portOf(server), close: () => server.close() };
}

/** The PROXY line for a source, as the front writes it; the destination is not used and stands as unspecified. */
export function proxyHeader(source: ProxySource): string {
  const [kind, nowhere] = source.family === "IPv6" ? ["TCP6", "::"] : ["TCP4", "0.0.0.0"];
  return `PROXY ${kind} ${source.address} ${nowhere} ${source.port} 0\r\n`;
}

/** Reads a PROXY line without its line end; undefined when it is not one. */
export function parseProxyHeader(line: string): ProxySource | undefined {
  const [word, kind, address = "", , port = ""] = line.split(" ");
  const version = isIP(address);
  if (word !== "PROXY" || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) return undefined;
  if (kind === "TCP4" && version === 4) return { family: "IPv4", address, port: Number(port) };
  if (kind === "TCP6" && version === 6) return { family: "IPv6", address, port: Number(port) };
  return undefined;
}

function readHeader(socket: Socket, ready: (source: ProxySource) => void): void {
  const timer = setTimeout(() => socket.destroy(), rpcHandshakeTimeoutMs);
  const stop = () => {
    clearTimeout(timer);
    socket.off("readable", read);
    socket.off("close", stop);
  };
  let seen = Buffer.alloc(0);
  function read(): void {
    for (;;) {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf("\r\n");
      if (end < 0 && seen.length < headerBytesMax) continue;
      stop();
      const source = parseProxyHeader(seen.toString("latin1", 0, Math.max(end, 0)));
      if (source === undefined) {
        socket.destroy();
        return;
      }
      // What follows the line is the start of TLS; it waits in the socket until the TLS layer reads it.
      if (seen.length > end + 2) socket.unshift(seen.subarray(end + 2));
      ready(source);
      return;
    }
  }
  socket.on("readable", read);
  socket.on("close", stop);
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
