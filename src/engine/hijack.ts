/**
 * Connections taken out of HTTP for attach and exec: after the head both sides send raw bytes.
 *
 * Clients ask with `Upgrade: tcp` and are answered 101. Those that do not, such as curl, get the output as the body of a
 * 200 answer; nothing can be sent to them the other way. Follows the Engine API's description of attach.
 */
import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { hijackLingerMs } from "../common/limits/limits.ts";
import { piecesOf } from "./pieces.ts";

/** A conversation in raw bytes. */
export interface Connection {
  /** What the client sends: ends when it closes its side. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Resolves when the connection can take more, or the client has left. */
  write(bytes: Uint8Array): Promise<void>;
  /** Aborts when the client has left or the server stops. */
  readonly signal: AbortSignal;
}

/** An answer that is a conversation. */
export interface HijackReply {
  readonly kind: "hijack";
  readonly type: string;
  /** Never rejects for the client's sake; the connection is closed when it returns. */
  readonly converse: (connection: Connection) => Promise<void>;
}

/** Media type of output: raw of a terminal, in frames otherwise (which API versions before 1.42 do not know). */
export function streamType(tty: boolean, framesKnown: boolean): string {
  return tty || !framesKnown
    ? "application/vnd.docker.raw-stream"
    : "application/vnd.docker.multiplexed-stream";
}

/** Answers 101 on a connection that asked to be upgraded, converses, and closes it. */
export async function converseUpgraded(
  socket: Duplex,
  reply: HijackReply,
  signal: AbortSignal,
): Promise<void> {
  socket.write(
    `HTTP/1.1 101 UPGRADED\r\nContent-Type: ${reply.type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
  );
  const cut = () => socket.destroy();
  signal.addEventListener("abort", cut, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", cut));
  try {
    await reply.converse({
      input: untilCut(socket),
      write: (bytes) => writeTo(socket, bytes, signal),
      signal,
    });
  } finally {
    closeGently(socket);
  }
}

/** Answers 200 with the output as body. */
export async function conversePlain(
  response: ServerResponse,
  reply: HijackReply,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(200, { "Content-Type": reply.type });
  response.flushHeaders();
  await reply.converse({
    input: nothingUntil(signal),
    write: (bytes) => writeTo(response, bytes, signal),
    signal,
  });
  response.end();
}

/** Input that ends where the connection is cut. */
async function* untilCut(socket: Duplex): AsyncIterable<Uint8Array> {
  try {
    yield* piecesOf(socket);
  } catch {
    // The client has left: the signal tells it to those who must know.
  }
}

async function* nothingUntil(signal: AbortSignal): AsyncIterable<Uint8Array> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Writes and waits while the connection is full. */
function writeTo(
  to: Duplex | ServerResponse,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted || to.destroyed || to.write(bytes)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      to.off("drain", done);
      to.off("close", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    to.once("drain", done);
    to.once("close", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/**
 * Ends our side once all is sent and drops what still comes: to close with unread input would cost the client the last of
 * the output. Node closes the connection when both sides have ended; a client that does not end its side is cut.
 */
function closeGently(socket: Duplex): void {
  if (socket.destroyed) return;
  socket.end(() => {
    const timer = setTimeout(() => socket.destroy(), hijackLingerMs).unref();
    socket.once("close", () => clearTimeout(timer));
  });
  socket.resume();
}
