/**
 * What a handler answers, and writing it to the connection.
 *
 * Lists are written piece by piece, so that a million tasks never stand in memory as one text; streams go on until their
 * source ends or the client leaves. A slow client holds back its own stream only.
 */
import type { ServerResponse } from "node:http";
import type { FarReply } from "./carry.ts";
import { conversePlain, type HijackReply } from "./hijack.ts";

/** An answer. */
export type Reply =
  | {
      readonly kind: "empty";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: "json"; readonly status: number; readonly body: unknown }
  | { readonly kind: "text"; readonly status: number; readonly body: string }
  /** A JSON array; items are converted one by one while writing. */
  | { readonly kind: "list"; readonly items: Iterable<unknown> }
  /** JSON values one after the other for as long as the source gives some. */
  | { readonly kind: "stream"; readonly items: AsyncIterable<unknown> }
  /** Bytes as the source gives them; with a type of "" the answer names none. */
  | {
      readonly kind: "bytes";
      readonly type: string;
      readonly items: AsyncIterable<Uint8Array>;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | HijackReply
  | FarReply;

/** Bytes gathered before a piece of a list is written. */
const pieceLength = 64 * 1024;

/** A JSON answer with status 200 unless said otherwise. */
export function json(body: unknown, status = 200): Reply {
  return { kind: "json", status, body };
}

/** A JSON array, converted lazily. */
export function list<T>(items: readonly T[], toJson: (item: T) => unknown): Reply {
  return { kind: "list", items: mapped(items, toJson) };
}

/** An answer without body. */
export function empty(status = 200): Reply {
  return { kind: "empty", status };
}

function* mapped<T>(items: readonly T[], toJson: (item: T) => unknown): Iterable<unknown> {
  for (const item of items) yield toJson(item);
}

/** Writes the answer; returns once all is handed to the connection or the client has left. */
export async function writeReply(
  response: ServerResponse,
  reply: Reply,
  signal: AbortSignal,
): Promise<void> {
  switch (reply.kind) {
    case "empty":
      response
        .writeHead(reply.status, {
          ...reply.headers,
          ...(reply.status === 204 || reply.status === 304 ? {} : { "Content-Length": 0 }),
        })
        .end();
      return;
    case "json":
      writeWhole(response, reply.status, "application/json", `${JSON.stringify(reply.body)}\n`);
      return;
    case "text":
      writeWhole(response, reply.status, "text/plain; charset=utf-8", reply.body);
      return;
    case "list":
      await writeList(response, reply.items, signal);
      return;
    case "stream":
      await writeStream(response, reply.items, signal);
      return;
    case "bytes":
      await writeBytes(response, reply, signal);
      return;
    case "far":
      throw new Error("an answer of another node is carried, not written");
    case "hijack":
      await conversePlain(response, reply, signal);
      return;
  }
}

function writeWhole(response: ServerResponse, status: number, type: string, body: string): void {
  // A text goes out together with the head, bytes would be a piece of their own.
  response
    .writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) })
    .end(body);
}

async function writeList(
  response: ServerResponse,
  items: Iterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  // The first piece is made before the head is sent: a small list goes out whole, and an early error still has a status.
  let piece = "[";
  let first = true;
  for (const item of items) {
    piece += `${first ? "" : ","}${JSON.stringify(item)}`;
    first = false;
    if (piece.length < pieceLength) continue;
    if (!response.headersSent) response.writeHead(200, { "Content-Type": "application/json" });
    if (!(await writePiece(response, piece, signal))) return;
    piece = "";
  }
  piece += "]\n";
  if (response.headersSent) response.end(piece);
  else writeWhole(response, 200, "application/json", piece);
}

async function writeStream(
  response: ServerResponse,
  items: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(200, { "Content-Type": "application/json" });
  response.flushHeaders();
  for await (const item of items) {
    if (!(await writePiece(response, `${JSON.stringify(item)}\n`, signal))) return;
  }
  response.end();
}

async function writeBytes(
  response: ServerResponse,
  reply: Reply & { readonly kind: "bytes" },
  signal: AbortSignal,
): Promise<void> {
  const type = reply.type === "" ? {} : { "Content-Type": reply.type };
  response.writeHead(200, { ...type, ...reply.headers });
  response.flushHeaders();
  for await (const item of reply.items) {
    if (!(await writePiece(response, item, signal))) return;
  }
  response.end();
}

/** Writes and waits until the client has taken it, giving other work its turn; false when the client has left. */
async function writePiece(
  response: ServerResponse,
  piece: string | Uint8Array,
  signal: AbortSignal,
): Promise<boolean> {
  if (signal.aborted) return false;
  if (response.write(piece)) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    return !signal.aborted;
  }
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    response.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
  });
  return !signal.aborted;
}
