/**
 * Calls over one grpc-js client: a request with its response, and streams. Whom the client talks to is its maker's concern:
 * managers over TLS (`client.ts`), containerd over its socket (`src/common/containerd`).
 */
import { once } from "node:events";
import { type Client, type ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import type { Codec } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { rpcDeadlineMs } from "../limits/limits.ts";
import { forwardedKey, type MessageStream, serializerOf } from "./handler.ts";
import { errorFromStatus } from "./status.ts";

/** What a call needs to know of its method. */
export interface CalledMethod<Q, R> {
  readonly path: string;
  readonly request: Pick<Codec<Q>, "encode">;
  readonly response: Pick<Codec<R>, "decode">;
}

/** Options of one call. */
export interface CallOptions {
  /** How long the caller waits, from now; unary calls have a default, streams none. Infinity: without end. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Marks a call that a manager passes on to the leader. */
  readonly forwarded?: boolean;
  /** Waits for a lost connection to be back instead of failing at once. */
  readonly waitForReady?: boolean;
  /** Further metadata. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The caller's side of a stream. Iterating gives the responses and throws a `ClusterError` when the call fails. */
export interface ClientStream<Q, R> extends MessageStream<R, Q> {
  /** No more requests. */
  end(): void;
  /** Gives the call up on both sides. */
  cancel(): void;
}

/**
 * A grpc-js client that closes once it is retired and its last call is over.
 *
 * Closing it earlier would announce the end of the connection, and a server that then probes it for life cuts it with
 * all its streams (grpc-js 1.14).
 */
export class Channel {
  readonly client: Client;
  #running = 0;
  #retired = false;

  constructor(client: Client) {
    this.client = client;
  }

  /** Counts a call in; the result counts it out, once. @throws ClusterError cancelled when the client is closed. */
  enter(): () => void {
    if (this.#retired) throw new ClusterError("cancelled", "the connection is closed");
    let inside = true;
    this.#running++;
    return () => {
      if (!inside) return;
      inside = false;
      this.#running--;
      if (this.#retired && this.#running === 0) this.client.close();
    };
  }

  retire(): void {
    if (!this.#retired && this.#running === 0) this.client.close();
    this.#retired = true;
  }
}

/** One request, one response. @throws ClusterError as `errorFromStatus` makes it. */
export async function callUnary<Q, R>(
  channel: Channel,
  method: CalledMethod<Q, R>,
  request: Q,
  options: CallOptions,
): Promise<R> {
  if (options.signal?.aborted) throw cancelledError(options.signal);
  const leave = channel.enter();
  let cancel = () => {};
  try {
    return await new Promise<R>((resolve, reject) => {
      const call = channel.client.makeUnaryRequest(
        method.path,
        serializerOf(method.request),
        method.response.decode,
        request,
        metadataOf(options),
        { deadline: Date.now() + (options.timeoutMs ?? rpcDeadlineMs) },
        (error, response) => {
          if (error !== null) reject(errorFromStatus(error));
          else if (response === undefined) reject(noAnswerError());
          else resolve(response);
        },
      );
      cancel = () => call.cancel();
      options.signal?.addEventListener("abort", cancel, { once: true });
    });
  } finally {
    options.signal?.removeEventListener("abort", cancel);
    leave();
  }
}

/** Opens a stream, also for methods that stream in one direction only. */
export function openStream<Q, R>(
  channel: Channel,
  method: CalledMethod<Q, R>,
  options: CallOptions,
): ClientStream<Q, R> {
  const leave = channel.enter();
  const call = channel.client.makeBidiStreamRequest(
    method.path,
    serializerOf(method.request),
    method.response.decode,
    metadataOf(options),
    options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs },
  );
  const cancel = () => call.cancel();
  if (options.signal?.aborted) cancel();
  options.signal?.addEventListener("abort", cancel, { once: true });
  let failure: ClusterError | undefined;
  // The stream reports its failure once; later writes and reads repeat it.
  call.on("error", (error) => {
    failure ??= errorFromStatus(error);
  });
  call.once("status", () => {
    options.signal?.removeEventListener("abort", cancel);
    leave();
  });
  const responses = read<Q, R>(call, () => failure);
  return {
    write: (message) => write(call, message, () => failure),
    end: () => call.end(),
    cancel,
    [Symbol.asyncIterator]: () => responses,
  };
}

/** The responses; a reader that stops before the end gives the call up. */
async function* read<Q, R>(
  call: ClientDuplexStream<Q, R>,
  failure: () => ClusterError | undefined,
): AsyncGenerator<R, void, void> {
  let over = false;
  try {
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message as R;
    over = true;
  } catch (error) {
    over = true;
    throw failure() ?? errorFromStatus(error);
  } finally {
    if (!over) call.cancel();
  }
  // A call that failed before anybody read ends here without a word.
  const failed = failure();
  if (failed !== undefined) throw failed;
}

async function write<Q, R>(
  call: ClientDuplexStream<Q, R>,
  message: Q,
  failure: () => ClusterError | undefined,
): Promise<void> {
  if (failure() !== undefined || call.destroyed || call.writableEnded)
    throw failure() ?? overError();
  if (call.write(message)) return;
  const over = new AbortController();
  const stop = () => over.abort();
  call.once("close", stop);
  try {
    await once(call, "drain", { signal: over.signal });
  } catch {
    // Either the call failed, which `failure` tells, or it ended while the message waited.
    throw failure() ?? overError();
  } finally {
    call.off("close", stop);
  }
}

function metadataOf(options: CallOptions): Metadata {
  const metadata = new Metadata({ waitForReady: options.waitForReady ?? false });
  if (options.forwarded === true) metadata.set(forwardedKey, "1");
  for (const [name, value] of Object.entries(options.headers ?? {})) metadata.set(name, value);
  return metadata;
}

function cancelledError(signal: AbortSignal): ClusterError {
  return new ClusterError("cancelled", "the call was given up", { cause: signal.reason });
}

function noAnswerError(): ClusterError {
  return new ClusterError("internal", "the call ended without an answer");
}

function overError(): ClusterError {
  return new ClusterError("cancelled", "the stream is over");
}
