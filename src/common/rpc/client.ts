/**
 * The calling side: one connection to one manager, for unary calls and streams.
 *
 * The server must show a certificate of an expected node, whatever address it was reached at. A lost connection is dialled
 * again with back-off; calls made meanwhile fail at once as "unavailable", so that the caller can try another manager.
 */
import { once } from "node:events";
import { Client, type ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import type { MethodDescriptor } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { managerServerName } from "../identity/types.ts";
import type { Expected } from "../identity/verify.ts";
import {
  rpcDeadlineMs,
  rpcKeepaliveMs,
  rpcKeepaliveTimeoutMs,
  rpcMessageBytesMax,
  rpcReconnectMsMax,
  rpcReconnectMsMin,
} from "../limits/limits.ts";
import { type ClientTls, clientCredentials } from "./credentials.ts";
import { forwardedKey, type MessageStream, serializerOf } from "./handler.ts";
import { errorFromStatus } from "./status.ts";

/** Whom to call, and how. */
export interface DialOptions {
  /** `host:port`; an IPv6 host in brackets. */
  readonly address: string;
  /** Own certificate and roots; roots alone (no certificate is shown); or "unverified", for the root itself. */
  readonly tls: ClientTls;
  /** What the server's certificate must say; a manager when left out. */
  readonly expected?: Expected;
  /** TLS server name; picks the Raft transport or the manager's services behind one port. */
  readonly serverName?: string;
}

/** Options of one call. */
export interface CallOptions {
  /** How long the caller waits, from now; unary calls have a default, streams none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Marks a call that a manager passes on to the leader. */
  readonly forwarded?: boolean;
}

/** The caller's side of a stream. Iterating gives the responses and throws a `ClusterError` when the call fails. */
export interface ClientStream<Q, R> extends MessageStream<R, Q> {
  /** No more requests. */
  end(): void;
  /** Gives the call up on both sides. */
  cancel(): void;
}

/** A connection to one manager. */
export interface RpcClient {
  readonly address: string;
  /** One request, one response. @throws ClusterError as the server threw it, or unavailable and deadline-exceeded. */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, options?: CallOptions): Promise<R>;
  /** Opens a stream; for methods that stream in one direction only, too: write and end, or read one. */
  stream<Q, R>(method: MethodDescriptor<Q, R>, options?: CallOptions): ClientStream<Q, R>;
  /** Uses this certificate for calls made from now on, over a new connection; streams in progress stay on the old one. */
  updateTls(tls: ClientTls): void;
  /** Lets running calls end, takes no more. */
  close(): void;
}

/** Makes a client; it connects with the first call. */
export function dial(options: DialOptions): RpcClient {
  let channel = new Channel(newClient(options, options.tls));
  return {
    address: options.address,
    call: (method, request, callOptions) => callUnary(channel, method, request, callOptions ?? {}),
    stream: (method, callOptions) => openStream(channel, method, callOptions ?? {}),
    updateTls: (tls) => {
      channel.retire();
      channel = new Channel(newClient(options, tls));
    },
    close: () => channel.retire(),
  };
}

/**
 * A grpc-js client that closes once it is retired and its last call is over.
 *
 * Closing it earlier would announce the end of the connection, and a server that then probes it for life cuts it with
 * all its streams (grpc-js 1.14).
 */
class Channel {
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

function newClient(options: DialOptions, tls: ClientTls): Client {
  const credentials = clientCredentials(tls, options.expected ?? { role: "manager" });
  return new Client(options.address, credentials, {
    "grpc.ssl_target_name_override": options.serverName ?? managerServerName,
    "grpc.default_authority": options.serverName ?? managerServerName,
    "grpc.max_receive_message_length": rpcMessageBytesMax,
    "grpc.max_send_message_length": rpcMessageBytesMax,
    "grpc.keepalive_time_ms": rpcKeepaliveMs,
    "grpc.keepalive_timeout_ms": rpcKeepaliveTimeoutMs,
    "grpc.initial_reconnect_backoff_ms": rpcReconnectMsMin,
    "grpc.max_reconnect_backoff_ms": rpcReconnectMsMax,
    // Each client has a connection of its own: who closes it, and under which certificate, is then plain.
    "grpc.use_local_subchannel_pool": 1,
    // Managers are reached directly; a proxy variable of the environment is meant for the web.
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
    "grpc.service_config_disable_resolution": 1,
  });
}

async function callUnary<Q, R>(
  channel: Channel,
  method: MethodDescriptor<Q, R>,
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

function openStream<Q, R>(
  channel: Channel,
  method: MethodDescriptor<Q, R>,
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
  const metadata = new Metadata();
  if (options.forwarded === true) metadata.set(forwardedKey, "1");
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
