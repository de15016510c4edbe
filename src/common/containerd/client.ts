/**
 * The calls to containerd, over its unix socket: typed by the protocol in `proto/containerd`, in one namespace.
 *
 * Used by everything on a node that deals with containerd: containers (`agent/exec/containerd`), images (`agent/images`).
 * Codes are containerd's own: `not-found`, `already-exists`, `failed-precondition`; `unavailable` while it is gone;
 * `unknown` with a text for whatever runc or crun say.
 */
import { Client, credentials } from "@grpc/grpc-js";
import type { ClusterError } from "../errors/cluster-error.ts";
import { containerdCallMs, containerdMessageBytesMax } from "../limits/runtime.ts";
import { Channel, type ClientStream, callUnary, openStream } from "../rpc/channel.ts";
import type { Codec } from "./generated/protocol.ts";

/** Of whom calls speak when nothing else is said. */
export const skepNamespace = "skep";
/** What keeps layers and containers' file systems. */
export const snapshotterName = "overlayfs";

/** A method of the protocol, such as `TasksService.create`. */
export interface ContainerdMethod<Q, R> {
  readonly path: string;
  readonly request: Codec<Q>;
  readonly response: Codec<R>;
}

/** Options of one call. */
export interface ContainerdCallOptions {
  /** What the call makes belongs to this lease: the collector spares it. */
  readonly lease?: string;
  /** One minute when left out, for streams none; Infinity to wait without end. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Waits while containerd is being started instead of failing at once. */
  readonly waitForReady?: boolean;
}

/** A connection to one containerd; it connects by itself, again and again. */
export interface ContainerdClient {
  readonly socketPath: string;
  readonly namespace: string;
  /** One request, one response; fields left out have their default. @throws ClusterError, see above. */
  call<Q, R>(
    method: ContainerdMethod<Q, R>,
    request: Partial<Q>,
    options?: ContainerdCallOptions,
  ): Promise<R>;
  /** One request, many responses. @throws ClusterError while it is iterated. */
  list<Q, R>(
    method: ContainerdMethod<Q, R>,
    request: Partial<Q>,
    options?: ContainerdCallOptions,
  ): AsyncIterable<R>;
  /** Many of both: content's `write`. */
  stream<Q, R>(method: ContainerdMethod<Q, R>, options?: ContainerdCallOptions): ClientStream<Q, R>;
  /** Lets running calls end, takes no more. */
  close(): void;
}

/** Makes a client; it connects with the first call. */
export function dialContainerd(socketPath: string, namespace = skepNamespace): ContainerdClient {
  const channel = new Channel(newClient(socketPath));
  const stream: ContainerdClient["stream"] = (method, options) =>
    openStream(channel, method, callOptions(options, namespace));
  return {
    socketPath,
    namespace,
    call: (method, request, options) =>
      callUnary(channel, method, method.request.create(request), {
        timeoutMs: containerdCallMs,
        ...callOptions(options, namespace),
      }),
    list: (method, request, options) => responses(stream(method, options), method, request),
    stream,
    close: () => channel.retire(),
  };
}

async function* responses<Q, R>(
  stream: ClientStream<Q, R>,
  method: ContainerdMethod<Q, R>,
  request: Partial<Q>,
): AsyncGenerator<R, void, void> {
  // Its failure is the stream's, which the iteration tells.
  stream.write(method.request.create(request)).catch((_: ClusterError) => undefined);
  stream.end();
  yield* stream;
}

function callOptions(options: ContainerdCallOptions | undefined, namespace: string) {
  const { lease, timeoutMs, signal, waitForReady } = options ?? {};
  return {
    headers: {
      "containerd-namespace": namespace,
      ...(lease !== undefined && { "containerd-lease": lease }),
    },
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(signal !== undefined && { signal }),
    ...(waitForReady !== undefined && { waitForReady }),
  };
}

function newClient(socketPath: string): Client {
  return new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    "grpc.default_authority": "localhost",
    "grpc.max_receive_message_length": containerdMessageBytesMax,
    "grpc.max_send_message_length": containerdMessageBytesMax,
    // It is a child of ours: a restart takes 50 ms, and who waits for it should not wait long after.
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.min_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
    "grpc.service_config_disable_resolution": 1,
  });
}
