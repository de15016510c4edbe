/**
 * Connections that one thread accepts and another one serves: the descriptor changes hands, no byte is copied.
 *
 * Node cannot pass a socket from thread to thread, but descriptors belong to the whole process. The thread that gives a
 * connection away keeps a duplicate of its descriptor for the other one and closes its own socket, which leaves the connection
 * as it is.
 */
import { closeSync } from "node:fs";
import { createRequire } from "node:module";
import { Socket } from "node:net";

/** A connection on its way. Whoever has it has to take it or to drop it. */
export interface HandedConnection {
  readonly fd: number;
  /** IP address it comes from. */
  readonly address: string;
  /** What was read from it. */
  readonly received: Uint8Array;
}

/**
 * Takes a connection from its socket, which is destroyed.
 *
 * @returns Undefined where descriptors cannot be duplicated; the socket is as before then.
 */
export function handOver(socket: Socket, received: Uint8Array): HandedConnection | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const own: unknown = typeof handle === "object" && handle !== null && Reflect.get(handle, "fd");
  // The address is not known any more when the other side is gone.
  const address = plainAddress(socket.remoteAddress ?? "");
  if (typeof own !== "number" || own < 0 || address === "") return undefined;
  const fd = duplicate(own);
  if (fd < 0) return undefined;
  socket.destroy();
  return { fd, address, received };
}

/** The connection as a socket of this thread; what was read from it comes first. @throws Error when it is none. */
export function takeOver({ fd, received }: HandedConnection): Socket {
  const socket = new Socket({ fd, readable: true, writable: true });
  socket.unshift(received);
  return socket;
}

/** Closes a connection that nobody takes. */
export function drop({ fd }: HandedConnection): void {
  closeSync(fd);
}

/** An IPv4 address that came over an IPv6 socket in its own form. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}

/** -1 when it fails. */
type Duplicate = (fd: number) => number;

let library: Duplicate | undefined;

function duplicate(fd: number): number {
  library ??= load();
  return library(fd);
}

function load(): Duplicate {
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    const call = koffi.load("libc.so.6").func("int fcntl(int fd, int command, int least)");
    return (fd) => call(fd, duplicateCloseOnExec, 0);
  } catch {
    return () => -1; // Not built for this machine.
  }
}

/** F_DUPFD_CLOEXEC: containers' helpers must not inherit connections. */
const duplicateCloseOnExec = 1030;
