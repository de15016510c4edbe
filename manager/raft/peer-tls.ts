/**
 * Mutual TLS between Raft peers: credentials for both ends, and who the other end is.
 *
 * A peer is known by its node id (the certificate's common name), never by its address: the host name check of TLS is
 * replaced by one of common name, organisation and organisational unit.
 */
import { constants } from "node:crypto";
import { connect, createServer, type PeerCertificate, type Server, type TLSSocket } from "node:tls";
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  ServerCredentials,
} from "@grpc/grpc-js";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  raftServerName,
  raftStreamServerName,
  type TlsMaterial,
  unitOfRole,
} from "../../src/common/identity/types.ts";
import {
  peerMessageBytesMax,
  peerWindowBytes,
  rpcHandshakeTimeoutMs,
} from "../../src/common/limits/limits.ts";

/** Who a certificate has to name. */
export interface ExpectedPeer {
  readonly clusterId: string;
  /** Any manager of the cluster when left out. */
  readonly nodeId?: string | undefined;
}

/** Channel options of both ends. */
export const peerChannelOptions: ChannelOptions = {
  "grpc.max_receive_message_length": peerMessageBytesMax,
  "grpc.max_send_message_length": peerMessageBytesMax,
  "grpc.enable_channelz": 0,
};

/** Channel options of the dialling end. */
export const peerDialOptions: ChannelOptions = {
  ...peerChannelOptions,
  "grpc.ssl_target_name_override": raftServerName,
  "grpc.default_authority": raftServerName,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc-node.flow_control_window": peerWindowBytes,
  // A partition leaves connections that look alive for minutes: a ping that is not answered ends them.
  "grpc.keepalive_time_ms": 3_000,
  "grpc.keepalive_timeout_ms": 3_000,
  "grpc.keepalive_permit_without_calls": 1,
};

/** Credentials to dial a peer that must be `expected`. */
export function dialCredentials(tls: TlsMaterial, expected: ExpectedPeer): ChannelCredentials {
  return credentials.createSsl(
    Buffer.from(tls.roots),
    Buffer.from(tls.key),
    Buffer.from(tls.certificate),
    {
      checkServerIdentity: (_host, certificate) => peerProblem(certificate, expected),
    },
  );
}

/** Credentials of the accepting end; a client without a certificate of our root is refused by TLS. */
export function acceptCredentials(tls: TlsMaterial): ServerCredentials {
  return ServerCredentials.createSsl(
    Buffer.from(tls.roots),
    [{ private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.certificate) }],
    true,
  );
}

/** Dials the stream of a peer that must be `expected`; what goes wrong is an `error` of the socket. */
export function dialStream(address: string, tls: TlsMaterial, expected: ExpectedPeer): TLSSocket {
  const colon = address.lastIndexOf(":");
  const socket = connect({
    host: address.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(address.slice(colon + 1)),
    servername: raftStreamServerName,
    ca: tls.roots,
    key: tls.key,
    cert: tls.certificate,
    checkServerIdentity: (_host, certificate) => peerProblem(certificate, expected),
  });
  // A message is written as a whole, and somebody waits for it.
  return socket.setNoDelay(true);
}

/** A server of streams that listens nowhere: connections are handed to it. They are those of managers that our root knows. */
export function streamServer(tls: TlsMaterial, onStream: (socket: TLSSocket) => void): Server {
  const server = createServer({
    ...streamContext(tls),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: rpcHandshakeTimeoutMs,
  });
  return server.on("secureConnection", onStream);
}

/** Shows this certificate and trusts these roots on connections from now on. */
export function updateStreamServer(server: Server, tls: TlsMaterial): void {
  server.setSecureContext(streamContext(tls));
}

function streamContext({ roots, key, certificate }: TlsMaterial) {
  // Nobody resumes a session: each connection begins with a look at the certificates.
  return { ca: roots, key, cert: certificate, secureOptions: constants.SSL_OP_NO_TICKET };
}

/**
 * The node id of an authenticated caller, which must be a manager of the cluster.
 *
 * @throws ClusterError unauthenticated or permission-denied.
 */
export function callerNodeId(
  certificate: PeerCertificate | undefined,
  expected: ExpectedPeer,
): string {
  if (certificate === undefined) {
    throw new ClusterError("unauthenticated", "no client certificate was presented");
  }
  const problem = peerProblem(certificate, expected);
  if (problem !== undefined) throw problem;
  return String(certificate.subject.CN);
}

function peerProblem(
  certificate: PeerCertificate,
  expected: ExpectedPeer,
): ClusterError | undefined {
  const { CN: nodeId, OU: unit, O: clusterId } = certificate.subject;
  const fields = { "node.id": String(nodeId) };
  if (unit !== unitOfRole("manager")) {
    return new ClusterError("permission-denied", "the peer is not a manager", { fields });
  }
  if (clusterId !== expected.clusterId) {
    return new ClusterError("permission-denied", "the peer is of another cluster", { fields });
  }
  if (expected.nodeId !== undefined && nodeId !== expected.nodeId) {
    const text = `expected node ${expected.nodeId}, found node ${nodeId}`;
    return new ClusterError("permission-denied", text, { fields });
  }
  return undefined;
}
