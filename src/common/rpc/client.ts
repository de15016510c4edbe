/**
 * The calling side: one connection to one manager, for unary calls and streams.
 *
 * The server must show a certificate of an expected node, whatever address it was reached at. A lost connection is dialled
 * again with back-off; calls made meanwhile fail at once as "unavailable", so that the caller can try another manager.
 */
import { Client } from "@grpc/grpc-js";
import type { MethodDescriptor } from "../api/generated/api.ts";
import { managerServerName } from "../identity/types.ts";
import type { Expected } from "../identity/verify.ts";
import {
  rpcKeepaliveMs,
  rpcKeepaliveTimeoutMs,
  rpcMessageBytesMax,
  rpcReconnectMsMax,
  rpcReconnectMsMin,
} from "../limits/limits.ts";
import { type CallOptions, Channel, type ClientStream, callUnary, openStream } from "./channel.ts";
import { type ClientTls, clientCredentials } from "./credentials.ts";

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
